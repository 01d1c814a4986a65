"""Decoding: every format and mode that folders hold, and files that are no pictures. Pictures are made by Pillow."""

import io
import struct
import zlib

import cykooz_resizer
import numpy as np
import pytest
from PIL import Image

from kdzoo.data.decoding import MOST_PIXELS, Box, Undecodable, open_picture, resample

BLACK = (0, 0, 0)
SCENE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (15, 20, 3), np.uint8)).resize((100, 75), 3)


def encode(image, form, **settings):
    file = io.BytesIO()
    image.save(file, form, **settings)
    return file.getvalue()


def by_pillow(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize(
    "settings", [{}, {"subsampling": 0}, {"subsampling": 1}, {"progressive": True}, {"quality": 30}]
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_whole_jpeg_has_the_pixels_that_pillow_decodes(mode, settings):
    data = encode(SCENE.convert(mode), "JPEG", **settings)
    picture = open_picture(data, BLACK)
    assert (picture.height, picture.width) == (75, 100)
    np.testing.assert_array_equal(picture.pixels(), by_pillow(data))


@pytest.mark.parametrize(
    ("form", "settings"),
    [("PNG", {}), ("WEBP", {"lossless": True}), ("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"})],
)
@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P"])
def test_formats_without_loss_give_the_pixels_that_were_saved(form, settings, mode):
    image = SCENE.convert(mode)
    picture = open_picture(encode(image, form, **settings), BLACK)
    assert (picture.height, picture.width) == (75, 100)
    np.testing.assert_array_equal(picture.pixels(), np.asarray(image.convert("RGB")))


def test_a_crop_is_what_pillow_resamples_and_may_be_mirrored():
    data, box = encode(SCENE, "JPEG"), Box(10.5, 3.25, 60, 70.125)
    picture = open_picture(data, BLACK)
    for size in ((50, 40), (45, 30), (200, 160)):
        expected = Image.open(io.BytesIO(data)).resize(size[::-1], Image.Resampling.BILINEAR, box=box)
        crop = picture.crop(box, size, mirror=False)
        np.testing.assert_allclose(crop.astype(int), np.asarray(expected).astype(int), atol=1, rtol=0)
        np.testing.assert_array_equal(picture.crop(box, size, mirror=True), crop[:, ::-1])


@pytest.mark.parametrize("channels", [1, 3])
def test_crops_do_not_depend_on_the_processor(channels, monkeypatch):
    pixels = np.asarray(SCENE)[..., :channels]
    crops = []
    for extensions in cykooz_resizer.CpuExtensions:
        resizer = cykooz_resizer.Resizer()
        try:
            resizer.cpu_extensions = extensions
        except ValueError:  # not on this processor
            continue
        monkeypatch.setattr(cykooz_resizer, "Resizer", lambda resizer=resizer: resizer)
        crops.append([resample(pixels, Box(3, 5.5, 98.25, 71), (side, side)) for side in (7, 32, 224)])
        monkeypatch.undo()
    assert len(crops) > 1
    for other in crops[1:]:
        for one, same in zip(crops[0], other, strict=True):
            np.testing.assert_array_equal(one, same)


def test_pictures_share_no_memory():
    contents = [encode(image, "JPEG") for image in (SCENE, SCENE.rotate(180))]
    pictures = [open_picture(data, BLACK) for data in contents]
    crops = [picture.crop(Box(0, 0, 100, 75), (75, 100), mirror=False) for picture in pictures]
    pixels = [picture.pixels() for picture in pictures]
    for data, crop, whole in zip(contents, crops, pixels, strict=True):
        np.testing.assert_array_equal(crop, by_pillow(data))
        np.testing.assert_array_equal(whole, by_pillow(data))


@pytest.mark.parametrize("channels", [1, 3])
def test_an_array_is_a_picture_of_its_channels(channels):
    array = np.asarray(SCENE)[..., :channels]
    picture = open_picture(array, BLACK)
    np.testing.assert_array_equal(picture.pixels(), array)
    np.testing.assert_array_equal(picture.crop(Box(0, 0, 100, 75), (75, 100), mirror=True), array[:, ::-1])
    assert picture.crop(Box(0, 0, 50, 50), (8, 9), mirror=False).shape == (8, 9, channels)


@pytest.mark.parametrize("side", [10, 20, 40, 100, 200])
@pytest.mark.parametrize("size", [(803, 605), (800, 600)])
def test_a_large_jpeg_decoded_at_a_fraction_is_close_to_the_whole_one(size, side):
    image = SCENE.resize(size, Image.Resampling.BICUBIC)
    data, box = encode(image, "JPEG", quality=95), Box(200.5, 101, 605, 505.5)
    expected = np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, box=box)).astype(int)
    found = open_picture(data, BLACK).crop(box, (side, side), mirror=False)
    assert np.abs(found - expected).mean() < 1.5  # shifted by a quarter of a pixel it would be three times that
    assert np.abs(found - expected).max() < 16


def test_a_fraction_covers_the_last_pixels_of_odd_sizes():
    ramp = Image.fromarray(np.repeat(np.arange(251, dtype=np.uint8)[None, :, None], 51, 0).repeat(3, 2))
    found = open_picture(encode(ramp, "JPEG", quality=100), BLACK).crop(Box(0, 0, 251, 51), (5, 25), mirror=False)
    np.testing.assert_allclose(found[:, :, 0].mean(0), (np.arange(25) + 0.5) * 10.04 - 0.5, atol=1.6)


def test_transparency_shows_the_background():
    clear = Image.new("RGBA", (4, 3), (255, 0, 100, 0))
    half = Image.new("RGBA", (4, 3), (200, 100, 0, 51))
    grey = Image.new("LA", (4, 3), (100, 51))
    for form in ("PNG", "WEBP", "TIFF"):
        settings = {"lossless": True} if form == "WEBP" else {}
        pixel = [
            open_picture(encode(image, form, **settings), (0, 50, 250)).pixels()[1, 2].tolist()
            for image in (clear, half, grey)
        ]
        assert pixel == [[0, 50, 250], [40, 60, 200], [20, 60, 220]]


@pytest.mark.parametrize("form", ["PNG", "GIF"])
def test_a_transparent_colour_of_a_palette_shows_the_background(form):
    image = Image.new("P", (4, 3), 1)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((0, 0), 0)
    pixels = open_picture(encode(image, form, transparency=1), (7, 8, 9)).pixels()
    assert pixels[0, 0].tolist() == [10, 20, 30]
    assert pixels[2, 3].tolist() == [7, 8, 9]


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bits_of_grey_are_rounded_to_8(form):
    values = np.array([[0, 128, 129, 257, 385, 386, 65_406, 65_407, 65_535]], np.uint16)
    pixels = open_picture(encode(Image.fromarray(values), form), BLACK).pixels()
    assert pixels[0, :, 0].tolist() == [0, 0, 1, 1, 1, 2, 254, 255, 255]
    assert (pixels == pixels[..., :1]).all()


def png(width, height, *, depth, colour, rows):
    """A PNG of any kind: 8 or 16 bits, colour 0 grey, 2 RGB, 4 grey with alpha, 6 RGBA."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_16_bits_of_colour_keep_the_higher_8():
    values = np.array([[[0, 300, 65_535], [256, 32_768, 1_000]]], ">u2")
    pixels = open_picture(png(2, 1, depth=16, colour=2, rows=b"\0" + values.tobytes()), BLACK).pixels()
    np.testing.assert_array_equal(pixels, values >> 8)


def test_cmyk_is_converted_as_pillow_does():
    data = encode(SCENE.convert("CMYK"), "JPEG")
    np.testing.assert_array_equal(open_picture(data, BLACK).pixels(), by_pillow(data))
    assert np.abs(open_picture(data, BLACK).pixels() - np.asarray(SCENE).astype(int)).mean() < 10


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_is_its_first_frame(form):
    first, second = Image.new("RGB", (6, 5), (255, 0, 0)), Image.new("RGB", (6, 5), (0, 0, 255))
    settings = {"lossless": True} if form == "WEBP" else {}
    data = encode(first, form, save_all=True, append_images=[second], **settings)
    assert open_picture(data, BLACK).pixels()[2, 3].tolist() == [255, 0, 0]


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_exif_orientation_demands(form, orientation):
    corners = Image.new("RGB", (40, 24), (0, 0, 0))
    corners.paste((255, 255, 255), (0, 0, 20, 12))  # white where row 0 meets column 0 of the stored pixels
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = open_picture(encode(corners, form, exif=exif), BLACK)
    height, width = (24, 40) if orientation < 5 else (40, 24)
    assert (picture.height, picture.width) == picture.pixels().shape[:2] == (height, width)
    top, left = orientation in (1, 2, 5, 6), orientation in (1, 4, 5, 8)
    quarters = picture.crop(Box(0, 0, width, height), (2, 2), mirror=False)[..., 0] > 128
    expected = np.zeros((2, 2), bool)
    expected[0 if top else 1, 0 if left else 1] = True
    np.testing.assert_array_equal(quarters, expected)


def test_exif_data_may_follow_other_segments():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(SCENE, "JPEG", icc_profile=bytes(100_000), exif=exif)
    start = data.index(b"\xff\xe1")
    end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    last = data.index(b"\xff\xdb")
    for moved in (data, data[:start] + data[end:last] + data[start:end] + data[last:]):
        assert open_picture(moved, BLACK).height == 100
    without = encode(SCENE, "JPEG", comment=b"Exif")
    assert open_picture(without, BLACK).height == 75


def test_damaged_exif_data_leave_a_picture_as_it_is():
    data = encode(SCENE, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\1\x12\0\3\0\0\0\1\0")
    assert open_picture(data, BLACK).pixels().shape == (75, 100, 3)


def test_bytes_that_a_jpeg_does_not_need_are_no_damage():
    data = encode(SCENE, "JPEG", subsampling=0)
    padded = data[:-2] + b"\0\0\0" + data[-2:] + b"more"
    np.testing.assert_array_equal(open_picture(padded, BLACK).pixels(), open_picture(data, BLACK).pixels())
    box = Box(0, 0, 100, 75)
    expected = open_picture(data, BLACK).crop(box, (30, 40), mirror=False)
    np.testing.assert_allclose(open_picture(padded, BLACK).crop(box, (30, 40), mirror=False), expected, atol=3)


def test_a_picture_of_one_pixel_can_be_enlarged():
    for form in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"):
        picture = open_picture(encode(Image.new("RGB", (1, 1), (255, 255, 255)), form), BLACK)
        assert (picture.crop(Box(0, 0, 1, 1), (3, 2), mirror=True) > 250).all()


def jpeg_of(width, height):
    data = bytearray(encode(Image.new("RGB", (8, 8)), "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


HUGE = png(30_000, 30_000, depth=8, colour=2, rows=b"")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"\0" * 1000, "no header"),
        (b"no picture", "no header"),
        (b"\xff\xd8\xff", "no header"),
        (b"P6 1 1 255 \0\0\0", "no header"),  # a format that Pillow would decode
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no header"),  # which would run Ghostscript
        (encode(SCENE, "JPEG")[:-500], "truncated"),
        (encode(SCENE, "PNG")[:-500], "truncated"),
        (encode(SCENE, "BMP")[:-500], "truncated"),
        (encode(SCENE, "WEBP")[:-500], "decoder"),
        (encode(SCENE, "GIF")[:-500], "truncated"),
        (encode(SCENE, "TIFF")[:-500], "truncated"),
        (HUGE, f"more than {MOST_PIXELS:,}"),
        (jpeg_of(30_000, 30_000), f"more than {MOST_PIXELS:,}"),
        (png(0, 5, depth=8, colour=2, rows=b""), "header"),
        (encode(Image.new("F", (4, 4)), "TIFF"), "32 bits"),
    ],
    ids=range(16),
)
def test_what_is_no_picture_has_a_short_reason(data, reason):
    with pytest.raises(Undecodable, match=reason) as caught:
        open_picture(data, BLACK).crop(Box(0, 0, 1, 1), (2, 2), mirror=False)
    assert 1 <= len(str(caught.value)) <= 100
    assert "0x" not in str(caught.value)  # an address would differ from run to run
