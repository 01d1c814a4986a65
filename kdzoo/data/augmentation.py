"""Augmentation: the view (crop and flip) of each image, a pure function of (seed, epoch, index); standardisation."""

from collections.abc import Sequence

import numpy as np

from kdzoo.data.hashing import counter_hash

PAD = 4
OFFSETS = 2 * PAD + 1
CROPS = OFFSETS**2
CENTRE = CROPS // 2  # the view that equals the image
ENDLESS = 2**31  # number of views where each epoch is to have new ones: far more than a run can see
# Augmentation -> number of views per image; of "inception" it is chosen.
AUGMENTATIONS = {"none": 1, "crop": CROPS, "crop_flip": 2 * CROPS, "resize": 1, "inception": ENDLESS}
RESIZED = ("resize", "inception")  # those that take pictures of any size


def count_views(augment: str, crops: int = 0) -> int:
    """The number of views of an image.

    Args:
        augment: a key of `AUGMENTATIONS`.
        crops: number of random-resized crops of an image that "inception" chooses from; 0: as good as endless.
    """
    return crops or ENDLESS if augment == "inception" else AUGMENTATIONS[augment]


def views(*, seed: int, epoch: int, indices: np.ndarray, augment: str, crops: int = 0) -> np.ndarray:
    """Returns the view number of each example in an epoch.

    A view's number is `flip * 81 + down * 9 + right`: whether the image is mirrored (0 or 1), and the corner of the
    crop in the image padded by 4. "inception" numbers random-resized crops: see `kdzoo.data.crops`.

    Args:
        seed: the run's seed.
        epoch: from 0.
        indices: integers [n], `Split.indices`.
        augment: a key of `AUGMENTATIONS`.
        crops: see `count_views`.

    Returns:
        int64 [n], from 0 to below `count_views`.
    """
    count = count_views(augment, crops)
    if count == 1:
        return np.full(len(indices), CENTRE)
    return (counter_hash(seed, epoch, indices, stream=1) % np.uint64(count)).astype(np.int64)


def apply_views(images: np.ndarray, view: np.ndarray) -> np.ndarray:
    """Pads uint8 images [n, h, w, c] by 4 black pixels, crops them to their size and mirrors them, as views [n] set."""
    height, width = images.shape[1:3]
    padded, cropped = pad(images), np.empty_like(images)
    parts = (part.tolist() for part in describe_views(view))
    for source, target, flip, down, right in zip(padded, cropped, *parts, strict=True):
        crop = source[down : down + height, right : right + width]
        target[:] = crop[:, ::-1] if flip else crop
    return cropped


def describe_views(view: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Splits view numbers into (flip, down, right): 0 or 1, and the crop's corner in the padded image, 0 to 8."""
    corner = view % CROPS
    return view // CROPS, corner // OFFSETS, corner % OFFSETS


def pad(images: np.ndarray) -> np.ndarray:
    """Pads images [n, h, w, c] by 4 black pixels on each side: [n, h + 8, w + 8, c]."""
    return np.pad(images, ((0, 0), (PAD, PAD), (PAD, PAD), (0, 0)))


def of_pixels(channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The mean and standard deviation by which `standardise` returns the values of the pixels themselves, 0 to 255."""
    return (0.0,) * channels, (1 / 255,) * channels


def standardise(images: np.ndarray, *, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """Maps uint8 images [n, h, w, c] to float32, `(image / 255 - mean) / std` per channel."""
    factors, offsets = coefficients(mean, std)
    if not isinstance(images, np.ndarray):  # part of a compiled program
        return images * factors - offsets
    # Row by row of pixels and image by image: the same numbers, in a third of the time.
    count, height, width, _ = images.shape
    factors, offsets = np.tile(factors, width), np.tile(offsets, width)
    standardised = np.empty(images.shape, np.float32)
    rows = (count, height, -1) if images.size else (count, height, 0)
    for image, result in zip(images.reshape(rows), standardised.reshape(rows), strict=True):
        np.multiply(image, factors, out=result, dtype=np.float32)
        result -= offsets
    return standardised


def coefficients(mean: Sequence[float], std: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Returns factors and offsets, float32 [c]: `standardise` computes `image * factor - offset` per channel."""
    means, stds = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    return (1 / (255 * stds)).astype(np.float32), means / stds
