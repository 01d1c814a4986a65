"""Training steps on TensorFlow: each batch is made on the host while the step before runs."""

import concurrent.futures
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kdzoo.training.steps import Steps


class TensorFlowSteps(Steps):
    """Keras's own train function; each batch is made while the step before runs. A replica gets its share."""

    def __init__(self, *args):
        super().__init__(*args)
        self.model.make_train_function()
        self._batches = Prefetcher(
            lambda key: self._epoch(key[0])[key[1]],
            lambda key: (key[0], key[1] + 1) if key[1] + 1 < self.per_epoch else (key[0] + 1, 0),
        )

    def run(self, *, epoch, begin, end):
        for step in range(begin, end):
            images, labels = self._batches((epoch, step))
            if self._answers:
                labels = {"label": labels, **self._answers((epoch, step))}
            self.model.train_function(iter([self._distributed((images, labels))]))

    def _distributed(self, batch: tuple[np.ndarray, ...]) -> tuple:
        strategy = self.model.distribute_strategy
        replicas = strategy.num_replicas_in_sync
        if replicas == 1:
            return batch
        arrays = keras.tree.flatten(batch)
        shares = zip(*(np.split(array, replicas) for array in arrays), strict=True)
        shares = [
            keras.tree.pack_sequence_as(batch, [keras.ops.convert_to_tensor(array) for array in share])
            for share in shares
        ]
        return strategy.experimental_distribute_values_from_function(
            lambda context: shares[context.replica_id_in_sync_group]
        )


class Prefetcher:
    """Makes things one ahead of the work that uses them, in order.

    Args:
        make: makes the thing of a key; called by a thread.
        following: the key after a key.
    """

    def __init__(self, make: Callable[[Any], Any], following: Callable[[Any], Any]):
        self._make, self._following = make, following
        self._pool = concurrent.futures.ThreadPoolExecutor(1)
        self._pending: dict[Any, concurrent.futures.Future] = {}

    def __call__(self, key: Any) -> Any:
        """The thing of this key."""
        wanted = (key, self._following(key))
        self._pending = {k: self._pending.get(k) or self._pool.submit(self._make, k) for k in wanted}
        return self._pending.pop(key).result()
