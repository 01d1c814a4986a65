"""Data sets, and which image is seen when and how: pure functions of (seed, epoch, index), no generator state.

`index` is an example's place in its training set, and that place is a function of the example's own bytes. So a run is
the same whether its images came from TFDS or from an .npz file, in whichever order those held them.
"""

import dataclasses
import functools
import hashlib
import threading
import urllib.request
import zipfile

import numpy as np

from zoo import InputError

# Mean and standard deviation per channel of the training images in [0, 1]. For CIFAR-10 two standard deviations
# circulate; these are those of the pixels. (0.2023, 0.1994, 0.2010 is the mean over images of each image's own.)
STATISTICS = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}
NAMES = (*STATISTICS, "digits")

PAD = 4
OFFSETS = 2 * PAD + 1
CROPS = OFFSETS**2
CENTRE = CROPS // 2  # the view that changes nothing
# Augmentation -> number of views of an image it gives.
AUGMENTATIONS = {"none": 1, "crop": CROPS, "crop_flip": 2 * CROPS}


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Examples: images uint8 [n, h, w, c], labels int32 [n], and their indices int64 [n] in the full split."""

    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, positions: np.ndarray) -> "Split":
        """The examples at these positions."""
        return Split(self.images[positions], self.labels[positions], self.indices[positions])


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A classification data set in memory.

    `fingerprint` is the SHA-256 of all its images and labels; `mean` and `std` are per channel, of images in [0, 1];
    `augment` is the augmentation its kind of image is usually given.
    """

    name: str
    train: Split
    test: Split
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: str
    fingerprint: str

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.train.images.shape[1:]


# Which image, and how.


def order(*, seed: int, epoch: int, indices: np.ndarray) -> np.ndarray:
    """Positions in `indices` in the order in which an epoch (from 0) visits them."""
    return np.argsort(_hash(seed, epoch, indices, stream=0), kind="stable")


def views(*, seed: int, epoch: int, indices: np.ndarray, augment: str) -> np.ndarray:
    """View number, int64 [n] in [0, 162), in which an epoch (from 0) shows the examples with these indices.

    A view is `flip * 81 + down * 9 + right`: whether it is mirrored, and the crop's corner in the image padded by 4.
    """
    if augment == "none":
        return np.full(len(indices), CENTRE)
    return (_hash(seed, epoch, indices, stream=1) % np.uint64(AUGMENTATIONS[augment])).astype(np.int64)


def apply_views(images: np.ndarray, view: np.ndarray) -> np.ndarray:
    """uint8 images [n, h, w, c] as seen in these views [n]: padded by 4 with black, cropped to size, maybe mirrored."""
    height, width = images.shape[1:3]
    padded, seen = pad(images), np.empty_like(images)
    for image, one, flip, down, right in zip(
        padded, seen, *(part.tolist() for part in describe_views(view)), strict=True
    ):
        crop = image[down : down + height, right : right + width]
        one[:] = crop[:, ::-1] if flip else crop
    return seen


def describe_views(view):
    """Of view numbers: whether mirrored (0 or 1), and the crop's corner (down, right) in the padded image."""
    corner = view % CROPS
    return view // CROPS, corner // OFFSETS, corner % OFFSETS


def pad(images: np.ndarray) -> np.ndarray:
    """Images [n, h, w, c] with 4 black pixels around: [n, h + 8, w + 8, c]."""
    return np.pad(images, ((0, 0), (PAD, PAD), (PAD, PAD), (0, 0)))


def standardise(images: np.ndarray, *, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """uint8 images [n, h, w, c] -> float32, `(image / 255 - mean) / std` per channel."""
    mean, std = np.float32(mean), np.float32(std)
    images = images * (1 / (255 * std)).astype(np.float32)
    images -= mean / std
    return images


def _hash(seed: int, epoch: int, indices: np.ndarray, *, stream: int) -> np.ndarray:
    """uint64 [n], as good as random: SplitMix64 (Steele et al., OOPSLA 2014) over the four numbers in turn."""
    with np.errstate(over="ignore"):
        state = np.zeros(1, np.uint64)
        for number in (np.uint64(stream), np.uint64(seed), np.uint64(epoch), indices.astype(np.uint64)):
            state = (state ^ number) + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return state


# Which examples.


def balanced(labels: np.ndarray, count: int, *, last: bool = False) -> np.ndarray:
    """Positions, sorted, of the first (or last) `count` examples that hold every class alike, give or take one.

    Raises:
        InputError: if some class has too few.
    """
    classes = np.unique(labels)
    chosen = []
    for i, label in enumerate(classes):
        share = count // len(classes) + (i < count % len(classes))
        members = np.flatnonzero(labels == label)
        if share > len(members):
            raise InputError(
                f"A class-balanced subset must fit every class, at most {len(members)} examples of class {label}."
                f" Received: {count} examples of {len(classes)} classes"
            )
        chosen.append(members[len(members) - share :] if last else members[:share])
    return np.sort(np.concatenate(chosen))


def split_train(train: Split, *, train_examples: int = 0, val_examples: int = 0) -> tuple[Split, Split]:
    """Class-balanced training and held-out splits, apart from each other and the same for every seed.

    Args:
        train: the full training split.
        train_examples: size of the first; 0: all that are not held out.
        val_examples: size of the second.

    Raises:
        InputError: if there are not as many examples.
    """
    if min(train_examples, val_examples) < 0 or train_examples + val_examples > len(train):
        raise InputError(
            f"train_examples and val_examples must be at least 0 and together at most {len(train)}."
            f" Received: {train_examples} and {val_examples}"
        )
    held_out = balanced(train.labels, val_examples, last=True)
    rest = train.take(np.setdiff1d(np.arange(len(train)), held_out))
    if train_examples:
        rest = rest.take(balanced(rest.labels, train_examples))
    return rest, train.take(held_out)


# From where.


def load(source: str, name: str = "") -> Dataset:
    """Loads a data set: cifar10, cifar100, digits or npz:FILE.

    `cifar10` and `cifar100` come through TFDS, from `$TFDS_DATA_DIR` or `~/tensorflow_datasets`, downloaded there if
    need be. `digits` is embedded: scikit-learn's 1,797 real handwritten digits, 8x8 enlarged to 32x32x3, 360 of them
    the test set. An .npz file holds x_train, y_train, x_test, y_test: images uint8 [n, h, w, c], integer labels [n].

    Args:
        source: where from.
        name: what an .npz file holds, where it is known: "cifar10" gives it that name, mean and standard deviation.

    Raises:
        InputError: if there is no such data set, it cannot be had, or it is malformed.
    """
    if source.startswith("npz:"):
        return _from_arrays(name or source, *_load_npz(source.removeprefix("npz:")))
    if name and name != source:
        raise InputError(f"dataset_name must name what an npz:FILE holds. Received: {name} for {source}")
    if source == "digits":
        return _load_digits()
    if source in STATISTICS:
        return _load_tfds(source)
    raise InputError(f"dataset must be one of {', '.join(NAMES)} or npz:FILE, for example cifar10. Received: {source}")


def _from_arrays(name: str, x_train, y_train, x_test, y_test) -> Dataset:
    train, test = _canonical(x_train, y_train), _canonical(x_test, y_test)
    mean, std = STATISTICS.get(name) or _statistics(train.images)
    digest = hashlib.sha256()
    for array in (train.images, train.labels, test.images, test.labels):
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array))
    return Dataset(
        name=name,
        train=train,
        test=test,
        num_classes=int(max(train.labels.max(), test.labels.max())) + 1,
        mean=mean,
        std=std,
        augment="crop" if name == "digits" else "crop_flip",  # a mirrored digit is none
        fingerprint=digest.hexdigest(),
    )


def _canonical(images: np.ndarray, labels: np.ndarray) -> Split:
    """The examples sorted by a digest of their own bytes, which is as good as shuffled."""
    images, labels = np.ascontiguousarray(images), labels.astype(np.int32)
    digests = [
        hashlib.blake2b(image.tobytes() + label.tobytes()).digest() for image, label in zip(images, labels, strict=True)
    ]
    positions = np.array(sorted(range(len(labels)), key=digests.__getitem__))
    split = Split(images[positions], labels[positions], np.arange(len(labels)))
    for array in (split.images, split.labels, split.indices):
        array.flags.writeable = False
    return split


def _statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of uint8 images, in [0, 1], from exact integer sums."""
    channels = images.reshape(-1, images.shape[-1])
    counts = np.stack([np.bincount(channel, minlength=256) for channel in channels.T])
    values = np.arange(256) / 255
    mean = counts @ values / len(channels)
    std = np.sqrt(np.maximum(counts @ values**2 / len(channels) - mean**2, 1e-12))
    return tuple(mean.round(4).tolist()), tuple(np.maximum(std, 1e-4).round(4).tolist())


def _load_digits() -> Dataset:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images * 255 / 16).round().astype(np.uint8)
    images = images.repeat(4, axis=1).repeat(4, axis=2)[..., None].repeat(3, axis=3)
    every = _canonical(images, digits.target)
    train, test = split_train(every, val_examples=360)
    return _from_arrays("digits", train.images, train.labels, test.images, test.labels)


def _load_npz(path: str) -> tuple[np.ndarray, ...]:
    rule = "An npz data set must hold x_train, y_train, x_test, y_test: uint8 images [n, h, w, c], integer labels [n]"
    try:
        with np.load(path) as file:
            arrays = [file[key] for key in ("x_train", "y_train", "x_test", "y_test")]
    except FileNotFoundError:
        raise InputError(f"{rule}. Received: no file {path}") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{rule}. Received: {path}: {error}") from None
    arrays = [array.reshape(-1) if i % 2 and array.shape[1:] == (1,) else array for i, array in enumerate(arrays)]
    for images, labels in (arrays[:2], arrays[2:]):
        if (
            images.dtype != np.uint8
            or images.ndim != 4
            or labels.shape != images.shape[:1]
            or not len(labels)
            or labels.dtype.kind not in "iu"
            or labels.min() < 0
        ):
            received = f"images {images.dtype} {images.shape}, labels {labels.dtype} {labels.shape}"
            raise InputError(f"{rule}, labels from 0. Received: {path}: {received}")
    if arrays[0].shape[1:] != arrays[2].shape[1:]:
        shapes = f"{arrays[0].shape[1:]} and {arrays[2].shape[1:]}"
        raise InputError(f"{rule}, of one size. Received: {path}: train and test images of {shapes}")
    return tuple(arrays)


@functools.lru_cache(maxsize=1)  # decoding 60,000 images takes seconds, and one process may run many runs
def _load_tfds(name: str) -> Dataset:
    try:
        import tensorflow_datasets as tfds

        builder = tfds.builder(name)
        if not (builder.data_path / "dataset_info.json").exists():
            _download(name, builder, tfds.download.DownloadConfig(try_download_gcs=False))
        splits = tfds.as_numpy(builder.as_dataset(batch_size=-1, shuffle_files=False))
    except ImportError as error:
        raise InputError(
            f"{name} needs TensorFlow and tensorflow-datasets; without them, npz:FILE. Received: {error}"
        ) from None
    return _from_arrays(name, *(splits[split][key] for split in ("train", "test") for key in ("image", "label")))


def _download(name: str, builder, config) -> None:
    _check_download(name, builder.data_dir)
    try:
        builder.download_and_prepare(download_config=config)
    except Exception as error:  # of the network, the site or the disk: TFDS has no one class for them
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{name} could not be downloaded to {builder.data_dir}. Received: {reason}") from error


def _check_download(name: str, data_dir: str, *, timeout: float = 8.0) -> None:
    """Raises InputError unless the data set's site answers in time; TFDS would retry for minutes."""
    site = "https://www.cs.toronto.edu/~kriz/cifar.html"
    answer = []

    def ask():
        try:
            urllib.request.urlopen(urllib.request.Request(site, method="HEAD"), timeout=timeout).close()
            answer.append("")
        except OSError as error:
            answer.append(f" ({error})")

    # In a thread, since looking a name up knows no time limit.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout)
    if answer != [""]:
        raise InputError(
            f"{name} must be prepared by TFDS, or a network be there to download it: set TFDS_DATA_DIR to the folder"
            f" that holds {name}/, or give --dataset=npz:FILE. Received: nothing in {data_dir}, no answer from {site}"
            + (answer[0] if answer else "")
        )
