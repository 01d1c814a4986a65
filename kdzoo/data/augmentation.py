"""Views of an image: crop, flip and standardisation, pure functions of (seed, epoch, index)."""

import numpy as np

from kdzoo.data.sampling import counter_hash

PAD = 4
OFFSETS = 2 * PAD + 1
CROPS = OFFSETS**2
CENTRE = CROPS // 2  # the view that changes nothing
# Augmentation -> number of views of an image it gives.
AUGMENTATIONS = {"none": 1, "crop": CROPS, "crop_flip": 2 * CROPS}


def views(*, seed: int, epoch: int, indices: np.ndarray, augment: str) -> np.ndarray:
    """View number, int64 [n] in [0, 162), in which an epoch (from 0) shows the examples with these indices.

    A view is `flip * 81 + down * 9 + right`: whether it is mirrored, and the crop's corner in the image padded by 4.
    """
    if augment == "none":
        return np.full(len(indices), CENTRE)
    return (counter_hash(seed, epoch, indices, stream=1) % np.uint64(AUGMENTATIONS[augment])).astype(np.int64)


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
