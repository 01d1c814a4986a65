"""Mixup and CutMix: each image of a batch is mixed with another one of the batch, and labels become probabilities.

What a step mixes is a pure function of (seed, epoch, step). Views are mixed as uint8 pixels, in whole numbers: so every
network standardises the very same pixels, on every backend.
"""

from typing import Any, NamedTuple

import numpy as np

from kdzoo.data.hashing import counter_hash

UNIT = 2**16  # the weight that stands for 1


class Mix(NamedTuple):
    """How the images of one batch are mixed.

    Attributes:
        partners: place in the batch of the image with which each one is mixed, int64 [batch].
        weights: of the pixels of each image itself, uint32 [height, width, 1], from 0 to `UNIT`; its partner's pixels
            have the rest.
    """

    partners: np.ndarray
    weights: np.ndarray

    @property
    def share(self) -> float:
        """The share of an image's own pixels in its mixture, and so of its label: from 0 to 1."""
        return float(self.weights.mean(dtype=np.float64) / UNIT)


def draw(
    *,
    seed: int,
    epoch: int,
    step: int,
    labelled: np.ndarray,
    size: tuple[int, int],
    mixup_alpha: float,
    cutmix_alpha: float,
) -> Mix:
    """Draws how the images of a step are mixed.

    Mixup (Zhang et al., ICLR 2018, arXiv:1710.09412) blends two images, CutMix (Yun et al., ICCV 2019,
    arXiv:1905.04899) pastes a box of one into the other, both with one share for the whole batch, from
    Beta(alpha, alpha). If both are on, each step has one of them, with equal chances.

    Args:
        seed: the run's seed.
        epoch, step: from 0.
        labelled: which images of the batch have labels, bool [batch]: they are mixed with each other, and the others
            with each other.
        size: (height, width) of the images.
        mixup_alpha, cutmix_alpha: at least 0; 0: off. One of them is above 0.
    """
    hashed = int(counter_hash(seed, epoch, np.array([step]), stream=3)[0])
    generator = np.random.RandomState([hashed % 2**32, hashed >> 32])  # NumPy's frozen one: the same in every version
    cut = generator.random_sample() < 0.5 if mixup_alpha and cutmix_alpha else bool(cutmix_alpha)
    alpha = cutmix_alpha if cut else mixup_alpha
    share = np.nan_to_num(generator.beta(alpha, alpha), nan=1.0)  # NumPy's limit for the smallest alphas is 0/0
    partners = np.arange(len(labelled))
    for places in (np.flatnonzero(labelled), np.flatnonzero(~labelled)):
        shift = 1 + int(generator.random_sample() * (len(places) - 1))
        partners[places] = np.roll(places, -shift)
    weights = np.full((*size, 1), UNIT, np.uint32)
    if cut:
        weights[_box(generator, size, share)] = 0
    else:
        weights[:] = round(share * UNIT)
    return Mix(partners, weights)


def _box(generator: np.random.RandomState, size: tuple[int, int], share: float) -> tuple[slice, slice]:
    """A box with the rest of an image's area and its proportions, around any pixel, cut off at the image's border."""
    sides = []
    for length in size:
        half, centre = int(length * np.sqrt(1 - share)) // 2, int(generator.random_sample() * length)
        sides.append(slice(max(0, centre - half), min(length, centre + half)))
    return sides[0], sides[1]


def blend(images: Any, others: Any, weights: Any) -> Any:
    """Mixes uint8 images [..., h, w, c] with others by the weights of a `Mix`, rounded to whole numbers, halves up.

    Works on arrays of NumPy and of JAX, with the same results to the bit.
    """
    mixed = images.astype(np.uint32) * weights + others.astype(np.uint32) * (UNIT - weights)
    return ((mixed + UNIT // 2) // UNIT).astype(np.uint8)


def mix_images(images: np.ndarray, mix: Mix) -> np.ndarray:
    """Returns the mixed images of a batch, uint8 [batch, h, w, c]."""
    mixed = np.empty_like(images)
    for image, partner, result in zip(images, mix.partners.tolist(), mixed, strict=True):  # one by one, to save memory
        result[:] = blend(image, images[partner], mix.weights)
    return mixed


def mix_labels(probabilities: np.ndarray, mix: Mix) -> np.ndarray:
    """Returns the labels of the mixed images, float32 [batch, classes]."""
    mixed: np.ndarray = blend_labels(probabilities, mix.partners, np.float32(mix.share))
    return mixed


def blend_labels(probabilities: Any, partners: Any, share: Any) -> Any:
    """Mixes labels [n, classes] with those of their partners [n]. Works on arrays of NumPy and of JAX."""
    return share * probabilities + (1 - share) * probabilities[partners]


def to_probabilities(labels: np.ndarray, num_classes: int, *, smoothing: float = 0.0) -> np.ndarray:
    """Returns labels as probabilities: `1 - smoothing` for the class, and `smoothing` spread evenly over all classes.

    Label smoothing: Szegedy et al., CVPR 2016 (arXiv:1512.00567).

    Args:
        labels: integers [n]; -1 for an image without label, whose probabilities are all equal and have no meaning.
        num_classes: number of classes.
        smoothing: from 0 to below 1.

    Returns:
        float32 [n, classes], each row summing to 1.
    """
    probabilities = np.full((len(labels), num_classes), smoothing / num_classes)
    probabilities[np.arange(len(labels)), np.maximum(labels, 0)] += 1 - smoothing
    probabilities[labels < 0] = 1 / num_classes
    return probabilities.astype(np.float32)
