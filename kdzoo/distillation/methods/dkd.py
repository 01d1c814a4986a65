"""Decoupled knowledge distillation (DKD): KD in two parts, the labelled class and the others among themselves.

Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022 (arXiv:2203.08679), equation 7; code
github.com/megvii-research/mdistiller, mdistiller/distillers/DKD.py.

The paper's equations have no temperature. The code, as here, divides both logits by T and multiplies by T^2. In the
first 20 epochs, counted from 1, it also multiplies the loss by epoch / 20: see `DKD.factors`. The code takes the
logarithm of summed probabilities, infinite in float32 for a confident student; here it is a log-sum-exp.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from keras import ops

from kdzoo.distillation.checks import check_temperature
from kdzoo.distillation.method import Method, Outputs, warm_up
from kdzoo.distillation.tensors import kl_divergence, label_mask, logit_pair, without_classes

# mdistiller/engine/cfg.py, of CIFAR-100. `beta` depends on the pair: configs/cifar100/dkd has 6 for wrn_40_2 and vgg13,
# 2 for resnet56 and resnet110, 8 otherwise. On ImageNet (configs/imagenet) beta is 0.5 (r34_r18) or 2 (r50_mv1), the
# temperature 1, WARMUP one epoch, which is none.
CE_WEIGHT = 1.0
WEIGHT = 1.0
ALPHA = 1.0
BETA = 8.0
TEMPERATURE = 4.0
WARMUP_SHARE = 20 / 240  # of the epochs


def loss(
    *,
    student_logits: Any,
    teacher_logits: Any,
    labels: Any,
    alpha: float = ALPHA,
    beta: float = BETA,
    temperature: float = TEMPERATURE,
) -> Any:
    """Computes `T^2 * (alpha * TCKD + beta * NCKD)`.

    TCKD is the KL divergence of the probabilities of two events, the labelled class and any other. NCKD is that of the
    probabilities of the other classes, given that it is one of them. With alpha = 1, and beta = the teacher's
    probability of another class, the sum is KD.

    Args:
        student_logits: [n, classes].
        teacher_logits: [n, classes].
        labels: integers [n], or probabilities [n, classes], of which the likeliest class counts. An example without
            label (-1) has TCKD 0 and, as NCKD, the KL divergence over all classes.
        alpha: weight of TCKD.
        beta: weight of NCKD.
        temperature: T > 0.

    Returns:
        [n], at least 0.

    Raises:
        InputError: if the temperature is outside its range, or the shapes differ.
    """
    check_temperature(temperature)
    student, teacher = logit_pair(student_logits, teacher_logits, temperature)
    mask = label_mask(labels, student)
    student_event, student_others = _split(student, mask)
    teacher_event, teacher_others = _split(teacher, mask)
    tckd = kl_divergence(student=student_event, teacher=teacher_event)
    nckd = kl_divergence(student=student_others, teacher=teacher_others)
    return temperature**2 * (alpha * tckd + beta * nckd)


def _split(logits: Any, mask: Any) -> tuple[Any, Any]:
    """Returns the log-probabilities of the two events [n, 2], and of each class given the second [n, classes]."""
    others = without_classes(logits, mask)
    labelled = ops.sum(ops.where(mask, ops.log_softmax(logits), 0.0), axis=-1)
    other = ops.logsumexp(others, axis=-1) - ops.logsumexp(logits, axis=-1)
    return ops.stack([labelled, other], axis=-1), ops.log_softmax(others)


@dataclasses.dataclass(frozen=True)
class DKD(Method):
    """Decoupled knowledge distillation. Arguments as of `loss`, and the share of the epochs in which it warms up."""

    alpha: float = ALPHA
    beta: float = BETA
    temperature: float = TEMPERATURE
    warmup_share: float = WARMUP_SHARE
    ce_weight, weight = CE_WEIGHT, WEIGHT
    has_labels = True

    def compute(self, student: Outputs, teacher: Outputs, *, labels: Any, adapters: Mapping[str, Any]) -> Any:
        """Computes the loss: see `Method.compute`."""
        given = {"alpha": self.alpha, "beta": self.beta, "temperature": self.temperature}
        return loss(student_logits=student.logits, teacher_logits=teacher.logits, labels=labels, **given)

    def factors(self, epoch: int, epochs: int) -> tuple[float, float]:
        """Its own rises to 1: see `Method.factors`."""
        return warm_up(self.warmup_share, epoch, epochs), 1.0
