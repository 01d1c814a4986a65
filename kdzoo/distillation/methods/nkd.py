"""Normalised knowledge distillation (NKD): the labelled class, and the others after a softmax of their own.

Yang et al., "From Knowledge Distillation to Self-Knowledge Distillation: A Unified Approach with Normalized Loss and
Customized Soft Labels", ICCV 2023 (arXiv:2303.13005); code github.com/yzd-v/cls_KD, mmcls/models/dis_losses/nkd.py.
Paper and code agree.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from keras import ops

from kdzoo.distillation.checks import check_temperature
from kdzoo.distillation.method import Method, Outputs
from kdzoo.distillation.tensors import label_mask, logit_pair, without_classes

# configs/distillers/cifar100/res34_distill_res18_cifar.py. On ImageNet (res34_distill_res18_img.py) gamma is 1.5 and
# the temperature 1.
CE_WEIGHT = 1.0
WEIGHT = 1.0
GAMMA = 3.5
TEMPERATURE = 3.0


def loss(
    *,
    student_logits: Any,
    teacher_logits: Any,
    labels: Any,
    gamma: float = GAMMA,
    temperature: float = TEMPERATURE,
) -> Any:
    """Computes `-t_label * log s_label - gamma * T^2 * sum over the other classes of t_i * log s_i`.

    In the first term s and t are the probabilities of student and teacher at temperature 1, in the second those at
    temperature T, given that the class is none of the label's. Both terms are cross-entropies: equal logits do not make
    them 0.

    Args:
        student_logits: [n, classes].
        teacher_logits: [n, classes].
        labels: integers [n], or probabilities [n, classes], of which the likeliest class counts. For an example without
            label (-1) the first term is 0 and the second one over all classes.
        gamma: weight of the second term.
        temperature: T > 0.

    Returns:
        [n], at least 0.

    Raises:
        InputError: if the temperature is outside its range, or the shapes differ.
    """
    check_temperature(temperature)
    student, teacher = logit_pair(student_logits, teacher_logits)
    mask = label_mask(labels, student)
    labelled = ops.sum(ops.where(mask, ops.softmax(teacher) * ops.log_softmax(student), 0.0), axis=-1)
    student, teacher = (without_classes(logits, mask) / temperature for logits in (student, teacher))
    others = ops.sum(ops.where(mask, 0.0, ops.softmax(teacher) * ops.log_softmax(student)), axis=-1)
    return -labelled - gamma * temperature**2 * others


@dataclasses.dataclass(frozen=True)
class NKD(Method):
    """Normalised knowledge distillation. Arguments as of `loss`."""

    gamma: float = GAMMA
    temperature: float = TEMPERATURE
    ce_weight, weight = CE_WEIGHT, WEIGHT
    has_labels = True

    def compute(self, student: Outputs, teacher: Outputs, *, labels: Any, adapters: Mapping[str, Any]) -> Any:
        """Computes the loss: see `Method.compute`."""
        return loss(student_logits=student.logits, teacher_logits=teacher.logits, labels=labels, **self.arguments)
