"""Training steps on TensorFlow: a thread makes each batch while the step before runs."""

import concurrent.futures
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kdzoo.training.steps import Steps


class TensorFlowSteps(Steps):
    """Keras's own train function, called for each batch. Each replica gets its share of the batch."""

    def __init__(self, *args: Any):
        super().__init__(*args)
        self.model.make_train_function()
        self._batches = Prefetcher(
            lambda key: self._epoch(key[0])[key[1]],
            lambda key: (key[0], key[1] + 1) if key[1] + 1 < self.per_epoch else (key[0] + 1, 0),
        )

    def run(self, *, epoch: int, begin: int, end: int) -> None:
        for step in range(begin, end):
            images, labels = self._batches((epoch, step))
            if self._teacher_outputs:
                labels = {"label": labels, **self._teacher_outputs((epoch, step))}
            self.model.train_function(iter([self._distribute((images, labels))]))

    def _distribute(self, batch: tuple[Any, Any]) -> Any:
        """The batch, split over the replicas."""
        strategy = self.model.distribute_strategy
        replicas = strategy.num_replicas_in_sync
        if replicas == 1:
            return batch
        arrays = keras.tree.flatten(batch)
        shares = [
            keras.tree.pack_sequence_as(batch, [keras.ops.convert_to_tensor(array) for array in share])
            for share in zip(*(np.split(array, replicas) for array in arrays), strict=True)
        ]
        return strategy.experimental_distribute_values_from_function(
            lambda context: shares[context.replica_id_in_sync_group]
        )


class Prefetcher:
    """Makes items in order, in a thread, one ahead of the item in use.

    Args:
        make: makes the item of a key; called in the thread.
        following: returns the key after a key.
    """

    def __init__(self, make: Callable[[Any], Any], following: Callable[[Any], Any]):
        self._make, self._following = make, following
        self._pool = concurrent.futures.ThreadPoolExecutor(1)
        self._pending: dict[Any, concurrent.futures.Future[Any]] = {}

    def __call__(self, key: Any) -> Any:
        """The item of this key."""
        wanted = (key, self._following(key))
        self._pending = {k: self._pending.get(k) or self._pool.submit(self._make, k) for k in wanted}
        return self._pending.pop(key).result()
