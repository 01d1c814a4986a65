"""FT: a paraphraser compresses the teacher's last stage to factors; a translator predicts them from the student's.

Kim et al., "Paraphrasing Complex Network: Network Compression via Factor Transfer", NeurIPS 2018 (arXiv:1802.04977),
sections 3.1 to 3.3. The paraphraser is trained first, alone, to reconstruct the teacher's stage; then it is frozen.
Paper, the authors' code (github.com/Jangho-Kim/Factor-Transfer-pytorch: utils.py, Models/FeatureProjection.py) and
RepDistiller (distiller_zoo/FT.py, models/util.py) differ:

- The paper takes the L1 norm of the difference of normalised factors; the authors' code the mean of absolute values;
  RepDistiller first averages the squares of the factors over channels, as attention maps. Default: the authors' code;
  `maps=True` is RepDistiller's, with another weight.
- To reconstruct, the paper minimises the square, as RepDistiller does; the authors' code the absolute value. Default:
  the authors' code.
- The authors' code has no BatchNorm in either network; RepDistiller has it in the translator. Default: the authors'.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import layers, ops

from kdzoo.distillation.adapters import conv, features
from kdzoo.distillation.features import equal_size, flatten, mean_per_example, pair, unit_vectors
from kdzoo.distillation.method import Method, Outputs, Shapes, Training
from kdzoo.distillation.tensors import check_equal_shapes, mean
from kdzoo.ranges import Range
from zoo.layers import TorchUniform

CE_WEIGHT, WEIGHT = 1.0, 500.0  # without KD: the authors' code, CIFAR-10
WEIGHT_OF_MAPS = 200.0  # the same with maps: RepDistiller, CIFAR-100
RATE = 0.5  # channels of the factors over those of the teacher: both codes
PRETRAINING_SHARE = 30 / 270  # of the epochs, for the paraphraser: RepDistiller has 30 before the 240 of its schedule
PRETRAINING_RATE = 0.01 / 0.05  # of its learning rate over the student's: RepDistiller


def loss(*, student_factors: Any, teacher_factors: Any, maps: bool = False) -> Any:
    """Computes the mean absolute difference of factors of length 1; the larger are average-pooled first.

    Args:
        student_factors: the translator's [n, h, w, channels].
        teacher_factors: the paraphraser's.
        maps: whether to compare mean squares over channels, as RepDistiller.

    Returns:
        [n], at least 0.

    Raises:
        InputError: if the channels differ.
    """
    student, teacher = equal_size(*pair(student_factors, teacher_factors))
    check_equal_shapes("factors", student, teacher)
    if maps:
        student, teacher = (mean(ops.square(x), axis=-1) for x in (student, teacher))
    student, teacher = (unit_vectors(flatten(x)) for x in (student, teacher))
    return mean_per_example(ops.abs(student - teacher))


def reconstruction(*, reconstructed: Any, teacher_stage: Any) -> Any:
    """Computes the loss of the paraphraser's own phase: the mean absolute difference.

    Args:
        reconstructed: [n, h, w, channels], the paraphraser's second output.
        teacher_stage: the same shape.

    Returns:
        [n], at least 0.

    Raises:
        InputError: if the shapes differ.
    """
    reconstructed, teacher = pair(reconstructed, teacher_stage)
    check_equal_shapes("stages", reconstructed, teacher)
    return mean_per_example(ops.abs(reconstructed - teacher))


def paraphraser(*, teacher_shape: Sequence[int], rate: float = RATE) -> keras.Model:
    """Builds the paraphraser: teacher features [n, h, w, channels] -> (factors, reconstructed features)."""
    channels = teacher_shape[-1]
    inputs = features(teacher_shape, name="teacher")
    x = factors = _encode(inputs, channels, _factors(channels, rate))
    for i, filters in enumerate((x.shape[-1], channels, channels), start=1):
        # PyTorch takes the outputs for the fan-in of a transposed convolution.
        options = {"kernel_initializer": TorchUniform(), "bias_initializer": TorchUniform(9 * filters)}
        x = layers.Conv2DTranspose(filters, 3, padding="same", **options, name=f"decode{i}")(x)
        x = _leaky(x, f"decode{i}")
    return keras.Model(inputs, [factors, x], name="paraphraser")


def translator(*, student_shape: Sequence[int], teacher_shape: Sequence[int], rate: float = RATE) -> keras.Model:
    """Builds the translator: student features [n, h, w, channels] -> factors, as many as of the teacher."""
    inputs = features(student_shape)
    factors = _encode(inputs, student_shape[-1], _factors(teacher_shape[-1], rate))
    return keras.Model(inputs, factors, name="translator")


def _factors(channels: int, rate: float) -> int:
    """Number of factors of so many teacher channels."""
    return max(1, round(channels * rate))


def _encode(x: Any, channels: int, factors: int) -> Any:
    """Applies three convolutions, each with leaky ReLU."""
    for i, filters in enumerate((channels, factors, factors), start=1):
        x = _leaky(conv(x, filters, 3, bias=True, name=f"encode{i}"), f"encode{i}")
    return x


def _leaky(x: Any, name: str) -> Any:
    return layers.LeakyReLU(0.1, name=f"{name}_leaky")(x)


@dataclasses.dataclass(frozen=True)
class FT(Method):
    """Factor transfer of the last stage.

    Args:
        rate: of factors over the teacher's channels.
        maps: see `loss`; the weight that goes with it is 200.
        pretraining_share: share of the epochs in which the paraphraser is trained, before the student is.
    """

    rate: float = RATE
    maps: bool = False
    pretraining_share: float = PRETRAINING_SHARE
    needs = ("stages",)
    pretrained = ("paraphraser",)
    ce_weight, weight = CE_WEIGHT, WEIGHT
    ranges = (("rate", Range(above=0, most=16, example=RATE)),)

    def make_adapters(self, student: Shapes, teacher: Shapes, training: Training | None) -> dict[str, Any]:
        """The paraphraser and the translator."""
        shapes = {"student_shape": student.stages[-1], "teacher_shape": teacher.stages[-1]}
        return {
            "paraphraser": paraphraser(teacher_shape=teacher.stages[-1], rate=self.rate),
            "translator": translator(**shapes, rate=self.rate),
        }

    def pretrain(self, teacher: Outputs, *, adapters: Mapping[str, Any]) -> Any:
        """Computes the loss of the paraphraser, so that it learns at its own rate."""
        _, reconstructed = adapters["paraphraser"](teacher.stages[-1], training=True)
        return PRETRAINING_RATE * reconstruction(reconstructed=reconstructed, teacher_stage=teacher.stages[-1])

    def compute(self, student: Outputs, teacher: Outputs, *, labels: Any, adapters: Mapping[str, Any]) -> Any:
        """Computes the loss: see `Method.compute`."""
        factors, _ = adapters["paraphraser"](teacher.stages[-1], training=False)
        translated = adapters["translator"](student.stages[-1], training=True)
        return loss(student_factors=translated, teacher_factors=factors, maps=self.maps)
