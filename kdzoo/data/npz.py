"""Data sets in an .npz file."""

import zipfile

import numpy as np

from zoo import InputError

_RULE = "An npz data set must hold x_train, y_train, x_test, y_test: uint8 images [n, h, w, c], integer labels [n]"


def read_npz(path: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Reads (x_train, y_train, x_test, y_test): images uint8 [n, h, w, c], integer labels [n].

    The labels of `y_train` are the classes: 0, 1, 2 and so on without a gap, each with at least one image. `y_test` has
    no others: nothing could learn them.

    Raises:
        InputError: if the file does not exist, an array is missing or has another type or shape, or a label is none of
            these classes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {key: _read_array(archive, key) for key in ("x_train", "y_train", "x_test", "y_test")}
    except FileNotFoundError:
        raise InputError(f"{_RULE}. Received: no file {path}") from None
    except Exception as error:  # a damaged archive makes zipfile, zlib, tokenize and others raise errors of their own
        raise InputError(f"{_RULE}. Received: {path}: {' '.join(str(error).split())[:200]}") from None
    for split in ("train", "test"):
        labels = arrays[f"y_{split}"]
        if labels.shape[1:] == (1,):
            arrays[f"y_{split}"] = labels.reshape(-1)
        _check_shapes(path, arrays[f"x_{split}"], arrays[f"y_{split}"])
    if arrays["x_train"].shape[1:] != arrays["x_test"].shape[1:]:
        shapes = f"{arrays['x_train'].shape[1:]} and {arrays['x_test'].shape[1:]}"
        raise InputError(f"{_RULE}, of one size. Received: {path}: train and test images of {shapes}")
    _check_classes(path, arrays["y_train"], arrays["y_test"])
    return arrays["x_train"], arrays["y_train"], arrays["x_test"], arrays["y_test"]


def read_images(path: str) -> np.ndarray:
    """Reads the images in x_train or, if there is none, in x: uint8 [n, h, w, c].

    Raises:
        InputError: if the file does not exist, or holds no such array.
    """
    rule = "An npz file of pictures without labels must hold x_train or x: uint8 images [n, h, w, c]"
    try:
        with zipfile.ZipFile(path) as archive:
            images = _read_array(archive, "x_train" if "x_train.npy" in archive.namelist() else "x")
    except FileNotFoundError:
        raise InputError(f"{rule}. Received: no file {path}") from None
    except Exception as error:  # see `read_npz`
        raise InputError(f"{rule}. Received: {path}: {' '.join(str(error).split())[:200]}") from None
    if images.dtype != np.uint8 or images.ndim != 4 or not images.size:
        raise InputError(f"{rule}. Received: {path}: {images.dtype} {images.shape}")
    return images


def _read_array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """Reads an array to the end of its bytes, where zipfile compares their checksum; `np.load` may stop before."""
    with archive.open(f"{name}.npy") as stream:
        array: np.ndarray = np.lib.format.read_array(stream)
        if stream.read(1):
            raise ValueError(f"{name} has more bytes than its header describes")
    return array


def _check_shapes(path: str, images: np.ndarray, labels: np.ndarray) -> None:
    if (
        images.dtype != np.uint8
        or images.ndim != 4
        or not images.size
        or labels.shape != images.shape[:1]
        or labels.dtype.kind not in "iu"
    ):
        received = f"images {images.dtype} {images.shape}, labels {labels.dtype} {labels.shape}"
        raise InputError(f"{_RULE}, labels from 0. Received: {path}: {received}")


def _check_classes(path: str, y_train: np.ndarray, y_test: np.ndarray) -> None:
    """Raises InputError, which names the first wrong label, unless the labels are those that `read_npz` describes."""
    classes = np.unique(y_train[y_train >= 0])  # sorted
    known = int((classes == np.arange(len(classes))).cumprod().sum())  # 0 to known - 1 have images
    for name, labels in (("y_train", y_train), ("y_test", y_test)):
        wrong = np.flatnonzero((labels < 0) | (labels >= known))
        if len(wrong):
            raise InputError(
                "Labels must be the classes 0, 1, 2... without a gap, each one in y_train, for example 0 to 9."
                f" Received: {path}: {name}[{wrong[0]}] = {labels[wrong[0]]} (classes without a gap: {known})"
            )
