"""FSP: how one stage follows from another, as the matrix of products of their channels, is the teacher's.

Yim et al., "A Gift from Knowledge Distillation: Fast Optimization, Network Minimization and Transfer Learning", CVPR
2017, equations 1 and 2. It is a phase of its own at the beginning; then the student learns from labels. RepDistiller
(github.com/HobbitLong/RepDistiller, distiller_zoo/FSP.py) differs:

- The paper sums the squares over the matrix; the code takes their mean. Default: the code.
- Of two stages of unequal size, the code average-pools the larger. (torchdistill max-pools it, and takes norms instead
  of squares.)
"""

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from keras import ops

from kdzoo.distillation.checks import check_stages
from kdzoo.distillation.features import equal_size, mean_per_example, pair
from kdzoo.distillation.method import Method, Outputs, Shapes, Training, first_alone
from kdzoo.distillation.tensors import check_equal_shapes
from zoo import InputError

WEIGHT = 1.0  # alone, in a phase of its own: RepDistiller; the 50 of its script has no effect
FIRST_SHARE = 30 / 270  # of the epochs. RepDistiller has 30 epochs before the 240 of its schedule


def loss(*, student_stages: Sequence[Any], teacher_stages: Sequence[Any]) -> Any:
    """Computes the mean square differences of FSP matrices, summed over successive stages.

    Args:
        student_stages: the stem's and the stages' outputs [n, h, w, channels], from first to last; at least two.
        teacher_stages: as many, with the student's channels.

    Returns:
        [n], at least 0.

    Raises:
        InputError: if there are fewer than two stages, or their numbers or channels differ.
    """
    check_stages("FSP", student_stages, teacher_stages)
    if len(student_stages) < 2:
        raise InputError(f"FSP needs two stages, for example stage1 and stage2. Received: {len(student_stages)}")
    student, teacher = zip(*(pair(s, t) for s, t in zip(student_stages, teacher_stages, strict=True)), strict=True)
    total: Any = 0.0
    for student_pair, teacher_pair in zip(pairwise(student), pairwise(teacher), strict=True):
        matrices = _matrix(*student_pair), _matrix(*teacher_pair)
        check_equal_shapes("FSP matrices", *matrices)
        total += mean_per_example(ops.square(matrices[0] - matrices[1]))
    return total


def _matrix(first: Any, second: Any) -> Any:
    """Mean over places of the products of channels: [n, channels of second, channels of first]."""
    first, second = equal_size(first, second)
    places = first.shape[1] * first.shape[2]
    first, second = (ops.reshape(x, (-1, places, x.shape[-1])) for x in (first, second))
    return ops.matmul(ops.transpose(second, (0, 2, 1)), first) / places


@dataclasses.dataclass(frozen=True)
class FSP(Method):
    """Flow of the solution procedure, alone in a first phase.

    Args:
        first_share: share of the epochs that the phase takes.
    """

    first_share: float = FIRST_SHARE
    needs = ("stages",)
    ce_weight, weight = 1.0, WEIGHT

    def make_adapters(self, student: Shapes, teacher: Shapes, training: Training | None) -> dict[str, Any]:
        """None, but channels must be equal."""
        check_stages("FSP", student.stages, teacher.stages)
        channels = [[stage[-1] for stage in shapes.stages] for shapes in (student, teacher)]
        if channels[0] != channels[1]:
            raise InputError(f"FSP needs stages of equal channels. Received: {channels[0]} and {channels[1]}")
        return {}

    def compute(self, student: Outputs, teacher: Outputs, *, labels: Any, adapters: Mapping[str, Any]) -> Any:
        """Computes the loss: see `Method.compute`."""
        return loss(student_stages=student.stages, teacher_stages=teacher.stages)

    def factors(self, epoch: int, epochs: int) -> tuple[float, float]:
        """Alone at first: see `Method.factors`."""
        return first_alone(self.first_share, epoch, epochs)
