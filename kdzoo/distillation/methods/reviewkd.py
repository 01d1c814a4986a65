"""ReviewKD: each stage of the teacher is predicted from the student's stages of that level and above.

Chen et al., "Distilling Knowledge via Knowledge Review", CVPR 2021 (arXiv:2104.09044), section 3. The authors' code
(github.com/dvlab-research/ReviewKD, CIFAR-100/model/reviewkd.py) agrees, and adds:

- The stages are the three (on ImageNet four) of the network and its pooled features; the student's as they are, the
  teacher's before the activation, after BatchNorm. The stem is left out.
- The weight grows from 0 to its full value over the first 20 epochs (1 on ImageNet).
- The features within a fusion have as many channels as the student's last, at most 512. mdistiller has an option for
  it, MAX_MID_CHANNEL, that it does not use.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import layers, ops

from kdzoo.distillation.adapters import conv, features
from kdzoo.distillation.checks import check_stages
from kdzoo.distillation.features import mean_per_example, pair, shrink
from kdzoo.distillation.method import Method, Outputs, Shapes, Training, warm_up
from kdzoo.distillation.tensors import check_equal_shapes
from zoo import InputError
from zoo.layers import batch_norm

CE_WEIGHT, WEIGHT = 1.0, 5.0  # without KD: authors' script for WRN, CIFAR-100; 1 for ResNet34 to ResNet18 on ImageNet
WARMUP_SHARE = 20 / 240  # of the epochs
MOST_CHANNELS = 512

_LEVELS = (4, 2, 1)  # sizes to which features are pooled, of weights 1/2, 1/4, 1/8
_GAIN = 3**0.5  # PyTorch's kaiming_uniform_(a=1)


def loss(*, student_stages: Sequence[Any], teacher_stages: Sequence[Any]) -> Any:
    """Computes the hierarchical context loss (HCL), summed over stages.

    That of a stage is a weighted mean of mean squares of the difference: of the stages themselves, of weight 1, and
    average-pooled to 4x4, 2x2 and 1x1, of weights 1/2, 1/4 and 1/8, as far as these are smaller.

    Args:
        student_stages: outputs of `fusion` [n, h, w, channels].
        teacher_stages: of the same shapes.

    Returns:
        [n], at least 0.

    Raises:
        InputError: if the numbers of stages or their shapes differ.
    """
    check_stages("ReviewKD", student_stages, teacher_stages)
    return sum(_context(*pair(s, t)) for s, t in zip(student_stages, teacher_stages, strict=True))


def _context(student: Any, teacher: Any) -> Any:
    """The loss of one stage."""
    check_equal_shapes("stages", student, teacher)
    difference = student - teacher
    total, weights = mean_per_example(ops.square(difference)), 1.0
    for i, level in enumerate(level for level in _LEVELS if level < student.shape[1]):
        weight = 0.5 ** (i + 1)
        total += weight * mean_per_example(ops.square(shrink(difference, (level, level))))
        weights += weight
    return total / weights


def fusion(*, student_shapes: Sequence[Sequence[int]], teacher_shapes: Sequence[Sequence[int]]) -> keras.Model:
    """Builds the attention-based fusion (ABF): student stages, first to last -> as many predictions of teacher stages.

    Args:
        student_shapes: (height, width, channels) of each stage, the last of the pooled features: (1, 1, channels).
        teacher_shapes: the same of the teacher.

    Raises:
        InputError: if the numbers of stages differ, or of two sizes none is a multiple of the other.
    """
    check_stages("ReviewKD", student_shapes, teacher_shapes)
    inputs = [features(shape, name=f"student{i}") for i, shape in enumerate(student_shapes, 1)]
    channels = min(MOST_CHANNELS, student_shapes[-1][-1])
    outputs: list[Any] = []
    above: Any = None
    for i in range(len(inputs), 0, -1):
        *size, filters = teacher_shapes[i - 1]
        x = batch_norm(conv(inputs[i - 1], channels, 1, gain=_GAIN, name=f"reduce{i}"), name=f"reduce{i}_bn")
        if above is not None:
            x = _fuse(x, _resize(above, x.shape[1:3]), name=f"attention{i}")
        above = _resize(x, size)
        x = conv(above, filters, 3, gain=_GAIN, name=f"predict{i}")
        outputs.insert(0, batch_norm(x, name=f"predict{i}_bn"))
    return keras.Model(inputs, outputs, name="fusion")


def _fuse(x: Any, above: Any, *, name: str) -> Any:
    """Sum of two features, each weighted at each place by an attention in 0..1."""
    maps = conv(layers.Concatenate(name=f"{name}_concat")([x, above]), 2, 1, bias=True, name=name)
    maps = layers.Activation("sigmoid", name=f"{name}_sigmoid")(maps)
    return x * maps[..., :1] + above * maps[..., 1:]


def _resize(x: Any, size: Sequence[int]) -> Any:
    """Resizes [n, h, w, channels] to (height, width) by the nearest value, as PyTorch does."""
    for axis in (1, 2):
        before, after = x.shape[axis], size[axis - 1]
        if after % before == 0:
            x = ops.repeat(x, after // before, axis=axis)
        elif before % after == 0:
            x = x[:, :: before // after] if axis == 1 else x[:, :, :: before // after]
        else:
            raise InputError(
                "ReviewKD resizes features to a multiple of their size, or to a fraction, for example 8 to 16."
                f" Received: {before} and {after}"
            )
    return x


@dataclasses.dataclass(frozen=True)
class ReviewKD(Method):
    """Knowledge review of all stages and the penultimate features.

    Args:
        warmup_share: share of the epochs in which the weight rises.
    """

    warmup_share: float = WARMUP_SHARE
    needs = ("stages", "features")
    ce_weight, weight = CE_WEIGHT, WEIGHT

    def make_adapters(self, student: Shapes, teacher: Shapes, training: Training | None) -> dict[str, Any]:
        """The fusion."""
        shapes = [[*network.stages, (1, 1, network.channels)] for network in (student, teacher)]
        return {"fusion": fusion(student_shapes=shapes[0], teacher_shapes=shapes[1])}

    def compute(self, student: Outputs, teacher: Outputs, *, labels: Any, adapters: Mapping[str, Any]) -> Any:
        """Computes the loss: see `Method.compute`."""
        of_student, of_teacher = ([*x.stages, x.features[:, None, None, :]] for x in (student, teacher))
        predicted = adapters["fusion"](of_student, training=True)
        return loss(student_stages=predicted, teacher_stages=of_teacher)

    def factors(self, epoch: int, epochs: int) -> tuple[float, float]:
        """Its own rises to 1: see `Method.factors`."""
        return warm_up(self.warmup_share, epoch, epochs), 1.0
