"""Knowledge distillation (KD): the KL divergence of softened predictions.

Hinton et al., "Distilling the Knowledge in a Neural Network", 2015 (arXiv:1503.02531), section 2. T^2 keeps the
gradient's size equal at all temperatures.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from keras import ops

from kdzoo.distillation.checks import check_temperature
from kdzoo.distillation.method import Method, Outputs
from kdzoo.distillation.tensors import kl_divergence, logit_pair

# The field's usual values, for example KD in mdistiller/engine/cfg.py of github.com/megvii-research/mdistiller.
CE_WEIGHT = 0.1
WEIGHT = 0.9
TEMPERATURE = 4.0


def loss(*, student_logits: Any, teacher_logits: Any, temperature: float = TEMPERATURE) -> Any:
    """Computes `T^2 * KL(softmax(teacher / T) || softmax(student / T))`.

    Args:
        student_logits: [n, classes].
        teacher_logits: [n, classes].
        temperature: T > 0; at 1 the loss is the KL divergence in nats.

    Returns:
        [n], at least 0, summed over classes.

    Raises:
        InputError: if the temperature is outside its range, or the shapes differ.
    """
    check_temperature(temperature)
    student, teacher = (ops.log_softmax(x) for x in logit_pair(student_logits, teacher_logits, temperature))
    return temperature**2 * kl_divergence(student=student, teacher=teacher)


@dataclasses.dataclass(frozen=True)
class KD(Method):
    """Knowledge distillation. Arguments as of `loss`."""

    temperature: float = TEMPERATURE
    ce_weight, weight = CE_WEIGHT, WEIGHT

    def compute(self, student: Outputs, teacher: Outputs, *, labels: Any, adapters: Mapping[str, Any]) -> Any:
        """Computes the loss: see `Method.compute`."""
        return loss(student_logits=student.logits, teacher_logits=teacher.logits, temperature=self.temperature)
