"""Weighted transformed teacher matching (WTTM): TTM with more weight where the teacher is less certain.

Zheng & Yang, "Knowledge Distillation Based on Transformed Teacher Matching", ICLR 2024 (arXiv:2402.11148); code
github.com/zkxufo/TTM, distiller_zoo/wttm.py. Paper and code agree.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from kdzoo.distillation.method import Method, Outputs
from kdzoo.distillation.methods.ttm import EXPONENTS, loss_and_power_sum

# The README's command with WTTM, beside CRD, for vgg13 and vgg8 on CIFAR-100: --add wttm --ttm_l 0.2 -a 4. Appendix A.4
# of the paper has another exponent and weight for each pair.
CE_WEIGHT = 1.0
WEIGHT = 4.0
EXPONENT = 0.2


def loss(*, student_logits: Any, teacher_logits: Any, exponent: float = EXPONENT) -> Any:
    """Computes TTM's loss times the sum of the powers of the teacher's probabilities, see `ttm.power_transform`.

    Args:
        student_logits: [n, classes].
        teacher_logits: [n, classes].
        exponent: gamma = 1 / T of the teacher, above 0.

    Returns:
        [n], at least 0.

    Raises:
        InputError: if the exponent is outside its range, or the shapes differ.
    """
    given = {"student_logits": student_logits, "teacher_logits": teacher_logits, "exponent": exponent}
    divergence, power_sum = loss_and_power_sum(**given)
    return power_sum * divergence


@dataclasses.dataclass(frozen=True)
class WTTM(Method):
    """Weighted transformed teacher matching. Arguments as of `loss`."""

    exponent: float = EXPONENT
    ce_weight, weight = CE_WEIGHT, WEIGHT
    ranges = (("exponent", EXPONENTS),)

    def compute(self, student: Outputs, teacher: Outputs, *, labels: Any, adapters: Mapping[str, Any]) -> Any:
        """Computes the loss: see `Method.compute`."""
        return loss(student_logits=student.logits, teacher_logits=teacher.logits, exponent=self.exponent)
