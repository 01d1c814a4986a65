"""Data sets in an .npz file."""

import zipfile

import numpy as np

from zoo import InputError


def read_npz(path: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Reads (x_train, y_train, x_test, y_test): images uint8 [n, h, w, c], integer labels [n].

    Raises:
        InputError: if the file does not exist, or an array is missing or has another type or shape.
    """
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
    x_train, y_train, x_test, y_test = arrays
    return x_train, y_train, x_test, y_test
