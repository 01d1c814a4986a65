"""Pictures in a TensorFlow graph: decoded and cropped as `kdzoo.data` does, up to 1 of 255."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from kdzoo.data import crops
from kdzoo.data.decoding import open_picture
from kdzoo.training import prediction

tf = pytest.importorskip("tensorflow")

from kdzoo.publishing import picture_graph  # noqa: E402
from kdzoo.publishing.picture_graph import PictureGraph  # noqa: E402

RNG = np.random.default_rng(0)
SHAPE = (16, 16, 3)
BACKGROUND = (255, 128, 0)
SIZES = [(16, 16), (33, 50), (50, 33), (300, 200), (8, 9), (1, 1), (2, 200)]


@pytest.fixture(scope="module")
def decode():
    return tf.function(PictureGraph(SHAPE, 1.0, BACKGROUND).decode, input_signature=[tf.TensorSpec([None], tf.string)])


def scene(height: int, width: int) -> np.ndarray:
    """Large areas of colour under noise, as in photographs."""
    areas = RNG.integers(0, 256, (max(height // 8, 2), max(width // 8, 2), 3), np.uint8)
    smooth = np.asarray(Image.fromarray(areas).resize((width, height), Image.Resampling.BICUBIC))
    return np.clip(smooth + RNG.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)


def encode(pixels: np.ndarray, kind: str, mode: str = "RGB", **options) -> bytes:
    image, content = Image.fromarray(pixels).convert(mode), io.BytesIO()
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(RNG.integers(0, 256, pixels.shape[:2], np.uint8)))
    image.save(content, kind, **options)
    return content.getvalue()


def seen(data: bytes | np.ndarray, shape: tuple[int, ...] = SHAPE, augment: str = "none") -> np.ndarray:
    """What `apps.predict` shows to a network."""
    record = {"dataset": {"image_shape": list(shape)}, "config": {"augment": augment}}
    return prediction.view_of(record)(open_picture(data, BACKGROUND)).astype(int)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("augment", ["none", "inception"])
def test_pictures_are_cropped_as_for_predictions(size, augment):
    pixels = scene(*size)
    images = PictureGraph(SHAPE, crops.share_of(augment)).resize(tf.constant(np.stack([pixels, pixels[::-1]])))
    assert images.dtype == tf.uint8
    for image, picture in zip(images.numpy(), (pixels, pixels[::-1]), strict=True):
        assert np.abs(image - seen(picture, augment=augment)).max() <= (
            0 if size == (16, 16) and augment == "none" else 1
        )


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("JPEG", "RGB", {"quality": 95}),
        ("JPEG", "RGB", {"quality": 75, "progressive": True, "subsampling": 2}),
        ("JPEG", "L", {}),
        *(("PNG", mode, {}) for mode in ("RGB", "RGBA", "L", "LA", "P", "1")),
        ("PNG", "P", {"transparency": 0}),
        *(("PNG", "P", {"bits": bits}) for bits in (1, 2, 4)),
    ],
)
def test_files_are_decoded_as_for_predictions(decode, kind, mode, options):
    files = [encode(scene(*size), kind, mode, **options) for size in (*SIZES, (130, 170))]
    for image, content in zip(decode(tf.constant(files)).numpy(), files, strict=True):
        assert np.abs(image - seen(content)).max() <= 1


@pytest.mark.parametrize("ratio", [1, 2, 4, 8])
def test_a_large_jpeg_is_decoded_at_a_fraction_of_its_size_as_for_predictions(decode, ratio):
    content = encode(scene(16 * ratio, 24 * ratio + 1), "JPEG", quality=90)
    assert np.abs(decode(tf.constant([content])).numpy()[0] - seen(content)).max() <= 1


def test_networks_of_grey_and_of_oblong_images_see_pictures_as_well():
    shape = (8, 24, 1)
    content = encode(scene(60, 90), "PNG")
    image = PictureGraph(shape).decode(tf.constant([content])).numpy()[0]
    assert image.shape == shape
    assert np.abs(image - seen(content, shape)).max() <= 1
    grey = RNG.integers(0, 256, (1, 8, 24, 1), np.uint8)
    np.testing.assert_array_equal(PictureGraph(shape).resize(tf.constant(grey)), grey)


def test_no_picture_is_no_image(decode):
    assert decode(tf.constant([], tf.string)).shape == (0, *SHAPE)
    assert PictureGraph(SHAPE).resize(tf.zeros([0, 5, 5, 3], tf.uint8)).shape == (0, *SHAPE)


def bomb(side: int) -> bytes:
    """A PNG whose header claims so many pixels in each direction."""
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(header) - 4) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + encode(scene(9, 9), "PNG")[33:]


def large_jpeg(side: int) -> bytes:
    content = encode(scene(16, 16), "JPEG")
    return content.replace(struct.pack(">HH", 16, 16), struct.pack(">HH", side, side), 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "A picture must be a JPEG or PNG file"),
        (b"GIF89a" + bytes(100), "A picture must be a JPEG or PNG file"),
        (encode(scene(30, 30), "WEBP"), "A picture must be a JPEG or PNG file"),
        (b"\xff\xd8\xff", "Invalid JPEG"),
        (encode(scene(90, 90), "JPEG")[:700], "JPEG"),
        (b"\x89PNG\r\n\x1a\n", "A PNG file must have a header"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "A picture must have from 1 to 67108864 pixels"),
        (encode(scene(90, 90), "PNG")[:700], "Invalid PNG"),
        (bomb(8193), "A picture must have from 1 to 67108864 pixels"),
        (bomb(2**31), "A picture must have from 1 to 67108864 pixels"),
        (large_jpeg(8193), "A picture must have from 1 to 67108864 pixels"),
    ],
)
def test_a_damaged_file_is_an_error(decode, content, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        decode(tf.constant([encode(scene(20, 20), "PNG"), content]))
    assert picture_graph.MOST_PIXELS == 67108864


def test_pictures_without_pixels_are_an_error():
    for size in ((0, 5), (5, 0)):
        with pytest.raises(tf.errors.InvalidArgumentError, match="A picture must have pixels"):
            PictureGraph(SHAPE).resize(tf.zeros([1, *size, 3], tf.uint8))
