"""NST: the places where the student's channels are active are distributed like the teacher's.

Huang & Wang, "Like What You Like: Knowledge Distill via Neuron Selectivity Transfer", 2017
(arXiv:1707.01219), section 4: the squared maximum mean discrepancy of two sets of channels under the polynomial kernel
`(x y)^2`. RepDistiller
(github.com/HobbitLong/RepDistiller, distiller_zoo/NST.py) and mdistiller compute the same, on all stages. The authors'
code (github.com/TuSimple/neuron-selectivity-transfer, symbol/transfer.py, MXNet) leaves the teacher's own term out,
which has no gradient.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from keras import ops

from kdzoo.distillation.checks import check_stages
from kdzoo.distillation.features import equal_size, mean_per_example, pair, unit_vectors
from kdzoo.distillation.method import Method, Outputs

CE_WEIGHT, WEIGHT = 1.0, 50.0  # of the sum over stages, without KD: RepDistiller, CIFAR-100


def loss(*, student_stages: Sequence[Any], teacher_stages: Sequence[Any]) -> Any:
    """Computes the discrepancies, summed over stages; the larger of two stages is average-pooled first.

    Args:
        student_stages: stage outputs [n, h, w, channels], from first to last.
        teacher_stages: as many stage outputs; channels may differ.

    Returns:
        [n], at least 0 up to rounding.

    Raises:
        InputError: if the numbers of stages differ.
    """
    check_stages("Neuron selectivity transfer", student_stages, teacher_stages)
    return sum(_discrepancy(*pair(s, t)) for s, t in zip(student_stages, teacher_stages, strict=True))


def _discrepancy(student: Any, teacher: Any) -> Any:
    """Squared maximum mean discrepancy of one stage: [n]."""
    student, teacher = (_neurons(x) for x in equal_size(student, teacher))
    return _kernel(teacher, teacher) + _kernel(student, student) - 2 * _kernel(student, teacher)


def _neurons(x: Any) -> Any:
    """Maps of length 1, one a channel: [n, h, w, channels] -> [n, channels, h * w]."""
    height, width, channels = x.shape[1:]
    return unit_vectors(ops.transpose(ops.reshape(x, (-1, height * width, channels)), (0, 2, 1)))


def _kernel(a: Any, b: Any) -> Any:
    """Mean of the kernel over all pairs of channels: [n]."""
    return mean_per_example(ops.square(ops.matmul(a, ops.transpose(b, (0, 2, 1)))))


@dataclasses.dataclass(frozen=True)
class NST(Method):
    """Neuron selectivity transfer of all stages."""

    needs = ("stages",)
    ce_weight, weight = CE_WEIGHT, WEIGHT

    def compute(self, student: Outputs, teacher: Outputs, *, labels: Any, adapters: Mapping[str, Any]) -> Any:
        """Computes the loss: see `Method.compute`."""
        return loss(student_stages=student.stages, teacher_stages=teacher.stages)
