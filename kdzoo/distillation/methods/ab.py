"""AB: each of the student's neurons is active where the teacher's is, by a margin.

Heo et al., "Knowledge Transfer via Distillation of Activation Boundaries Formed by Hidden Neurons", AAAI 2019
(arXiv:1811.03233), section 3: the alternative loss, a square hinge on features before the activation (after BatchNorm,
before ReLU). It is a phase of its own at the beginning; then the student learns from labels, or by KD.
The authors' code (github.com/bhheo/AB_distillation) and RepDistiller (distiller_zoo/AB.py) differ:

- Both weigh stages by 1, 1/2, 1/4 from the last to the first, and their sum by 3 / 1000; the paper does not. Default:
  the code.
- RepDistiller connects stages of unequal sizes by FitNets' regressor without ReLU; the authors' code has 1x1
  convolutions only. Default: the authors'; the larger stage is average-pooled.
- Neither connects stages of equal channels and sizes: the loss compares the stages themselves.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from kdzoo.distillation import checks
from kdzoo.distillation.adapters import features
from kdzoo.distillation.checks import check_stages
from kdzoo.distillation.features import equal_size, pair
from kdzoo.distillation.method import Method, Outputs, Shapes, Training, first_alone
from kdzoo.distillation.tensors import check_equal_shapes
from zoo.layers import batch_norm, conv

WEIGHT = 1.0  # alone, in a phase of its own: RepDistiller, CIFAR-100
FIRST_SHARE = 30 / 270  # of the epochs. RepDistiller has 30 epochs before the 240 of its schedule
MARGIN = 1.0  # both codes
SCALE = 3 / 1000  # both codes


def loss(*, student_stages: Sequence[Any], teacher_stages: Sequence[Any], margin: float = MARGIN) -> Any:
    """Computes the square hinge, summed over all neurons.

    It is `(s + margin)^2` where `s > -margin` and the teacher's neuron is inactive, `(s - margin)^2` where
    `s <= margin` and it is active.

    Args:
        student_stages: connected stages before the activation [n, h, w, channels], from first to last.
        teacher_stages: stages before the activation; the larger of two stages is average-pooled.
        margin: at least 0.

    Returns:
        [n], at least 0.

    Raises:
        InputError: if the numbers of stages or their channels differ.
    """
    check_stages("Activation boundaries", student_stages, teacher_stages)
    total: Any = 0.0
    last = len(student_stages) - 1
    for i, stages in enumerate(zip(student_stages, teacher_stages, strict=True)):
        student, teacher = equal_size(*pair(*stages))
        check_equal_shapes("stages", student, teacher)
        # The square is continuous, with gradient 0, where the hinge begins.
        hinge = ops.where(teacher > 0, ops.relu(margin - student), ops.relu(margin + student))
        total += SCALE * 2.0 ** (i - last) * ops.sum(ops.square(hinge), axis=(1, 2, 3))
    return total


def connector(*, student_shape: Sequence[int], teacher_shape: Sequence[int]) -> keras.Model:
    """Builds the connector of one stage: a 1x1 convolution to the teacher's channels, and BatchNorm.

    Its weights are He normal by fan-in, in the authors' code by fan-out; after BatchNorm their scale does not count.
    """
    inputs = features(student_shape)
    x = conv(inputs, teacher_shape[-1], 1, name="conv")
    return keras.Model(inputs, batch_norm(x, name="bn"), name="connector")


@dataclasses.dataclass(frozen=True)
class AB(Method):
    """Activation boundaries of all stages, alone in a first phase.

    Args:
        margin: see `loss`.
        first_share: share of the epochs that the phase takes.
    """

    margin: float = MARGIN
    first_share: float = FIRST_SHARE
    needs = ("stages",)
    ce_weight, weight = 1.0, WEIGHT
    ranges = (("margin", checks.WEIGHT),)

    def make_adapters(self, student: Shapes, teacher: Shapes, training: Training | None) -> dict[str, Any]:
        """A connector for each stage whose shape is not the teacher's."""
        check_stages("Activation boundaries", student.stages, teacher.stages)
        pairs = enumerate(zip(student.stages, teacher.stages, strict=True), 1)
        return {f"stage{i}": connector(student_shape=s, teacher_shape=t) for i, (s, t) in pairs if s != t}

    def compute(self, student: Outputs, teacher: Outputs, *, labels: Any, adapters: Mapping[str, Any]) -> Any:
        """Computes the loss: see `Method.compute`."""
        stages = [
            adapters[f"stage{i}"](stage, training=True) if f"stage{i}" in adapters else stage
            for i, stage in enumerate(student.stages, 1)
        ]
        return loss(student_stages=stages, teacher_stages=teacher.stages, margin=self.margin)

    def factors(self, epoch: int, epochs: int) -> tuple[float, float]:
        """Alone at first: see `Method.factors`."""
        return first_alone(self.first_share, epoch, epochs)
