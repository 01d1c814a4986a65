"""RKD: distances and angles between the examples of a batch are the teacher's.

Park et al., "Relational Knowledge Distillation", CVPR 2019 (arXiv:1904.05068), section 3.2. The authors'
code (github.com/lenscloth/RKD, metric/loss.py), which RepDistiller copies, differs: the paper sums over pairs and
triplets of distinct examples, the code takes the mean over all n^2 and n^3, those with an example twice included; they
count 0. Default: the code.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from keras import ops

from kdzoo.distillation import checks
from kdzoo.distillation.features import flatten, pair, unit_vectors
from kdzoo.distillation.method import Method, Outputs
from kdzoo.distillation.tensors import mean

CE_WEIGHT, WEIGHT = 1.0, 1.0  # without KD: RepDistiller, CIFAR-100
DISTANCE_WEIGHT, ANGLE_WEIGHT = 25.0, 50.0  # paper, classification; RepDistiller

_LEAST_SQUARE = 1e-12  # of the distance of two examples, in the authors' code


def loss(
    *,
    student_features: Any,
    teacher_features: Any,
    distance_weight: float = DISTANCE_WEIGHT,
    angle_weight: float = ANGLE_WEIGHT,
) -> Any:
    """Computes the weighted sum of `distance` and `angle`, relations within the batch. Arguments as theirs.

    Returns:
        [n], at least 0: the share of each example, n times as large, so that their mean is the loss.
    """
    features = {"student_features": student_features, "teacher_features": teacher_features}
    return distance_weight * distance(**features) + angle_weight * angle(**features)


def distance(*, student_features: Any, teacher_features: Any) -> Any:
    """Computes the distance-wise loss RKD-D: Huber loss of distances between examples, relative to their mean.

    Args:
        student_features: of the penultimate layer [n, channels], or any [n, ...].
        teacher_features: [n, ...]; channels may differ.

    Returns:
        [n], at least 0: the share of the pairs of each example, n times as large.
    """
    student, teacher = (_distances(x) for x in pair(student_features, teacher_features))
    return mean(_huber(student - teacher), axis=-1)


def angle(*, student_features: Any, teacher_features: Any) -> Any:
    """Computes the angle-wise loss RKD-A: Huber loss of the cosines of the angles of three examples.

    It takes memory for n^2 * channels and n^3 numbers. Arguments as of `distance`.

    Returns:
        [n], at least 0: the share of the angles at each example, n times as large.
    """
    student, teacher = (_cosines(x) for x in pair(student_features, teacher_features))
    return mean(mean(_huber(student - teacher), axis=-1), axis=-1)


def _differences(x: Any) -> Any:
    """Differences of all pairs of a batch [n, ...]: [n, n, values]."""
    x = flatten(x)
    return x[None] - x[:, None]


def _distances(x: Any) -> Any:
    """L2 distances of all pairs, divided by the mean over pairs of two: [n, n]. Two equal examples are 1e-6 apart."""
    squares = ops.sum(ops.square(_differences(x)), axis=-1)
    n = ops.shape(squares)[0]
    apart = 1 - ops.eye(n, dtype=squares.dtype)
    distances = ops.sqrt(ops.maximum(squares, _LEAST_SQUARE)) * apart
    pairs = ops.maximum(ops.sum(apart), 1)
    return distances / ops.maximum(ops.sum(distances) / pairs, _LEAST_SQUARE**0.5)


def _cosines(x: Any) -> Any:
    """Cosines [vertex, n, n] of the angles at each example; 0 where two of the three examples are one."""
    edges = unit_vectors(_differences(x))
    return ops.matmul(edges, ops.transpose(edges, (0, 2, 1)))


def _huber(x: Any) -> Any:
    """Half the square below 1, linear above: PyTorch's `smooth_l1_loss`."""
    size = ops.abs(x)
    return ops.where(size < 1, ops.square(x) / 2, size - 0.5)


@dataclasses.dataclass(frozen=True)
class RKD(Method):
    """Relational knowledge distillation of the penultimate features. Arguments as of `loss`."""

    distance_weight: float = DISTANCE_WEIGHT
    angle_weight: float = ANGLE_WEIGHT
    needs = ("features",)
    ce_weight, weight = CE_WEIGHT, WEIGHT
    is_relation = True
    ranges = (("distance_weight", checks.WEIGHT), ("angle_weight", checks.WEIGHT))

    def compute(self, student: Outputs, teacher: Outputs, *, labels: Any, adapters: Mapping[str, Any]) -> Any:
        """Computes the loss: see `Method.compute`."""
        return loss(student_features=student.features, teacher_features=teacher.features, **self.arguments)
