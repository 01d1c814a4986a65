"""Data sets, and which image is seen when and how: pure functions of (seed, epoch, index), no generator state.

`index` is an example's place in its training set, and that place is a function of the example's own bytes. So a run is
the same whether its images came from TFDS or from an .npz file, in whichever order those held them.
"""

from kdzoo.data.dataset import STATISTICS, Dataset, from_arrays
from kdzoo.data.digits import read_digits
from kdzoo.data.npz import read_npz
from kdzoo.data.tfds import read_tfds
from zoo import InputError

NAMES = (*STATISTICS, "digits")


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
        return from_arrays(name or source, *read_npz(source.removeprefix("npz:")))
    if name and name != source:
        raise InputError(f"dataset_name must name what an npz:FILE holds. Received: {name} for {source}")
    if source == "digits":
        return read_digits()
    if source in STATISTICS:
        return read_tfds(source)
    raise InputError(f"dataset must be one of {', '.join(NAMES)} or npz:FILE, for example cifar10. Received: {source}")
