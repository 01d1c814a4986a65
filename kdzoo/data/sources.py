"""Data sets by the name of their source: TFDS, an .npz file, or the embedded digits.

Every source yields its examples in canonical order, a function of their bytes. So a run is the same whether its images
came from TFDS or from an .npz file, whatever their order there.
"""

import os

import numpy as np

from kdzoo.data.dataset import STATISTICS, Dataset, Split, from_arrays
from kdzoo.data.digits import read_digits
from kdzoo.data.npz import read_npz
from kdzoo.data.tfds import read_tfds
from zoo import InputError

NAMES = (*STATISTICS, "digits")
CLASSES = {"cifar10": 10, "cifar100": 100}  # of the data sets of 50,000 + 10,000 images of 32x32x3


def path_of(source: str) -> str | None:
    """The path that a source reads; None for a data set that has a name of its own."""
    return source.removeprefix("npz:") if source.startswith("npz:") else None


def check(source: str, name: str = "") -> None:
    """Raises InputError unless there is such a source, and only a file has another name. Arguments as of `load`."""
    if isinstance(source, str) and path_of(source) is not None:
        return
    if source not in NAMES:
        raise InputError(
            f"dataset must be one of {', '.join(NAMES)} or npz:FILE, for example cifar10. Received: {source}"
        )
    if name not in ("", source):
        raise InputError(f"dataset_name must name what an npz:FILE holds. Received: {name} for {source}")


def load(source: str, name: str = "") -> Dataset:
    """Loads a data set: cifar10, cifar100, digits or npz:FILE.

    TFDS reads `cifar10` and `cifar100` from `$TFDS_DATA_DIR` or `~/tensorflow_datasets`, and downloads them if they are
    not there. `digits` needs no download: scikit-learn's 1,797 handwritten digits, enlarged from 8x8 to 32x32x3, with
    360 in the test split. An .npz file holds x_train, y_train, x_test, y_test: images uint8 [n, h, w, c], integer
    labels [n].

    Args:
        source: cifar10, cifar100, digits or npz:FILE.
        name: the name of the data set in an .npz file: with "cifar10" it takes CIFAR-10's mean and standard deviation.

    Raises:
        InputError: if no such data set exists, or it cannot be downloaded or read.
    """
    check(source, name)
    if (path := path_of(source)) is not None:
        return from_arrays(name or source, *read_npz(path))
    return read_digits() if source == "digits" else read_tfds(source)


def load_or_outline(source: str, name: str = "") -> Dataset | None:
    """Returns a data set for a plan, which needs its sizes only: where those are known, nothing is read.

    Args:
        source: see `load`.
        name: see `load`.

    Returns:
        The data set; for CIFAR-10 and CIFAR-100 one of their sizes, whose images are all the same. None for an npz:FILE
        that does not exist and whose name is not known.

    Raises:
        InputError: see `load`.
    """
    path = path_of(source)
    if path is None and source in CLASSES and name in ("", source):
        return _outline(source)
    if path is not None and not os.path.exists(path):
        return _outline(name) if name in CLASSES else None
    return load(source, name)


def _outline(name: str) -> Dataset:
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)

    def split(count: int) -> Split:
        indices = np.arange(count)
        images = np.broadcast_to(image, (count, *image.shape[1:]))  # takes no memory
        return Split(images, (indices % CLASSES[name]).astype(np.int32), indices)

    mean, std = STATISTICS[name]
    return Dataset(name, split(50_000), split(10_000), CLASSES[name], mean, std, augment="crop_flip", fingerprint="")
