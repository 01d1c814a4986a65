"""The mean over a batch, as Keras's own losses reduce."""

from typing import Any

import keras


class BatchMean(keras.losses.Loss):
    """Reduces values that are already one per example, with Keras's sample weights, batch mean and replica share."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the values."""
        return y_pred
