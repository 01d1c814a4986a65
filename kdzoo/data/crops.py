"""The views of pictures of any size: random-resized crops, and the centred square that tests use. Pure functions."""

import dataclasses
import math

import numpy as np

from kdzoo.data import augmentation
from kdzoo.data.decoding import Box, Picture
from kdzoo.data.hashing import counter_hash
from zoo import InputError

AREA = (0.08, 1.0)  # of a random-resized crop, as a share of the picture
RATIO = (3 / 4, 4 / 3)  # of its width to its height
TRIES = 10  # draws until a crop lies within the picture
TEST_CROP = 0.875  # of the shorter side: 224 pixels out of 256
DRAWS = 1 + 4 * TRIES  # numbers that `draw` returns for a view


@dataclasses.dataclass(frozen=True)
class Transform:
    """What happens to a picture on its way to a network.

    Attributes:
        augment: a key of `kdzoo.data.AUGMENTATIONS`.
        size: (height, width) of the result.
    """

    augment: str
    size: tuple[int, int]

    def plain(self, picture: Picture) -> np.ndarray:
        """The view of tests and validation: uint8 [height, width, channels].

        Raises:
            InputError: if the picture must have this size and has another.
        """
        if self.augment in augmentation.RESIZED:
            return picture.crop(centre_box(picture.height, picture.width, *self.size), self.size, mirror=False)
        if (picture.height, picture.width) != self.size:
            raise InputError(
                f"Pictures must be of one size, {self.size[1]}x{self.size[0]}; augment={'|'.join(augmentation.RESIZED)}"
                f" with image_size takes any. Received: {picture.width}x{picture.height}"
            )
        return picture.pixels()

    def view(self, picture: Picture, view: int, draws: np.ndarray) -> np.ndarray:
        """The view of this number, in training: uint8 [height, width, channels]. See `draw` and `plain`."""
        if self.augment == "inception":
            box, mirror = inception_box(picture.height, picture.width, draws)
            return picture.crop(box, self.size, mirror=mirror)
        image = self.plain(picture)
        return image if self.augment == "resize" else augmentation.apply_views(image[None], np.array([view]))[0]


def draw(indices: np.ndarray, views: np.ndarray) -> np.ndarray:
    """Draws the numbers that decide on random-resized crops, a pure function of (index, view).

    Args:
        indices, views: integers [n].

    Returns:
        float64 [n, DRAWS], from 0 to below 1.
    """
    hashes = counter_hash(indices[:, None], views[:, None], np.arange(DRAWS), stream=2)
    return (hashes >> np.uint64(11)) * 2.0**-53


def inception_box(height: int, width: int, draws: np.ndarray) -> tuple[Box, bool]:
    """A random-resized crop: Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, as torchvision draws it.

    Args:
        height, width: of the picture, in pixels.
        draws: float64 [DRAWS], from `draw`.

    Returns:
        The crop, in whole pixels, and whether it is mirrored.
    """
    mirror, *numbers = draws.tolist()
    low, high = math.log(RATIO[0]), math.log(RATIO[1])
    for i in range(0, 4 * TRIES, 4):
        area = height * width * (AREA[0] + (AREA[1] - AREA[0]) * numbers[i])
        ratio = math.exp(low + (high - low) * numbers[i + 1])
        crop_width, crop_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            left = math.floor(numbers[i + 2] * (width - crop_width + 1))
            top = math.floor(numbers[i + 3] * (height - crop_height + 1))
            return Box(left, top, left + crop_width, top + crop_height), mirror < 0.5
    # The largest crop in the centre whose ratio is allowed.
    crop_width = min(width, max(1, round(height * RATIO[1])))
    crop_height = min(height, max(1, round(width / RATIO[0])))
    left, top = (width - crop_width) // 2, (height - crop_height) // 2
    return Box(left, top, left + crop_width, top + crop_height), mirror < 0.5


def share_of(augment: str) -> float:
    """The share of a picture's longest possible sides that a network sees that was trained with this augmentation."""
    return TEST_CROP if augment in augmentation.RESIZED else 1.0


def centre_box(height: int, width: int, out_height: int, out_width: int, share: float = TEST_CROP) -> Box:
    """The centred rectangle of a picture that has the ratio of the result and a share of the longest possible sides."""
    scale = share * min(height / out_height, width / out_width)
    box_height, box_width = out_height * scale, out_width * scale
    left, top = (width - box_width) / 2, (height - box_height) / 2
    return Box(left, top, left + box_width, top + box_height)
