"""Transformed teacher matching (TTM): KD with a temperature on the teacher's side alone.

Zheng & Yang, "Knowledge Distillation Based on Transformed Teacher Matching", ICLR 2024 (arXiv:2402.11148); code
github.com/zkxufo/TTM, distiller_zoo/ttm.py. The teacher's temperature T is a power transform of its probabilities with
the exponent gamma = 1 / T. Paper and code agree.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from keras import ops

from kdzoo.distillation.method import Method, Outputs
from kdzoo.distillation.tensors import kl_divergence, logit_pair
from kdzoo.ranges import Range

# The README's command, for vgg13 and vgg8 on CIFAR-100: --distill ttm --ttm_l 0.1 -r 1 -b 45. Appendix A.4 of the paper
# has another exponent and weight for each pair.
CE_WEIGHT = 1.0
WEIGHT = 45.0
EXPONENT = 0.1

EXPONENTS = Range(above=0, most=1000, example=0.1)


def loss(*, student_logits: Any, teacher_logits: Any, exponent: float = EXPONENT) -> Any:
    """Computes `KL(teacher^exponent, normalised || student)` of probabilities. The student's temperature is 1.

    Args:
        student_logits: [n, classes].
        teacher_logits: [n, classes].
        exponent: gamma = 1 / T of the teacher, above 0.

    Returns:
        [n], at least 0.

    Raises:
        InputError: if the exponent is outside its range, or the shapes differ.
    """
    return loss_and_power_sum(student_logits=student_logits, teacher_logits=teacher_logits, exponent=exponent)[0]


def loss_and_power_sum(*, student_logits: Any, teacher_logits: Any, exponent: float) -> tuple[Any, Any]:
    """Computes the loss [n], and the sum [n] of the powers of the teacher's probabilities. Arguments as of `loss`."""
    EXPONENTS.check("exponent", exponent)
    student, teacher = logit_pair(student_logits, teacher_logits)
    transformed, power_sum = power_transform(teacher, exponent)
    return kl_divergence(student=ops.log_softmax(student), teacher=transformed), power_sum


def power_transform(logits: Any, exponent: float) -> tuple[Any, Any]:
    """Raises probabilities to a power.

    Args:
        logits: [n, classes].
        exponent: above 0.

    Returns:
        The logarithms of the powers over their sum [n, classes], and the sum [n]: from 1 for a certain prediction to
        `classes ** (1 - exponent)` for a uniform one, if the exponent is below 1.
    """
    powers = exponent * ops.log_softmax(logits)
    log_sum = ops.logsumexp(powers, axis=-1, keepdims=True)
    return powers - log_sum, ops.exp(ops.squeeze(log_sum, axis=-1))


@dataclasses.dataclass(frozen=True)
class TTM(Method):
    """Transformed teacher matching. Arguments as of `loss`."""

    exponent: float = EXPONENT
    ce_weight, weight = CE_WEIGHT, WEIGHT
    ranges = (("exponent", EXPONENTS),)

    def compute(self, student: Outputs, teacher: Outputs, *, labels: Any, adapters: Mapping[str, Any]) -> Any:
        """Computes the loss: see `Method.compute`."""
        return loss(student_logits=student.logits, teacher_logits=teacher.logits, exponent=self.exponent)
