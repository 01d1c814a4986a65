"""CRD: of many teacher embeddings, the one of the same image is nearest to the student's, and the other way round.

Tian et al., "Contrastive Representation Distillation", ICLR 2020 (arXiv:1910.10699), section 3.2 and equation 18. The
authors' code (github.com/HobbitLong/RepDistiller, crd/criterion.py and crd/memory.py) differs:

- The paper's critic is `e / (e + K / N)` with `e = exp(similarity / temperature)`; the code divides e by a constant,
  which makes the mean of the first batch 1 / N, and adds 1e-7 to denominators. Default: the code.
- Negatives come from two banks, which hold each training image's last embeddings, averaged with momentum.

A bank is state of a run: [N, size] for the student and for the teacher, and so are the two constants. The functions
here take banks and return new rows; who calls them stores them. The code draws the K negatives of an example among
images of other classes ("exact").
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from kdzoo.distillation.adapters import SIZES, dense, features
from kdzoo.distillation.features import unit_vectors
from kdzoo.distillation.method import Method, Outputs, Shapes, Training
from kdzoo.distillation.tensors import as_float, mean
from kdzoo.ranges import Range
from zoo import InputError

CE_WEIGHT, WEIGHT = 1.0, 0.8  # without KD; with it, KD has weight 1: RepDistiller, CIFAR-100
EMBEDDING = 128
NEGATIVES = 16384
TEMPERATURE = 0.07
MOMENTUM = 0.5

_NEGATIVES = Range(least=1, most=2**16, whole=True, example=2**14)
_SHARES = Range(least=0, most=1, example=0.5)
_EPSILON = 1e-7


def loss(
    *,
    student_embeddings: Any,
    teacher_embeddings: Any,
    student_bank: Any,
    teacher_bank: Any,
    images: Any,
    student_constant: Any,
    teacher_constant: Any,
    temperature: float = TEMPERATURE,
) -> Any:
    """Computes the contrastive loss of the student against the teacher's bank, plus the other way round.

    Both embeddings are trained: both arguments have gradients.

    Args:
        student_embeddings: [n, size], of length 1.
        teacher_embeddings: [n, size], of length 1.
        student_bank: [N, size].
        teacher_bank: [N, size].
        images: rows of the banks, integers [n, 1 + K]: first that of the example, then its negatives.
        student_constant: `normalisation` of the first batch's `scores(student_embeddings, teacher_bank, images)`.
        teacher_constant: `normalisation` of the first batch's `scores(teacher_embeddings, student_bank, images)`.
        temperature: above 0.

    Returns:
        [n], at least 0.
    """
    student = scores(student_embeddings, teacher_bank, images, temperature=temperature)
    teacher = scores(teacher_embeddings, student_bank, images, temperature=temperature)
    return sum(
        _contrast(x / ops.cast(constant, x.dtype), student_bank.shape[0])
        for x, constant in ((student, student_constant), (teacher, teacher_constant))
    )


def scores(embeddings: Any, bank: Any, images: Any, *, temperature: float = TEMPERATURE) -> Any:
    """Computes `exp(similarity / temperature)` of embeddings [n, size] and these rows of a bank [N, size]: [n, 1 + K].

    Similarities with the whole bank take less time than rows [n, 1 + K, size], and less memory while N < K * size.
    """
    embeddings = as_float(embeddings)
    bank = ops.stop_gradient(ops.cast(bank, embeddings.dtype))
    similarities = ops.matmul(embeddings, ops.transpose(bank))
    return ops.exp(ops.take_along_axis(similarities, images, axis=1) / temperature)


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


@keras.saving.register_keras_serializable("kdzoo")
class Banks(layers.Layer):
    """The embeddings of all training examples by student and teacher, and the constants of the first batch.

    Args:
        labels: class of each example [N].
        size: of an embedding.
        negatives: K, drawn anew for each example of each batch.
        seed: of the first embeddings and of the draws.
    """

    def __init__(self, labels: Any, *, size: int, negatives: int, seed: int = 0, name: str = "banks") -> None:
        super().__init__(name=name, dtype="float32")
        labels = np.asarray(labels)
        self.negatives, self.num_examples = negatives, len(labels)
        # Examples in order of their classes: those of other classes follow a class's end, round to its begin.
        ends = np.searchsorted(np.sort(labels), labels, side="right")
        counts = np.bincount(labels)[labels]
        rng = np.random.RandomState(seed)
        for of, value in (
            ("student", initial_bank(len(labels), size, rng)),
            ("teacher", initial_bank(len(labels), size, rng)),
        ):
            setattr(self, of, self._keep(value, of))
        self.constants = self._keep(np.zeros(2, np.float32), "constants")  # 0: there was no batch yet
        self._order, self._ends = np.argsort(labels, kind="stable").astype("int32"), ends.astype("int32")
        self._others = (len(labels) - counts).astype("int32")
        self.draws = keras.random.SeedGenerator(seed, name="draws")

    def _keep(self, value: np.ndarray, name: str) -> Any:
        options = {"trainable": False, "aggregation": "only_first_replica", "name": name}
        return self.add_weight(
            shape=value.shape, initializer=lambda shape, dtype: ops.convert_to_tensor(value), **options
        )

    def draw(self, index: Any) -> Any:
        """Draws examples of other classes, with repetition: [n] -> [n, 1 + K], the first being the example itself."""
        count = ops.shape(index)[0]
        uniform = keras.random.uniform((count, self.negatives), seed=self.draws)
        ends, others = (ops.take(ops.convert_to_tensor(x), index)[:, None] for x in (self._ends, self._others))
        offset = ops.minimum(ops.cast(uniform * ops.cast(others, "float32"), "int32"), others - 1)
        negatives = ops.take(ops.convert_to_tensor(self._order), (ends + offset) % self.num_examples)
        return ops.concatenate([ops.cast(index, "int32")[:, None], negatives], axis=1)

    def update(self, index: Any, *, student: Any, teacher: Any, momentum: float) -> None:
        """Moves the rows of a batch's examples to their new embeddings [n, size]."""
        for bank, embeddings in ((self.student, student), (self.teacher, teacher)):
            rows = updated_rows(ops.take(bank.value, index, axis=0), embeddings, momentum=momentum)
            bank.assign(ops.scatter_update(bank.value, ops.cast(index, "int32")[:, None], ops.cast(rows, bank.dtype)))


@dataclasses.dataclass(frozen=True)
class CRD(Method):
    """Contrastive representation distillation of the penultimate features.

    Args:
        negatives: K, for each example of a batch. Memory and time grow with it.
        size: of the embeddings.
        temperature: of the similarities, above 0.
        momentum: of the banks.
    """

    negatives: int = NEGATIVES
    size: int = EMBEDDING
    temperature: float = TEMPERATURE
    momentum: float = MOMENTUM
    needs = ("features", "index")
    ce_weight, weight = CE_WEIGHT, WEIGHT
    is_relation = True
    ranges = (("negatives", _NEGATIVES), ("size", SIZES), ("momentum", _SHARES))

    def make_adapters(self, student: Shapes, teacher: Shapes, training: Training | None) -> dict[str, Any]:
        """An embedding for each network, and the banks."""
        if training is None or training.labels is None:
            raise InputError("CRD needs training=Training(batch_size, labels), and the label 'index'. Received: none")
        of = {"student": student, "teacher": teacher}
        made = {name: embedding(channels=shapes.channels, size=self.size, name=name) for name, shapes in of.items()}
        return made | {"banks": Banks(training.labels, size=self.size, negatives=self.negatives, seed=training.seed)}

    def compute(self, student: Outputs, teacher: Outputs, *, labels: Any, adapters: Mapping[str, Any]) -> Any:
        """Computes the loss: see `Method.compute`."""
        banks = adapters["banks"]
        embedded = {
            "student": adapters["student"](student.features, training=True),
            "teacher": adapters["teacher"](ops.stop_gradient(teacher.features), training=True),
        }
        drawn = banks.draw(student.index)
        rows = {of: ops.convert_to_tensor(getattr(banks, of)) for of in embedded}  # before the update
        crossed = (embedded["student"], rows["teacher"]), (embedded["teacher"], rows["student"])
        of_batch = [
            normalisation(scores(*pair, drawn, temperature=self.temperature), num_examples=banks.num_examples)
            for pair in crossed
        ]
        kept = banks.constants.value
        constants = ops.where(kept > 0, kept, ops.stack(of_batch))
        banks.constants.assign(constants)
        banks.update(student.index, momentum=self.momentum, **embedded)
        return loss(
            student_embeddings=embedded["student"],
            teacher_embeddings=embedded["teacher"],
            student_bank=rows["student"],
            teacher_bank=rows["teacher"],
            images=drawn,
            student_constant=constants[0],
            teacher_constant=constants[1],
            temperature=self.temperature,
        )
