"""SP: two images that the teacher represents alike are alike for the student.

Tung & Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019 (arXiv:1907.09682), equation 4. RepDistiller
(github.com/HobbitLong/RepDistiller, distiller_zoo/SP.py, verified by the paper's author) computes the same, on the last
stage.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from keras import ops

from kdzoo.distillation.features import flatten, pair, unit_vectors
from kdzoo.distillation.method import Method, Outputs
from kdzoo.distillation.tensors import mean

CE_WEIGHT, WEIGHT = 1.0, 3000.0  # without KD: RepDistiller, CIFAR-100


def loss(*, student_stage: Any, teacher_stage: Any) -> Any:
    """Computes the squared differences of row-normalised Gram matrices, over n^2: a relation within the batch.

    Args:
        student_stage: [n, ...].
        teacher_stage: [n, ...]; sizes and channels may differ.

    Returns:
        [n], at least 0: the share of each example's row, n times as large, so that their mean is the loss.
    """
    student, teacher = (_similarities(flatten(x)) for x in pair(student_stage, teacher_stage))
    return mean(ops.square(teacher - student), axis=-1)


def _similarities(x: Any) -> Any:
    """Row-normalised Gram matrix [n, n] of [n, values]."""
    return unit_vectors(ops.matmul(x, ops.transpose(x)))


@dataclasses.dataclass(frozen=True)
class SP(Method):
    """Similarity-preserving distillation of the last stage."""

    needs = ("stages",)
    ce_weight, weight = CE_WEIGHT, WEIGHT
    is_relation = True

    def compute(self, student: Outputs, teacher: Outputs, *, labels: Any, adapters: Mapping[str, Any]) -> Any:
        """Computes the loss: see `Method.compute`."""
        return loss(student_stage=student.stages[-1], teacher_stage=teacher.stages[-1])
