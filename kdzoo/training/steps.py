"""Training steps of a run: the same `Distiller.train_step`, driven as suits each backend."""

import abc
import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from kdzoo.data import augmentation, mixing
from kdzoo.data.batches import Batches
from kdzoo.data.dataset import Dataset, Split
from kdzoo.distillation import schedules
from kdzoo.distillation.distiller import Distiller
from kdzoo.distillation.method import INDEX
from kdzoo.runs.config import RunConfig
from kdzoo.teachers.outputs import TeacherOutputs
from kdzoo.training import strategy

EVALUATION_BATCH = 500
EVALUATION_PIXELS = 2**22  # most pixels of a batch of streamed images


def call_ends(steps: int, *, fused: int) -> list[int]:
    """The steps at which the calls of an epoch end, each at most `fused` steps after the one before.

    All calls have one length if there is such a length from `fused / 2` on: each length is a program to compile.
    """
    if not steps:
        return []
    calls = -(-steps // fused)
    calls = next((n for n in range(calls, min(2 * calls, steps) + 1) if steps % n == 0), calls)
    length = -(-steps // calls)
    return [*range(length, steps, length), steps]


class Steps(abc.ABC):
    """The training steps of a compiled `Distiller`.

    Args:
        model: the compiled model.
        dataset: the data set, for its mean and standard deviation.
        train: the examples that the model learns from.
        config: of the run.
        teacher_outputs: called with (epoch, step); returns what a model of `outputs_given` takes beside the labels.

    Attributes:
        per_epoch: steps of an epoch.
        fused: most steps of one call of `run`.
    """

    fused = 1

    def __init__(
        self,
        model: Distiller,
        dataset: Dataset,
        train: Split,
        config: RunConfig,
        teacher_outputs: TeacherOutputs | None = None,
    ):
        self.model, self.dataset, self._teacher_outputs = model, dataset, teacher_outputs
        self._split, self._config = train, config
        self._schedule = schedules.parse(config.schedule)
        self._share = share = strategy.share(config)

        def batches(epoch: int) -> Batches:
            return Batches(train, dataset, epoch=epoch, share=share, **config.batch_options)

        # Two epochs: at the end of one, the next one's first batch is being made.
        self._epoch = functools.lru_cache(maxsize=2)(batches)
        self.per_epoch = len(train) // config.labelled_per_batch
        self._label_weights: dict[str, np.ndarray] = {}
        if config.unlabelled_per_batch:
            weights = mixing.label_weights(config.batch_size, config.unlabelled_per_batch)
            self._label_weights["label_weight"] = weights
        method = config.own_method
        self._indexed = method is not None and INDEX in method.required

    @abc.abstractmethod
    def run(self, *, epoch: int, begin: int, end: int) -> None:
        """Runs these steps of an epoch. Begins where the last call ended, and ends at one of `call_ends`."""

    def with_outputs(self, labels: Any, outputs: dict[str, Any]) -> Any:
        """The labels of a batch with their weights and teacher outputs, if any, as a `Distiller` takes them."""
        beside = {**self._label_weights, **outputs}
        return {"label": labels, **beside} if beside else labels

    def index(self, epoch: int, step: int) -> dict[str, np.ndarray]:
        """Numbers of a batch's training examples, beside its labels, if the method keeps something for each of them."""
        return {"index": self._epoch(epoch).positions(step).astype(np.int32)} if self._indexed else {}

    def following(self, step: tuple[int, int]) -> tuple[int, int]:
        """The step after (epoch, step)."""
        epoch, number = step
        return (epoch, number + 1) if number + 1 < self.per_epoch else (epoch + 1, 0)

    def learning_rate(self, epoch: int, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        config = self._config
        rate = self._schedule.learning_rate(epoch, lr=config.lr, decay=config.lr_decay)
        position = {"epoch": epoch, "step": step, "steps": self.per_epoch}
        return schedules.warm_up(rate, **position, epochs=config.warmup_epochs)

    def metrics(self) -> dict[str, float]:
        """The model's metrics since they were last reset."""
        return {name: float(value) for name, value in self.model.get_metrics_result().items()}

    def predict(self, split: Split) -> np.ndarray:
        """The student's logits [n, classes] for the unaugmented images, with its averaged weights if there are any."""
        with self.averaged_weights():
            return self._predict(split)

    def _predict(self, split: Split) -> np.ndarray:
        return predict(self.model.student, split, self.dataset)

    @contextlib.contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Within it, the student has the moving averages of its weights, if the optimizer keeps them.

        BatchNorm's moving statistics stay as they are.
        """
        if not self._config.ema_momentum:
            yield
            return
        self._sync()
        variables = self.model.trainable_variables
        values = [np.array(variable) for variable in variables]
        self.model.optimizer.finalize_variable_values(variables)
        try:
            yield
        finally:
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)

    @abc.abstractmethod
    def _sync(self) -> None:
        """Copies the values that only the steps hold into the model's variables."""

    def state(self) -> dict[str, np.ndarray]:
        """A copy of all that a step changes: the weights of student and adapters, optimizer slots, metrics."""
        return {name: np.array(variable) for name, variable in self._variables().items()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Restores a `state`."""
        # By place: names that Keras makes up depend on what was built before.
        values = {_place(name): value for name, value in state.items()}
        for name, variable in self._variables().items():
            variable.assign(values[_place(name)])

    def _variables(self) -> dict[str, keras.Variable]:
        groups = {
            "student": self.model.student.variables,
            "optimizer": self.model.optimizer.variables,
            "metrics": self.model.metrics_variables,
            "method": self.model.method_variables,
        }
        return {f"{group}/{i:04d}/{v.path}": v for group, vs in groups.items() for i, v in enumerate(vs)}


def _place(name: str) -> str:
    """The group and the number of a variable of a state."""
    return "/".join(name.split("/", 2)[:2])


def predict(model: keras.Model, split: Split, dataset: Dataset) -> np.ndarray:
    """A network's logits [n, classes] for the unaugmented images of a split, by Keras's own `predict`."""
    given: dict[str, Any] = {"x": EvaluationBatches(split, dataset)}
    if split.streamed is None:
        images = augmentation.standardise(split.array, mean=dataset.mean, std=dataset.std)
        given = {"x": images, "batch_size": EVALUATION_BATCH}
    if split.streamed is None and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # Keras's own pipeline of an array has a parallel map. With deterministic operations TensorFlow makes it a plain
        # one, and logs an error about an attribute that it left there.
        given = {"x": tf.data.Dataset.from_tensor_slices(images).batch(EVALUATION_BATCH)}
    logits: np.ndarray = model.predict(**given, verbose=0)
    return logits


def evaluation_batch(split: Split, dataset: Dataset) -> int:
    """Number of images of a split that are evaluated at once."""
    height, width = dataset.image_shape[:2]
    return (
        EVALUATION_BATCH
        if split.streamed is None
        else max(1, min(EVALUATION_BATCH, EVALUATION_PIXELS // (height * width)))
    )


class EvaluationBatches(keras.utils.PyDataset):
    """The unaugmented images of a streamed split in batches, standardised: float32 [batch, h, w, c]."""

    def __init__(self, split: Split, dataset: Dataset):
        super().__init__()
        self._split, self._dataset, self._size = split, dataset, evaluation_batch(split, dataset)

    def __len__(self) -> int:
        return -(-len(self._split) // self._size)

    def __getitem__(self, batch: int) -> np.ndarray:
        first = batch * self._size
        positions = np.arange(first, min(first + 2 * self._size, len(self._split)))
        self._split.prefetch(positions)
        images = self._split.read(positions[: self._size])
        return augmentation.standardise(images, mean=self._dataset.mean, std=self._dataset.std)
