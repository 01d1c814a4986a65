"""Data sets by the name of their source: TFDS, an .npz file, or the embedded digits.

Every source yields its examples in canonical order, a function of their bytes. So a run is the same whether its images
came from TFDS or from an .npz file, whatever their order there.
"""

from kdzoo.data.dataset import STATISTICS, Dataset, from_arrays
from kdzoo.data.digits import read_digits
from kdzoo.data.npz import read_npz
from kdzoo.data.tfds import read_tfds
from zoo import InputError

NAMES = (*STATISTICS, "digits")


def path_of(source: str) -> str | None:
    """The path that a source reads; None for a data set that has a name of its own."""
    return source.removeprefix("npz:") if source.startswith("npz:") else None


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
    if (path := path_of(source)) is not None:
        return from_arrays(name or source, *read_npz(path))
    if name and name != source:
        raise InputError(f"dataset_name must name what an npz:FILE holds. Received: {name} for {source}")
    if source == "digits":
        return read_digits()
    if source in STATISTICS:
        return read_tfds(source)
    raise InputError(f"dataset must be one of {', '.join(NAMES)} or npz:FILE, for example cifar10. Received: {source}")
