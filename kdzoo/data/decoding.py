"""Decoding of pictures: bytes of a file in, crops of uint8 pixels out.

The content decides the format, whatever the file's name. JPEGs are decoded by libjpeg-turbo through simplejpeg, all
else by Pillow. Both give the same pixels of a whole JPEG, to the bit. cykooz_resizer resamples by Pillow's algorithm in
a third of the time. Its results differ from Pillow's by at most 1. They are the same without vector instructions, with
SSE4.1 and with AVX2; others were not tried.
"""

import contextlib
import importlib.metadata
import io
import math
import threading
import warnings
from typing import NamedTuple

import cykooz_resizer
import numpy as np
import PIL
import simplejpeg
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError
from PIL.Image import Transpose

from zoo import InputError

# Of every change of size. Antialiased: the filter covers all pixels that a new one spans.
FILTER = "bilinear, antialiased"
# Pixels depend on them, and which files are pictures.
LIBRARIES = f"simplejpeg {simplejpeg.__version__}, pillow {PIL.__version__}"
LIBRARIES += f", cykooz-resizer {importlib.metadata.version('cykooz-resizer')}"
_MOST_KEPT = 2**24  # bytes, of memory that is used again
# More are no picture but an attack on memory; where Pillow draws the line as well.
MOST_PIXELS = 178_956_970

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")  # Pillow reads others, some through programs like Ghostscript
_ALGORITHM = cykooz_resizer.ResizeAlg.convolution(cykooz_resizer.FilterType.bilinear)
_PIXELS = {1: cykooz_resizer.PixelType.U8, 3: cykooz_resizer.PixelType.U8x3}
_ORIENTATION = 0x0112  # the tag in EXIF data
_JPEG_COLOURS = ("YCbCr", "Gray", "RGB")  # simplejpeg converts CMYK in another way than Pillow

# Pillow warns of metadata and sizes, once for every file of a data set.
warnings.filterwarnings("ignore", module=r"PIL\.")


class Undecodable(ValueError):
    """The bytes are no picture that can be decoded. The message is the reason, for example "truncated"."""


class Box(NamedTuple):
    """A rectangle in a picture, in pixels from its upper left corner; may be fractions."""

    left: float
    top: float
    right: float
    bottom: float


class Picture:
    """A decoded picture.

    Attributes:
        height, width: in pixels, after the picture was turned as its EXIF orientation demands.
    """

    def __init__(self, pixels: np.ndarray) -> None:
        self._pixels = pixels
        self.height: int = pixels.shape[0]
        self.width: int = pixels.shape[1]

    def pixels(self) -> np.ndarray:
        """Returns the whole picture: uint8 [height, width, channels].

        Raises:
            Undecodable: if a JPEG is damaged.
        """
        return self._pixels

    def crop(self, box: Box, size: tuple[int, int], *, mirror: bool) -> np.ndarray:
        """Returns what is in a box, resampled: uint8 [*size, channels].

        Args:
            box: within the picture, not empty.
            size: (height, width).
            mirror: whether to swap left and right.

        Raises:
            Undecodable: if a JPEG is damaged.
        """
        resampled = resample(self.pixels(), box, size)
        return _mirror(resampled) if mirror else resampled


class _Scratch(threading.local):
    """Memory that a thread decodes to again and again: fresh memory for each picture takes half as long as decoding."""

    _kept = np.empty(0, np.uint8)

    def memory(self, count: int) -> np.ndarray:
        """At least so many bytes."""
        if count > _MOST_KEPT:
            return np.empty(count, np.uint8)
        if count > len(self._kept):
            self._kept = np.empty(count, np.uint8)
        return self._kept


_scratch = _Scratch()


class _Jpeg(Picture):
    """A JPEG, decoded when its pixels are needed, at a half, a quarter or an eighth of its size if that is enough."""

    def __init__(self, data: bytes, height: int, width: int) -> None:
        self._data = data
        self.height = height
        self.width = width

    def pixels(self) -> np.ndarray:
        return self._decode(1, None)

    def crop(self, box: Box, size: tuple[int, int], *, mirror: bool) -> np.ndarray:
        shrinkage = min((box.bottom - box.top) / size[0], (box.right - box.left) / size[1])
        factor = next((factor for factor in (8, 4, 2) if shrinkage >= factor), 1)
        count = 3 * -(-self.height // factor) * -(-self.width // factor)
        pixels = self._decode(factor, _scratch.memory(count))
        if factor > 1:
            box = Box(*(edge / factor for edge in box))
        resampled = resample(pixels, box, size)
        return _mirror(resampled) if mirror else resampled

    def _decode(self, factor: int, memory: np.ndarray | None) -> np.ndarray:
        """The picture in a part of its size, in this memory or, with None, in its own."""
        height, width = -(-self.height // factor), -(-self.width // factor)
        try:
            return simplejpeg.decode_jpeg(
                self._data, min_height=height, min_width=width, min_factor=factor, buffer=memory
            )
        except ValueError:  # Pillow decides whether the damage is too great
            return np.asarray(_decode(self._data, (0, 0, 0)).reduce(factor))


def open_picture(data: bytes | np.ndarray, background: tuple[int, int, int]) -> Picture:
    """Opens a picture. Encoded ones always have 3 channels: grey is repeated, 16 bits are rounded to 8.

    Args:
        data: the content of a JPEG, PNG, WebP, BMP, GIF (its first frame) or TIFF file; or uint8 [h, w, c] of 1 or 3
            channels.
        background: the colour behind what is transparent: red, green, blue, 0 to 255.

    Raises:
        Undecodable: if it is no such picture, is damaged, or has more than `MOST_PIXELS` pixels. Damage of a JPEG after
            its header is found when its pixels are needed.
    """
    if isinstance(data, np.ndarray):
        return Picture(data)
    return _open_jpeg(data) or Picture(np.asarray(_decode(data, background)))


def _open_jpeg(data: bytes) -> _Jpeg | None:
    """Returns None for what only Pillow decodes: other formats and colours, and JPEGs to be turned."""
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    _check_size(height, width)
    if colours not in _JPEG_COLOURS or (_has_exif(data) and _is_turned(data)):
        return None
    return _Jpeg(data, height, width)


def _has_exif(data: bytes) -> bool:
    """Whether there are EXIF data among the segments before the pixels; damaged ones count as such."""
    at = 2
    while (marker := data[at : at + 2]) != b"\xff\xda":
        if marker == b"\xff\xe1" and data[at + 4 : at + 8] == b"Exif":
            return True
        if marker[:1] != b"\xff" or marker[1:] in (b"", b"\xff"):  # also padding, which is rare
            return b"Exif" in data
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return False


def _is_turned(data: bytes) -> bool:
    try:
        return Image.open(io.BytesIO(data), formats=("JPEG",)).getexif().get(_ORIENTATION, 1) in range(2, 9)
    except Exception:  # damaged metadata make Pillow raise errors of many classes
        return False


def _decode(data: bytes, background: tuple[int, int, int]) -> Image.Image:
    """Decodes a picture by Pillow, in mode RGB."""
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            _check_size(image.height, image.width)
            image.load()
            with contextlib.suppress(Exception):  # of damaged metadata
                ImageOps.exif_transpose(image, in_place=True)
            return _to_rgb(image, background)
    except (Undecodable, MemoryError):  # the lack of memory is no fault of the picture
        raise
    except UnidentifiedImageError:
        reason = "no header of a JPEG, PNG, WebP, BMP, GIF or TIFF file" if data else "empty"
    except Image.DecompressionBombError:
        reason = f"more than {MOST_PIXELS:,} pixels"
    except Exception as error:  # damaged files make Pillow raise errors of many classes
        reason = " ".join(str(error).split())[:100] or type(error).__name__
    raise Undecodable(reason)


def _check_size(height: int, width: int) -> None:
    if not 1 <= height * width <= MOST_PIXELS:
        raise Undecodable(f"{height} x {width} pixels, more than {MOST_PIXELS:,}" if height * width else "no pixels")


def _to_rgb(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """Converts a picture of any mode."""
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise Undecodable("pixels that are signed or have 32 bits")
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        canvas = Image.new("RGB", image.size, background)
        canvas.paste(image, mask=image)
        return canvas
    return image.convert("RGB")


def resample(pixels: np.ndarray, box: Box, size: tuple[int, int]) -> np.ndarray:
    """Returns what is in a box of an image, resampled: uint8 [*size, channels].

    Args:
        pixels: uint8 [height, width, channels], of 1 or 3 channels.
        box: within the image, not empty.
        size: (height, width).
    """
    # The filter never reaches a row further from the box than a row of the result is high.
    reach = math.ceil((box.bottom - box.top) / size[0]) + 1
    first = max(0, math.floor(box.top) - reach)
    rows = pixels[first : math.ceil(box.bottom) + reach]
    source = cykooz_resizer.ImageData(rows.shape[1], rows.shape[0], _PIXELS[rows.shape[2]], rows.tobytes())
    target = cykooz_resizer.ImageData(size[1], size[0], _PIXELS[rows.shape[2]])
    crop = cykooz_resizer.CropBox(box.left, box.top - first, box.right - box.left, box.bottom - box.top)
    options = cykooz_resizer.ResizeOptions(resize_alg=_ALGORITHM, crop_box=crop, use_alpha=False)
    cykooz_resizer.Resizer().resize(source, target, options)
    return np.frombuffer(target.get_buffer(), np.uint8).reshape(*size, -1)


def resize(images: np.ndarray, size: int) -> np.ndarray:
    """Returns images resampled to size x size: uint8 [n, size, size, channels].

    Args:
        images: uint8 [n, h, w, channels], of 1 or 3 channels.
        size: height and width, in pixels.
    """
    if images.shape[1:3] == (size, size):
        return images
    whole = Box(0, 0, images.shape[2], images.shape[1])
    return np.stack([resample(image, whole, (size, size)) for image in images])


def _mirror(pixels: np.ndarray) -> np.ndarray:
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    return np.asarray(image.transpose(Transpose.FLIP_LEFT_RIGHT)).reshape(pixels.shape)


def parse_colour(text: str) -> tuple[int, int, int]:
    """Returns red, green and blue, 0 to 255, of a colour: a CSS name or #rrggbb.

    Raises:
        InputError: if it is none.
    """
    try:
        return ImageColor.getrgb(text)[:3]
    except ValueError:
        raise InputError(f"background must be a colour, for example white or #ff8000. Received: {text[:100]}") from None
