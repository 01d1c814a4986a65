"""A data set: its training and test splits, each in canonical order, in memory or streamed."""

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from kdzoo.data import augmentation
from kdzoo.data.class_names import of_dataset
from kdzoo.data.streaming import StreamedImages, describe_contents, paths_left_out
from zoo import InputError

# Mean and standard deviation per channel of the training images in [0, 1]. Two standard deviations of
# CIFAR-10 circulate: these are over all pixels; 0.2023, 0.1994, 0.2010 average the deviations of single images.
STATISTICS = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "imagenet2012": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),  # the field's, of a sample of crops
}


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Examples: images uint8 [n, h, w, c], labels int32 [n], and indices int64 [n] into the full split.

    Images are an array, or `StreamedImages`, which are decoded when they are read.
    """

    images: np.ndarray | StreamedImages
    labels: np.ndarray
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def streamed(self) -> StreamedImages | None:
        """The images if they are decoded when they are read."""
        return self.images if isinstance(self.images, StreamedImages) else None

    @property
    def array(self) -> np.ndarray:
        """The images if they are in memory, uint8 [n, h, w, c]."""
        assert isinstance(self.images, np.ndarray)
        return self.images

    @property
    def counts(self) -> np.ndarray:
        """Which examples count, bool [n]. Files that were found to be no pictures do not."""
        return ~self.streamed.left_out if self.streamed is not None else np.ones(len(self), bool)

    def take(self, positions: np.ndarray) -> "Split":
        """Returns the examples at these positions."""
        images = self.streamed.take(positions) if self.streamed is not None else self.array[positions]
        return Split(images, self.labels[positions], self.indices[positions])

    def read(self, positions: np.ndarray, views: np.ndarray | None = None) -> np.ndarray:
        """Returns images in the views of these numbers [n], or without augmentation: uint8 [n, h, w, c].

        Raises:
            InputError: if a picture cannot be read or has changed, too many cannot be decoded, or a worker ended.
        """
        if self.streamed is not None:
            return self.streamed.read(positions, views)
        images = self.array[positions]
        return images if views is None else augmentation.apply_views(images, views)

    def prefetch(self, positions: np.ndarray, views: np.ndarray | None = None) -> None:
        """Has workers begin with images that `read` will need."""
        if self.streamed is not None:
            self.streamed.prefetch(positions, views)

    def read_labels(self, positions: np.ndarray) -> np.ndarray:
        """Returns the labels, int32 [n], of images that `read` returned before."""
        return self.streamed.labels(positions) if self.streamed is not None else self.labels[positions]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A classification data set.

    Attributes:
        name: the name that runs record, for example cifar10.
        train, test: the full splits.
        num_classes: number of classes.
        mean, std: per channel, of training images in [0, 1].
        augment: the usual augmentation for such images, a key of `kdzoo.data.AUGMENTATIONS`.
        fingerprint: SHA-256 of all images and labels; of a streamed data set, of all paths, sizes and labels.
        class_names: of the labels 0, 1 and so on; empty if they are not known.
        preparation: what the pixels depend on beside the content that the fingerprint stands for.
        found: what reading the pictures showed, if they are in memory: see `contents`.
        unlabelled: more training examples, without labels, or None. Their indices follow those of `train`.
        unlabelled_fingerprint: SHA-256 of their images; if they are streamed, of their paths and sizes.
    """

    name: str
    train: Split
    test: Split
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: str
    fingerprint: str
    class_names: tuple[str, ...] = ()
    preparation: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    found: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    unlabelled: Split | None = None
    unlabelled_fingerprint: str = ""

    @property
    def contents(self) -> dict[str, Any]:
        """What reading the pictures showed so far: see `streaming.describe_contents`."""
        described, images = dict(self.found), self.train.streamed
        if images is not None:
            described |= describe_contents(*images.stream.sources)
        more = self.unlabelled.streamed if self.unlabelled else None
        if more is not None and (paths := paths_left_out(more.stream.sources)):
            described["left_out"] = [*described.get("left_out", ()), *paths]
        return described

    def close(self) -> None:
        """Ends the workers that decode pictures."""
        for split in (self.train, self.unlabelled):
            if split is not None and split.streamed is not None:
                split.streamed.stream.close()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels


def from_arrays(
    name: str,
    x_train: np.ndarray,
    y_train: np.ndarray,
    x_test: np.ndarray,
    y_test: np.ndarray,
    class_names: tuple[str, ...] = (),
) -> Dataset:
    """Builds a data set from uint8 images [n, h, w, c] and integer labels [n].

    Raises:
        InputError: if the name is that of a data set whose images have another number of channels.
    """
    train, test = canonical(x_train, y_train), canonical(x_test, y_test)
    mean, std = STATISTICS.get(name) or statistics(train.array)
    if len(mean) != train.images.shape[-1]:
        raise InputError(f"Images of {name} must have {len(mean)} channels. Received: {train.images.shape[-1]}")
    num_classes = len(class_names) or int(max(train.labels.max(), test.labels.max())) + 1
    return Dataset(
        name=name,
        train=train,
        test=test,
        num_classes=num_classes,
        mean=mean,
        std=std,
        augment="crop" if name == "digits" else "crop_flip",  # a mirrored digit is not a digit
        fingerprint=array_digest(train.array, train.labels, test.array, test.labels),
        class_names=class_names or of_dataset(name, num_classes),
    )


def array_digest(*arrays: np.ndarray) -> str:
    """SHA-256 of the dtypes, shapes and values of arrays."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def canonical(images: np.ndarray, labels: np.ndarray) -> Split:
    """Sorts examples by a digest of their bytes: a pseudo-random order that does not depend on the given one."""
    images, labels = np.ascontiguousarray(images), labels.astype(np.int32)
    digests = [
        hashlib.blake2b(image.tobytes() + label.tobytes()).digest() for image, label in zip(images, labels, strict=True)
    ]
    positions = np.array(sorted(range(len(labels)), key=digests.__getitem__))
    split = Split(images[positions], labels[positions], np.arange(len(labels)))
    for array in (split.array, split.labels, split.indices):
        array.flags.writeable = False
    return split


def statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns mean and standard deviation per channel of uint8 images, in [0, 1], from exact integer counts."""
    channels = images.reshape(-1, images.shape[-1])
    counts = np.stack([np.bincount(channel, minlength=256) for channel in channels.T])
    values = np.arange(256) / 255
    mean = counts @ values / len(channels)
    std = np.sqrt(np.maximum(counts @ values**2 / len(channels) - mean**2, 1e-12))
    return tuple(mean.round(4).tolist()), tuple(np.maximum(std, 1e-4).round(4).tolist())
