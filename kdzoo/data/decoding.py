"""Decoding of pictures: bytes of a file in, crops of uint8 pixels out."""

from typing import NamedTuple

import numpy as np

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
