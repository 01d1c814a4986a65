"""How the training steps of a run are carried out: the same `Distiller.train_step` driven as suits each backend.

On TensorFlow batches are made on the host while the step before runs. On JAX the whole data set lives on the device as
uint8; crop, flip and standardisation happen inside the compiled step, and many steps run in one call.
"""

import functools

import keras
import numpy as np

from kdzoo.data import augmentation
from kdzoo.data.batches import Batches
from kdzoo.data.dataset import Dataset, Split
from kdzoo.distillation.distiller import Distiller
from kdzoo.runs.config import RunConfig

EVALUATION_BATCH = 500


def call_ends(steps: int, *, fused: int) -> list[int]:
    """Where in an epoch of so many steps each call ends, at most `fused` steps from the one before.

    Calls of one length where there is such a length from `fused / 2` on, since each length is a program to compile.
    """
    if not steps:
        return []
    calls = -(-steps // fused)
    calls = next((n for n in range(calls, min(2 * calls, steps) + 1) if steps % n == 0), calls)
    length = -(-steps // calls)
    return [*range(length, steps, length), steps]


class Steps:
    """A compiled `Distiller` and the examples it learns from."""

    fused = 1

    def __init__(self, model: Distiller, dataset: Dataset, train: Split, config: RunConfig, answers):
        self.model, self.dataset, self._answers = model, dataset, answers
        seen = {"seed": config.seed, "batch_size": config.batch_size, "augment": config.augment}
        # Two epochs, since at the end of one the next one's batches are being made.
        self._epoch = functools.lru_cache(maxsize=2)(lambda epoch: Batches(train, dataset, epoch=epoch, **seen))
        self.per_epoch = len(train) // config.batch_size

    def run(self, *, epoch: int, begin: int, end: int) -> None:
        """Runs these steps of an epoch. Begins where the last call ended, and ends where one of `call_ends` does."""
        raise NotImplementedError

    def metrics(self) -> dict[str, float]:
        """The model's metrics since they were last reset."""
        return {name: float(value) for name, value in self.model.get_metrics_result().items()}

    def predict(self, split: Split) -> np.ndarray:
        """The student's logits [n, classes] of the images as they are."""
        return predict(self.model.student, split, self.dataset)

    def state(self) -> dict[str, np.ndarray]:
        """A copy of all that a step changes: the student's weights, optimizer slots, metrics."""
        return {name: np.array(variable) for name, variable in self._variables().items()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Puts back what `state` gave."""
        for name, variable in self._variables().items():
            variable.assign(state[name])

    def _variables(self) -> dict[str, keras.Variable]:
        groups = {
            "student": self.model.student.variables,
            "optimizer": self.model.optimizer.variables,
            "metrics": self.model.metrics_variables,
        }
        return {f"{group}/{i:04d}/{v.path}": v for group, vs in groups.items() for i, v in enumerate(vs)}


def predict(model: keras.Model, split: Split, dataset: Dataset) -> np.ndarray:
    """A network's logits [n, classes] of a split's images as they are, by Keras's own `predict`."""
    images = augmentation.standardise(split.images, mean=dataset.mean, std=dataset.std)
    return model.predict(images, batch_size=EVALUATION_BATCH, verbose=0)
