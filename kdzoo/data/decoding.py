"""Decoding of pictures: bytes of a file in, crops of uint8 pixels out."""

import abc
from typing import NamedTuple

import numpy as np
from PIL import ImageColor

from zoo import InputError

# The filter of every change of size. Pillow's bilinear filter is antialiased: it covers all pixels that a new one spans.
FILTER = "bilinear, antialiased"


class Undecodable(ValueError):
    """The bytes are no picture that can be decoded."""


class Box(NamedTuple):
    """A rectangle in a picture, in pixels from its upper left corner; may be fractions."""

    left: float
    top: float
    right: float
    bottom: float


class Picture(abc.ABC):
    """A picture whose size is known, and whose pixels are decoded once they are needed.

    Attributes:
        height, width: in pixels, upright.
    """

    height: int
    width: int

    @abc.abstractmethod
    def pixels(self) -> np.ndarray:
        """All pixels, uint8 [height, width, channels]. Raises `Undecodable`."""

    @abc.abstractmethod
    def crop(self, box: Box, size: tuple[int, int], *, mirror: bool = False) -> np.ndarray:
        """A rectangle brought to a size (height, width) by `FILTER`, uint8 [*size, channels]. Raises `Undecodable`."""


def open_picture(content: bytes | np.ndarray, background: tuple[int, int, int]) -> Picture:
    raise NotImplementedError


def parse_colour(text: str) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of a colour: a name of CSS or #rrggbb. Raises InputError if it is none."""
    try:
        red, green, blue = ImageColor.getcolor(text, "RGB")
    except ValueError:
        raise InputError(f"background must be a colour, for example white or #ff8000. Received: {text[:100]}") from None
    return red, green, blue
