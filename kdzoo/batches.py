"""Training batches as Keras takes them."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kdzoo import data


class Batches(keras.utils.PyDataset):
    """One epoch's training batches: (standardised float32 images [batch, h, w, c], int32 labels [batch]).

    Full batches only: what is left of the epoch is not shown. (A replica without examples gives NaN in BatchNorm, and
    some convolutions of TensorFlow 2.21 on CPU corrupt the heap on an odd batch.) Give it to `fit` with
    `shuffle=False`.

    With `ask`, labels come with what teachers say of the raw images, uint8 [batch, h, w, c], in the very views the
    student gets: {"label", **ask(images)}, as a `Distiller` of `outputs_given` takes it.
    """

    def __init__(
        self,
        split: data.Split,
        dataset: data.Dataset,
        *,
        seed: int,
        epoch: int,
        batch_size: int,
        augment: str,
        ask: Callable[[np.ndarray], dict[str, Any]] | None = None,
    ):
        super().__init__()
        self.split, self.dataset, self.batch_size, self._ask = split, dataset, batch_size, ask
        self.order = data.order(seed=seed, epoch=epoch, indices=split.indices)
        self.views = data.views(seed=seed, epoch=epoch, indices=split.indices, augment=augment)

    def __len__(self) -> int:
        return len(self.split) // self.batch_size

    def __getitem__(self, batch: int) -> tuple[np.ndarray, Any]:
        positions, images = self._seen(batch)
        labels = self.split.labels[positions]
        if self._ask:
            labels = {"label": labels, **self._ask(images)}
        return data.standardise(images, mean=self.dataset.mean, std=self.dataset.std), labels

    def said(self, batch: int) -> dict[str, Any]:
        """What the teachers say of a batch."""
        return self._ask(self._seen(batch)[1])

    def _seen(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions in the split, and the images in their views."""
        positions = self.order[batch * self.batch_size : (batch + 1) * self.batch_size]
        return positions, data.apply_views(self.split.images[positions], self.views[positions])
