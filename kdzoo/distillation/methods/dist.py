"""DIST: correlations of predicted probabilities in place of their KL divergence.

Huang et al., "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022 (arXiv:2205.10536); code
github.com/hunto/image_classification_sota, lib/models/losses/dist_kd.py, to which the paper's hunto/DIST_KD points.

The code, as here, multiplies both terms by T^2, which the paper's equations do not have, and adds 1e-8 to the product
of the two norms.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from keras import ops

from kdzoo.distillation.checks import check_temperature
from kdzoo.distillation.method import Method, Outputs
from kdzoo.distillation.tensors import logit_pair, mean, safe_sqrt

# configs/strategies/distill/dist_cifar.yaml: cross-entropy 1, DIST 2, T = 4. On ImageNet (resnet_dist.yaml) T = 1.
CE_WEIGHT = 1.0
WEIGHT = 2.0
BETA = 1.0
GAMMA = 1.0
TEMPERATURE = 4.0

_EPSILON = 1e-8


def loss(
    *,
    student_logits: Any,
    teacher_logits: Any,
    beta: float = BETA,
    gamma: float = GAMMA,
    temperature: float = TEMPERATURE,
) -> Any:
    """Computes `T^2 * (beta * inter + gamma * intra)`, a relation within the batch.

    Both are means of 1 - Pearson's correlation between probabilities of student and teacher: inter-class, over
    examples, of the classes of an example; intra-class, over classes, of the examples of the batch.

    Args:
        student_logits: [n, classes].
        teacher_logits: [n, classes].
        beta: weight of the inter-class term.
        gamma: weight of the intra-class term.
        temperature: T > 0.

    Returns:
        A scalar, from 0 to `2 * T^2 * (beta + gamma)`.

    Raises:
        InputError: if the temperature is outside its range, or the shapes differ.
    """
    check_temperature(temperature)
    student, teacher = (ops.softmax(x) for x in logit_pair(student_logits, teacher_logits, temperature))
    inter = mean(_pearson_distance(student, teacher))
    intra = mean(_pearson_distance(ops.transpose(student), ops.transpose(teacher)))
    return temperature**2 * (beta * inter + gamma * intra)


def _pearson_distance(a: Any, b: Any) -> Any:
    """Computes 1 - the correlation of each row [rows, columns]: [rows]; 1 for a constant row."""
    a, b = (x - ops.expand_dims(mean(x, axis=-1), axis=-1) for x in (a, b))
    norms = [safe_sqrt(ops.sum(ops.square(x), axis=-1)) for x in (a, b)]
    return 1 - ops.sum(a * b, axis=-1) / (norms[0] * norms[1] + _EPSILON)


@dataclasses.dataclass(frozen=True)
class DIST(Method):
    """Correlations of predictions. Arguments as of `loss`."""

    beta: float = BETA
    gamma: float = GAMMA
    temperature: float = TEMPERATURE
    ce_weight, weight = CE_WEIGHT, WEIGHT
    is_relation = True

    def compute(self, student: Outputs, teacher: Outputs, *, labels: Any, adapters: Mapping[str, Any]) -> Any:
        """Computes the loss: see `Method.compute`."""
        return loss(student_logits=student.logits, teacher_logits=teacher.logits, **self.arguments)
