"""Data sets by the name of their source: TFDS, an .npz file, a folder of pictures, or the embedded digits.

Every source yields its examples in canonical order: in memory a function of their pixels, so that a run is the same
wherever its images came from; streamed, of their paths.
"""

import contextlib
import dataclasses
import os

import numpy as np

from kdzoo.data import augmentation, decoding, pictures, tfds_source, unlabelled
from kdzoo.data.config import DataConfig
from kdzoo.data.dataset import STATISTICS, Dataset, Split, from_arrays
from kdzoo.data.digits import read_digits
from kdzoo.data.folder import read_folder
from kdzoo.data.npz import read_npz
from kdzoo.data.source import Source
from kdzoo.data.tfds import read_tfds
from zoo import InputError

NAMES = ("cifar10", "cifar100", "digits")
PATHS = ("npz", "folder")
_ONLY = {"test_share": "folder:", "class_names": "folder:", "train_split": "tfds:", "test_split": "tfds:"}
# Data set -> training examples, test examples, classes, and the usual height and width of its images.
OUTLINES = {
    "cifar10": (50_000, 10_000, 10, 32),
    "cifar100": (50_000, 10_000, 100, 32),
    "imagenet2012": (1_281_167, 50_000, 1000, 224),
}


def path_of(source: str) -> str | None:
    """The path that a source reads; None for a data set that has a name of its own."""
    kind, found, path = source.partition(":")
    return path if found and kind in PATHS else None


def check(config: DataConfig) -> None:
    """Raises InputError unless there is such a source, and its settings are for such a one."""
    _check_source(config.dataset, config.dataset_name)
    decoding.parse_colour(config.background)
    if config.unlabelled:
        unlabelled.check(config.unlabelled)
    for name, kind in _ONLY.items():
        if getattr(config, name) and not config.dataset.startswith(kind):
            raise InputError(f"{name} must be given only with dataset={kind}... Received: {name} for {config.dataset}")


def _check_source(source: str, name: str) -> None:
    if isinstance(source, str) and source.partition(":")[0] in (*PATHS, "tfds") and ":" in source:
        return
    if source not in NAMES:
        raise InputError(
            f"dataset must be one of {', '.join(NAMES)} or npz:FILE, folder:DIR, tfds:NAME, for example cifar10."
            f" Received: {source}"
        )
    if name not in ("", source):
        raise InputError(f"dataset_name must name what an npz:FILE or folder:DIR holds. Received: {name} for {source}")


def load(source: str | DataConfig, name: str = "", *, workers: int = 0) -> Dataset:
    """Loads a data set: cifar10, cifar100, digits, npz:FILE, folder:DIR or tfds:NAME[/CONFIG][:VERSION].

    TFDS reads data sets from `$TFDS_DATA_DIR` or `~/tensorflow_datasets`, and downloads them if they are not there.
    `digits` needs no download: scikit-learn's 1,797 handwritten digits, enlarged from 8x8 to 32x32x3, with 360 in the
    test split. An .npz file holds x_train, y_train, x_test, y_test: images uint8 [n, h, w, c], integer labels [n]. A
    folder holds train/CLASS/* and test/CLASS/* or val/CLASS/*, or CLASS/* alone. Pictures that do not fit in memory, or
    that are seen in random-resized crops, are decoded when they are read.

    Args:
        source: the data set, or a whole configuration.
        name: see `DataConfig.dataset_name`.
        workers: processes that decode pictures; 0: this one does. Close the data set to end them.

    Raises:
        InputError: if no such data set exists, or it cannot be downloaded or read.
    """
    config = source if isinstance(source, DataConfig) else DataConfig(source, name)
    check(config)
    if not config.unlabelled:
        return _load(config, workers)
    more, fingerprint = unlabelled.read(config.unlabelled)
    dataset = _load(config, workers)
    with contextlib.ExitStack() as on_failure:
        on_failure.callback(dataset.close)
        dataset = pictures.add_unlabelled(dataset, more, fingerprint=fingerprint, config=config, workers=workers)
        on_failure.pop_all()
    return dataset


def _load(config: DataConfig, workers: int) -> Dataset:
    """Loads the labelled images of a data set: see `load`."""
    kind, _, path = config.dataset.partition(":")
    if kind in ("folder", "tfds"):
        found: tuple[Source, Source, tuple[str, ...], str]
        if kind == "folder":
            found = read_folder(path, test_share=config.test_share, class_names=config.class_names)
        else:
            found = tfds_source.read_splits(path, train_split=config.train_split, test_split=config.test_split)
        train, test, names, fingerprint = found
        return pictures.from_sources(
            config.name, train, test, class_names=names, fingerprint=fingerprint, config=config, workers=workers
        )
    if kind == "npz":
        dataset = from_arrays(config.name, *read_npz(path))
    else:
        dataset = read_digits() if kind == "digits" else read_tfds(kind)
    augment = "inception" if config.augment == "auto" and config.image_size else config.augment
    if augment in augmentation.RESIZED:
        return pictures.with_crops(dataset, dataclasses.replace(config, augment=augment))
    height, width = dataset.image_shape[:2]
    if config.image_size and (height, width) != (config.image_size, config.image_size):
        raise InputError(
            f"image_size must be that of the images, or augment one of {', '.join(augmentation.RESIZED)}."
            f" Received: image_size {config.image_size} for images of {width}x{height} with augment {augment}"
        )
    return dataset


def load_or_outline(source: str | DataConfig, name: str = "") -> Dataset | None:
    """Returns a data set for a plan, which needs its sizes only: where those are known, nothing is read.

    Args:
        source: see `load`.
        name: see `load`.

    Returns:
        The data set; for CIFAR-10, CIFAR-100 and ImageNet one of their sizes, whose images are all the same. None for a
        file or folder that does not exist and whose name is not known.

    Raises:
        InputError: see `load`.
    """
    config = source if isinstance(source, DataConfig) else DataConfig(source, name)
    check(config)
    path, name = path_of(config.dataset), config.name
    missing = path is not None and not os.path.exists(path)
    if name in OUTLINES and (missing or path is None):
        return _outline(name, config.image_size)
    return None if missing else _load(config, workers=0)


def _outline(name: str, image_size: int) -> Dataset:
    train, test, classes, usual = OUTLINES[name]
    size = image_size or usual
    image = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)

    def split(count: int) -> Split:
        indices = np.arange(count)
        images = np.broadcast_to(image, (count, *image.shape[1:]))  # takes no memory
        return Split(images, (indices % classes).astype(np.int32), indices)

    mean, std = STATISTICS[name]
    augment = "inception" if image_size else "crop_flip"
    return Dataset(name, split(train), split(test), classes, mean, std, augment=augment, fingerprint="")
