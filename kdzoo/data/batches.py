"""Training batches of one epoch as a Keras `PyDataset`."""

import keras
import numpy as np

from kdzoo.data import augmentation, sampling
from kdzoo.data.dataset import Dataset, Split


class Batches(keras.utils.PyDataset):
    """The training batches of one epoch: (standardised float32 images [batch, h, w, c], int32 labels [batch]).

    All batches are full: the epoch drops the remaining examples. (A replica without examples makes BatchNorm return
    NaN, and some convolutions of TensorFlow 2.21 on CPU corrupt the heap on an odd batch.) Pass it to `fit` with
    `shuffle=False`.

    Args:
        split: the training examples.
        dataset: the data set with the mean and standard deviation for standardisation.
        seed: the run's seed.
        epoch: from 0.
        batch_size: images per batch.
        augment: a key of `kdzoo.data.AUGMENTATIONS`.
        crops: number of random-resized crops of an image, see `kdzoo.data.count_views`.
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
        crops: int = 0,
    ) -> None:
        super().__init__()
        self.split, self.dataset, self.batch_size = split, dataset, batch_size
        self.order = sampling.order(seed=seed, epoch=epoch, indices=split.indices)
        self.views = augmentation.views(seed=seed, epoch=epoch, indices=split.indices, augment=augment, crops=crops)

    def __len__(self) -> int:
        return len(self.split) // self.batch_size

    def __getitem__(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        images, labels = self.read(batch)
        return augmentation.standardise(images, mean=self.dataset.mean, std=self.dataset.std), labels

    def read(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns a batch before it is standardised: uint8 images [batch, h, w, c], int32 labels [batch]."""
        for ahead in range(batch, min(batch + 2, len(self))):
            positions = self.positions(ahead)
            self.split.prefetch(positions, self.views[positions])
        positions = self.positions(batch)
        return self.split.read(positions, self.views[positions]), self.split.read_labels(positions)

    def positions(self, batch: int) -> np.ndarray:
        """Returns the positions of a batch's examples in the split."""
        return self.order[batch * self.batch_size : (batch + 1) * self.batch_size]

    def seen(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the indices of a batch's examples and their view numbers."""
        positions = self.positions(batch)
        return self.split.indices[positions], self.views[positions]
