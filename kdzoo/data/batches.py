"""Training batches of one epoch as a Keras `PyDataset`."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kdzoo.data import augmentation, mixing, mixup, sampling
from kdzoo.data.dataset import Dataset, Split


@dataclasses.dataclass(frozen=True)
class _Part:
    """Examples of a batch that are from one split.

    Attributes:
        split: of the examples.
        first: number of examples in the splits before it.
        places: of the examples in the batch, bool [batch] or a slice.
        positions: of the examples in the split, [n].
        views: numbers of their views, [n].
    """

    split: Split
    first: int
    places: np.ndarray | slice
    positions: np.ndarray
    views: np.ndarray

    def within(self, share: slice, batch_size: int) -> "_Part":
        """The examples in a share of the batch. Their places count from its begin."""
        of_batch = np.arange(batch_size)[self.places]
        inside = (of_batch >= share.start) & (of_batch < share.stop)
        places = self.places if isinstance(self.places, slice) else self.places[share]
        return dataclasses.replace(self, places=places, positions=self.positions[inside], views=self.views[inside])


class Batches(keras.utils.PyDataset):
    """The training batches of one epoch: (standardised float32 images [batch, h, w, c], labels).

    Labels are int32 [batch], or with label smoothing or mixed images probabilities, float32 [batch, classes].

    All batches are full: the epoch drops the remaining examples. (A replica without examples makes BatchNorm return
    NaN, and some convolutions of TensorFlow 2.21 on CPU corrupt the heap on an odd batch.) Pass it to `fit` with
    `shuffle=False`.

    Unlabelled examples, label -1, have fixed places in each batch: see `kdzoo.data.mixing`. An epoch is one pass over
    the labelled examples.

    Args:
        split: the training examples.
        dataset: the data set with the mean and standard deviation for standardisation.
        seed: the run's seed.
        epoch: from 0.
        batch_size: images per batch.
        augment: a key of `kdzoo.data.AUGMENTATIONS`.
        crops: number of random-resized crops of an image, see `kdzoo.data.count_views`.
        unlabelled: number of unlabelled examples in each batch, from `dataset.unlabelled`.
        mixup_alpha, cutmix_alpha: see `kdzoo.data.mixup`; 0: off.
        label_smoothing: from 0 to below 1.
        share: places of each batch to read, for one of several processes; None: all. A mixture may need images of
            other places, so images and labels of a share are not mixed yet: see `mix`.
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
        unlabelled: int = 0,
        mixup_alpha: float = 0.0,
        cutmix_alpha: float = 0.0,
        label_smoothing: float = 0.0,
        share: slice | None = None,
    ) -> None:
        super().__init__()
        self.split, self.dataset, self.batch_size = split, dataset, batch_size
        self._unlabelled, self._epoch = unlabelled, epoch
        self._options: dict[str, Any] = {"seed": seed, "augment": augment, "crops": crops}
        self._alphas = {"mixup_alpha": mixup_alpha, "cutmix_alpha": cutmix_alpha}
        self._smoothing, self._share = label_smoothing, share
        self.order = sampling.order(seed=seed, epoch=epoch, indices=split.indices)
        self.views = augmentation.views(epoch=epoch, indices=split.indices, **self._options)

    def __len__(self) -> int:
        return len(self.split) // (self.batch_size - self._unlabelled)

    def __getitem__(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        images, labels = self.read(batch)
        return augmentation.standardise(images, mean=self.dataset.mean, std=self.dataset.std), labels

    def read(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns a batch before it is standardised: uint8 images [batch, h, w, c], and labels."""
        for ahead in range(batch, min(batch + 2, len(self))):
            for part in self._parts(ahead):
                part.split.prefetch(part.positions, part.views)
        images, mix = self._read_images(batch), self._own_mix(batch)
        return images if mix is None else mixup.mix_images(images, mix), self.labels(batch)

    def labels(self, batch: int) -> np.ndarray:
        """Returns the labels of a batch. Those of streamed images are known once the images were read."""
        labels = np.empty(self._size, np.int32)
        for part in self._parts(batch):
            labels[part.places] = part.split.read_labels(part.positions)
        mix = self._own_mix(batch)
        if not self._smoothing and not any(self._alphas.values()):
            return labels
        probabilities = mixup.to_probabilities(labels, self.dataset.num_classes, smoothing=self._smoothing)
        return probabilities if mix is None else mixup.mix_labels(probabilities, mix)

    def mix(self, batch: int) -> mixup.Mix | None:
        """Returns how the images of a whole batch are mixed; None if they are not."""
        if not any(self._alphas.values()):
            return None
        return mixup.draw(
            seed=self._options["seed"],
            epoch=self._epoch,
            step=batch,
            labelled=~mixing.places(self.batch_size, self._unlabelled),
            size=self.dataset.image_shape[:2],
            **self._alphas,
        )

    def positions(self, batch: int) -> np.ndarray:
        """Returns the positions of a batch's examples in the split; those of unlabelled ones count on from its end."""
        return self._join(batch, lambda part: part.first + part.positions)

    def seen(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the indices of a batch's examples and their view numbers."""
        indices = self._join(batch, lambda part: part.split.indices[part.positions])
        return indices, self._join(batch, lambda part: part.views)

    @property
    def _size(self) -> int:
        """Number of images that are read of each batch."""
        return self.batch_size if self._share is None else self._share.stop - self._share.start

    def _own_mix(self, batch: int) -> mixup.Mix | None:
        """How the images that are read of a batch are mixed here; None if they are not, or not yet."""
        return self.mix(batch) if self._share is None else None

    def _read_images(self, batch: int) -> np.ndarray:
        parts = self._parts(batch)
        if not self._unlabelled:
            return parts[0].split.read(parts[0].positions, parts[0].views)
        images = np.empty((self._size, *self.dataset.image_shape), np.uint8)
        for part in parts:
            images[part.places] = part.split.read(part.positions, part.views)
        return images

    def _join(self, batch: int, values: Callable[[_Part], np.ndarray]) -> np.ndarray:
        joined = np.empty(self._size, np.int64)
        for part in self._parts(batch):
            joined[part.places] = values(part)
        return joined

    def _parts(self, batch: int) -> list[_Part]:
        """The labelled examples of a batch that are read, then the unlabelled ones."""
        parts = self._whole_parts(batch)
        return parts if self._share is None else [part.within(self._share, self.batch_size) for part in parts]

    def _whole_parts(self, batch: int) -> list[_Part]:
        labelled = self.batch_size - self._unlabelled
        positions = self.order[batch * labelled : (batch + 1) * labelled]
        part = _Part(self.split, 0, slice(None), positions, self.views[positions])
        if not self._unlabelled:
            return [part]
        assert self.dataset.unlabelled is not None
        places = mixing.places(self.batch_size, self._unlabelled)
        begin = (self._epoch * len(self) + batch) * self._unlabelled
        positions, views = mixing.draw(
            begin, begin + self._unlabelled, indices=self.dataset.unlabelled.indices, **self._options
        )
        more = _Part(self.dataset.unlabelled, len(self.split), places, positions, views)
        return [dataclasses.replace(part, places=~places), more]
