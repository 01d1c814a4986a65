"""CRD: of many teacher embeddings, the one of the same image is nearest to the student's, and the other way round.

Tian et al., "Contrastive Representation Distillation", ICLR 2020 (arXiv:1910.10699), section 3.2 and equation 18. The
authors' code (github.com/HobbitLong/RepDistiller, crd/criterion.py and crd/memory.py) differs:

- The paper's critic is `e / (e + K / N)` with `e = exp(similarity / temperature)`; the code divides e by a constant,
  which makes the mean of the first batch 1 / N, and adds 1e-7 to denominators. Default: the code.
- Negatives come from two banks, which hold each training image's last embeddings, averaged with momentum.

A bank is state of a run: [N, size] for the student and for the teacher, and so are the two constants. The functions
here take rows of it and return new ones; who calls them stores them. The code draws the K negatives of an example among
images of other classes ("exact").
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from kdzoo.distillation.adapters import dense, features
from kdzoo.distillation.features import unit_vectors
from kdzoo.distillation.tensors import as_float, mean

CE_WEIGHT, WEIGHT = 1.0, 0.8  # without KD; with it, KD has weight 1: RepDistiller, CIFAR-100
EMBEDDING = 128
NEGATIVES = 16384
TEMPERATURE = 0.07
MOMENTUM = 0.5

_EPSILON = 1e-7


def loss(
    *,
    student_embeddings: Any,
    teacher_embeddings: Any,
    student_rows: Any,
    teacher_rows: Any,
    student_constant: Any,
    teacher_constant: Any,
    num_examples: int,
    temperature: float = TEMPERATURE,
) -> Any:
    """Computes the contrastive loss of the student against the teacher's bank, plus the other way round.

    Both embeddings are trained: both arguments have gradients.

    Args:
        student_embeddings: [n, size], of length 1.
        teacher_embeddings: [n, size], of length 1.
        student_rows: of the student's bank [n, 1 + K, size]: first that of the example, then its negatives.
        teacher_rows: of the teacher's bank, the same images.
        student_constant: `normalisation` of the first batch's `scores(student_embeddings, teacher_rows)`.
        teacher_constant: `normalisation` of the first batch's `scores(teacher_embeddings, student_rows)`.
        num_examples: N, number of training images.
        temperature: above 0.

    Returns:
        [n], at least 0.
    """
    student = scores(student_embeddings, teacher_rows, temperature=temperature)
    teacher = scores(teacher_embeddings, student_rows, temperature=temperature)
    return sum(
        _contrast(x / ops.cast(constant, x.dtype), num_examples)
        for x, constant in ((student, student_constant), (teacher, teacher_constant))
    )


def scores(embeddings: Any, rows: Any, *, temperature: float = TEMPERATURE) -> Any:
    """Computes `exp(similarity / temperature)` of embeddings [n, size] and bank rows [n, 1 + K, size]: [n, 1 + K]."""
    embeddings = as_float(embeddings)
    rows = ops.stop_gradient(ops.cast(rows, embeddings.dtype))
    return ops.exp(ops.squeeze(ops.matmul(rows, embeddings[:, :, None]), -1) / temperature)


def normalisation(scores: Any, *, num_examples: int) -> Any:
    """Computes the constant by which scores are divided from the first batch on: a scalar without gradient."""
    return ops.stop_gradient(mean(scores) * num_examples)


def initial_bank(num_examples: int, size: int, rng: np.random.RandomState) -> np.ndarray:
    """Draws a bank, float32 [N, size], uniform; its rows are about as long as embeddings."""
    bound = (3 / size) ** 0.5
    return rng.uniform(-bound, bound, (num_examples, size)).astype(np.float32)


def updated_rows(rows: Any, embeddings: Any, *, momentum: float = MOMENTUM) -> Any:
    """Computes the new rows of a batch's images in a bank.

    Args:
        rows: the old ones [n, size].
        embeddings: [n, size].
        momentum: share of the old ones, from 0 to 1.

    Returns:
        [n, size], of length 1, without gradient.
    """
    embeddings = as_float(embeddings)
    return ops.stop_gradient(unit_vectors(momentum * ops.cast(rows, embeddings.dtype) + (1 - momentum) * embeddings))


def embedding(*, channels: int, size: int = EMBEDDING, name: str = "student") -> keras.Model:
    """Builds the student's or the teacher's linear layer: penultimate features [n, channels] -> [n, size], length 1."""
    inputs = features([channels], name=name)
    return keras.Model(inputs, unit_vectors(dense(inputs, size, name="linear")), name=f"{name}_embedding")


def _contrast(scores: Any, num_examples: int) -> Any:
    """Negative log-likelihood of which row is the example's own: [n, 1 + K] -> [n]."""
    noise = (scores.shape[1] - 1) / num_examples
    positive = ops.log(scores[:, 0] / (scores[:, 0] + noise + _EPSILON))
    negatives = ops.log(noise / (scores[:, 1:] + noise + _EPSILON))
    return -(positive + ops.sum(negatives, axis=1))
