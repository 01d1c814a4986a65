"""Training batches as Keras takes them."""

import keras
import numpy as np

from kdzoo.data import augmentation, sampling
from kdzoo.data.dataset import Dataset, Split


class Batches(keras.utils.PyDataset):
    """One epoch's training batches: (standardised float32 images [batch, h, w, c], int32 labels [batch]).

    Full batches only: what is left of the epoch is not shown. (A replica without examples gives NaN in BatchNorm, and
    some convolutions of TensorFlow 2.21 on CPU corrupt the heap on an odd batch.) Give it to `fit` with
    `shuffle=False`.
    """

    def __init__(
        self,
        split: Split,
        dataset: Dataset,
        *,
        seed: int,
        epoch: int,
        batch_size: int,
        augment: str,
    ):
        super().__init__()
        self.split, self.dataset, self.batch_size = split, dataset, batch_size
        self.order = sampling.order(seed=seed, epoch=epoch, indices=split.indices)
        self.views = augmentation.views(seed=seed, epoch=epoch, indices=split.indices, augment=augment)

    def __len__(self) -> int:
        return len(self.split) // self.batch_size

    def __getitem__(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        positions = self.positions(batch)
        images = augmentation.apply_views(self.split.images[positions], self.views[positions])
        return augmentation.standardise(images, mean=self.dataset.mean, std=self.dataset.std), self.split.labels[
            positions
        ]

    def positions(self, batch: int) -> np.ndarray:
        """Positions in the split of a batch's examples."""
        return self.order[batch * self.batch_size : (batch + 1) * self.batch_size]

    def seen(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices of a batch's examples, and the views they are shown in."""
        positions = self.positions(batch)
        return self.split.indices[positions], self.views[positions]
