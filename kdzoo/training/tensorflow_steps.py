"""Training steps on TensorFlow: a thread makes each batch while the step before runs."""

from typing import Any

import keras
import numpy as np

from kdzoo.training.prefetch import Prefetcher
from kdzoo.training.steps import Steps


class TensorFlowSteps(Steps):
    """Keras's own train function, called for each batch. Each replica gets its share of the batch."""

    def __init__(self, *args: Any):
        super().__init__(*args)
        self.model.make_train_function()
        self._batches = Prefetcher(lambda key: self._epoch(key[0])[key[1]], self.following)

    def run(self, *, epoch: int, begin: int, end: int) -> None:
        for step in range(begin, end):
            images, labels = self._batches((epoch, step))
            if self._config.warmup_epochs:
                self.model.optimizer.learning_rate = self.learning_rate(epoch, step)
            outputs = self._teacher_outputs((epoch, step)) if self._teacher_outputs else {}
            labels = self.with_outputs(labels, outputs | self.index(epoch, step))
            self.model.train_function(iter([self._distribute((images, labels))]))

    def _sync(self) -> None:
        pass  # a step updates the model's own variables

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
