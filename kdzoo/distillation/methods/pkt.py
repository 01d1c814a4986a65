"""PKT: the student's similarities within a batch, as probabilities, follow the teacher's.

Passalis & Tefas, "Learning Deep Representations with Probabilistic Knowledge Transfer", ECCV 2018 (arXiv:1803.10837),
section 3. The authors' code (github.com/passalis/probabilistic_kt, nn/pkt.py), which RepDistiller copies, differs:

- The paper sums the KL divergence over all pairs; the code takes the mean over n^2. Default: the code.
- The paper leaves an example's similarity to itself out of its probabilities; the code leaves it in. Default: the code.
- The code adds 1e-7 to norms and inside the logarithm.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from keras import ops

from kdzoo.distillation.features import flatten, pair
from kdzoo.distillation.method import Method, Outputs
from kdzoo.distillation.tensors import mean, safe_sqrt

CE_WEIGHT, WEIGHT = 1.0, 30000.0  # without KD: RepDistiller, CIFAR-100

_EPSILON = 1e-7


def loss(*, student_features: Any, teacher_features: Any) -> Any:
    """Computes KL(teacher || student) of cosine similarities, over n^2: a relation within the batch.

    Args:
        student_features: of the penultimate layer [n, channels], or any [n, ...].
        teacher_features: [n, ...]; channels may differ.

    Returns:
        [n]: the share of each example's row, n times as large, so that their mean is the loss.
    """
    student, teacher = (_probabilities(flatten(x)) for x in pair(student_features, teacher_features))
    return mean(teacher * ops.log((teacher + _EPSILON) / (student + _EPSILON)), axis=-1)


def _probabilities(x: Any) -> Any:
    """Cosine similarities of [n, values], scaled to 0..1, divided by the sum of each row: [n, n]."""
    x = x / (safe_sqrt(ops.sum(ops.square(x), axis=-1, keepdims=True)) + _EPSILON)
    similarities = (ops.matmul(x, ops.transpose(x)) + 1) / 2
    return similarities / ops.sum(similarities, axis=-1, keepdims=True)


@dataclasses.dataclass(frozen=True)
class PKT(Method):
    """Probabilistic knowledge transfer of the penultimate features."""

    needs = ("features",)
    ce_weight, weight = CE_WEIGHT, WEIGHT
    is_relation = True

    def compute(self, student: Outputs, teacher: Outputs, *, labels: Any, adapters: Mapping[str, Any]) -> Any:
        """Computes the loss: see `Method.compute`."""
        return loss(student_features=student.features, teacher_features=teacher.features)
