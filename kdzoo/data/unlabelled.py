"""Pictures without labels, from which a student learns by its teachers alone: their sources."""

import numpy as np

from kdzoo.data.dataset import array_digest, canonical
from kdzoo.data.folder import read_pictures
from kdzoo.data.npz import read_images
from kdzoo.data.source import ArraySource, Source
from kdzoo.data.tfds_source import read_images as read_tfds_images
from zoo import InputError

LABEL = -1  # of an unlabelled picture


def check(spec: str) -> None:
    """Raises InputError unless there is such a source."""
    kind, found, _ = spec.partition(":")
    if not found or kind not in ("folder", "tfds", "npz"):
        raise InputError(
            "unlabelled must be folder:DIR, tfds:NAME[/CONFIG][:VERSION] or npz:FILE, for example folder:data/photos."
            f" Received: {spec}"
        )


def read(spec: str) -> tuple[Source, str]:
    """Finds pictures without labels, or ignores their labels.

    A folder holds them anywhere below it. A TFDS data set has them in its split "unlabelled", or else "train". An .npz
    file has them in "x_train", or else "x": uint8 images [n, h, w, c].

    Returns:
        The pictures, and a fingerprint: SHA-256 of all paths and sizes, or of all images.

    Raises:
        InputError: if there are none.
    """
    check(spec)
    kind, _, path = spec.partition(":")
    if kind == "folder":
        return read_pictures(path, label=LABEL)
    if kind == "tfds":
        return read_tfds_images(path)
    images = read_images(path)
    split = canonical(images, np.full(len(images), LABEL))
    return ArraySource(split.array, split.labels), array_digest(split.array)
