"""CC: the correlations of a batch are the teacher's, in a space into which both are embedded.

Peng et al., "Correlation Congruence for Knowledge Distillation", ICCV 2019 (arXiv:1904.01802), section 3. Paper and
code are two losses:

- mode="code", the default, as RepDistiller (github.com/HobbitLong/RepDistiller, distiller_zoo/CC.py, from code that the
  authors shared): the mean over successive examples of the batch of `sum(|s_i - t_i| * |s_(i+1) - t_(i+1)|)`. It
  depends on the order of the examples.
- mode="paper": the mean square difference of two kernel matrices, a Gaussian kernel by its Taylor series of order 2 on
  features of length 1. torchdistill (losses/mid_level.py, CCKDLoss) has the same kernel, but does not normalise the
  features, and takes the norm of the difference instead of its square.

The paper draws batches that hold several images of each class it holds; neither code does.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from kdzoo.distillation.adapters import SIZES, dense, features
from kdzoo.distillation.checks import check_mode
from kdzoo.distillation.features import unit_vectors
from kdzoo.distillation.method import Method, Outputs, Shapes, Training
from kdzoo.distillation.tensors import as_float, check_equal_shapes, mean

CE_WEIGHT, WEIGHT = 1.0, 0.02  # in mode "code", without KD: RepDistiller, CIFAR-100
EMBEDDING = 128  # RepDistiller, torchdistill
GAMMA, ORDER = 0.4, 2  # of the Gaussian kernel and its series: paper, torchdistill's ImageNet configuration


def loss(*, student_embeddings: Any, teacher_embeddings: Any, mode: str = "code", gamma: float = GAMMA) -> Any:
    """Computes the CC loss, a relation within the batch. Both embeddings are trained: both arguments have gradients.

    Args:
        student_embeddings: [n, size].
        teacher_embeddings: [n, size].
        mode: "code" or "paper", see above.
        gamma: of the Gaussian kernel, in mode "paper".

    Returns:
        [n], at least 0: the share of each example and its successor, or row, so scaled that their mean is the loss.

    Raises:
        InputError: if the shapes differ, or the mode is unknown.
    """
    check_mode(mode)
    student, teacher = as_float(student_embeddings), as_float(teacher_embeddings)
    check_equal_shapes("embeddings", student, teacher)
    if mode == "paper":
        return mean(ops.square(_kernel(student, gamma) - _kernel(teacher, gamma)), axis=-1)
    distances = ops.abs(student - teacher)
    products = ops.sum(distances[:-1] * distances[1:], axis=-1)
    n = ops.cast(ops.shape(distances)[0], products.dtype)
    return ops.pad(products, [[0, 1]]) * (n / ops.maximum(n - 1, 1))


def embedding(*, channels: int, size: int = EMBEDDING, name: str = "student") -> keras.Model:
    """Builds a linear layer, of the student or of the teacher: penultimate features [n, channels] -> [n, size]."""
    inputs = features([channels], name=name)
    return keras.Model(inputs, dense(inputs, size, name="linear"), name=f"{name}_embedding")


def _kernel(x: Any, gamma: float) -> Any:
    """Gaussian kernel `exp(-gamma |x_i - x_j|^2)` of unit vectors by its Taylor series in `x_i x_j`: [n, n]."""
    x = unit_vectors(x)
    products = ops.matmul(x, ops.transpose(x))
    series = sum((2 * gamma) ** p / math.factorial(p) * products**p for p in range(1, ORDER + 1))
    return math.exp(-2 * gamma) * (1 + series)


@dataclasses.dataclass(frozen=True)
class CC(Method):
    """Correlation congruence of the embedded penultimate features. Arguments as of `loss`."""

    mode: str = "code"
    gamma: float = GAMMA
    size: int = EMBEDDING
    needs = ("features",)
    ce_weight, weight = CE_WEIGHT, WEIGHT
    is_relation = True
    ranges = (("size", SIZES),)

    def make_adapters(self, student: Shapes, teacher: Shapes, training: Training | None) -> dict[str, Any]:
        """An embedding for each network."""
        of = {"student": student, "teacher": teacher}
        return {name: embedding(channels=shapes.channels, size=self.size, name=name) for name, shapes in of.items()}

    def compute(self, student: Outputs, teacher: Outputs, *, labels: Any, adapters: Mapping[str, Any]) -> Any:
        """Computes the loss: see `Method.compute`."""
        return loss(
            student_embeddings=adapters["student"](student.features, training=True),
            teacher_embeddings=adapters["teacher"](teacher.features, training=True),
            mode=self.mode,
            gamma=self.gamma,
        )
