"""Teacher-free KD by self-training (Tf-KD_self): KD from the student's own architecture, trained before.

Yuan et al., "Revisiting Knowledge Distillation via Label Smoothing Regularization", CVPR 2020 (arXiv:1909.11723),
section 5; code github.com/yuanli2333/Teacher-free-Knowledge-Distillation, my_loss_function.py.

The loss is that of KD. The code takes the mean over classes, and multiplies by a `multiplier` of the network; here it
is the sum over classes, and `WEIGHT` has both factors.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from kdzoo.distillation.method import Method, Outputs
from kdzoo.distillation.methods import kd

# experiments/kd_experiments/resnet18_distill/resnet18_self_teacher/params.json: alpha 0.95, temperature 6, multiplier
# 50. The weight is 0.95 * 50 / 100 classes.
CE_WEIGHT = 0.05
WEIGHT = 0.475
TEMPERATURE = 6.0


def loss(*, student_logits: Any, teacher_logits: Any, temperature: float = TEMPERATURE) -> Any:
    """Computes `T^2 * KL(softmax(teacher / T) || softmax(student / T))`.

    Args:
        student_logits: [n, classes].
        teacher_logits: [n, classes], of a trained network of the student's architecture.
        temperature: T > 0.

    Returns:
        [n], at least 0.

    Raises:
        InputError: if the temperature is outside its range, or the shapes differ.
    """
    return kd.loss(student_logits=student_logits, teacher_logits=teacher_logits, temperature=temperature)


@dataclasses.dataclass(frozen=True)
class TfKDSelf(Method):
    """Teacher-free KD by self-training; the teacher is a trained network of the student's architecture."""

    temperature: float = TEMPERATURE
    ce_weight, weight = CE_WEIGHT, WEIGHT

    def compute(self, student: Outputs, teacher: Outputs, *, labels: Any, adapters: Mapping[str, Any]) -> Any:
        """Computes the loss: see `Method.compute`."""
        return loss(student_logits=student.logits, teacher_logits=teacher.logits, temperature=self.temperature)
