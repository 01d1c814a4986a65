"""Writes a small set of pictures in ImageNet's form: its folders, names, sizes and colour modes.

  python tests/imagenet_like.py DIR --classes=12 --pictures=8

DIR/train/nXXXXXXXX/*.JPEG and DIR/val/nXXXXXXXX/*.JPEG. Each class has a colour and stripes of its own, under noise, so
that a network learns it, but not at once. The same arguments write the same bytes with the same version of Pillow.
"""

import argparse
import colorsys
import io
import pathlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

SIZES = ((500, 375), (375, 500), (400, 300), (500, 333), (256, 341))  # width and height
GREY = 11  # every so many pictures
SPLITS = ("train", "val")


def write(folder: str | pathlib.Path, *, classes: int = 12, pictures: int = 8, val_pictures: int = 4) -> pathlib.Path:
    """Writes the pictures, and returns the folder.

    As in ImageNet, some training pictures are odd ones: the second class begins with one in CMYK, the third with a PNG
    that is named .JPEG; in both splits every 11th is grey.

    Args:
        folder: made if need be.
        classes: at least 1.
        pictures: of each class in train/.
        val_pictures: of each class in val/.
    """
    for path, content in contents(classes=classes, pictures=pictures, val_pictures=val_pictures):
        target = pathlib.Path(folder) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return pathlib.Path(folder)


def contents(*, classes: int, pictures: int, val_pictures: int) -> Iterator[tuple[str, bytes]]:
    """Yields the path within the folder, and the bytes of each picture."""
    for split, count in zip(SPLITS, (pictures, val_pictures), strict=True):
        for number in range(classes * count):
            label, i = divmod(number, count)
            name = wordnet_id(label)
            file = f"{name}_{i}" if split == "train" else f"ILSVRC2012_val_{number + 1:08d}"
            odd = {1: "CMYK", 2: "PNG"}.get(label) if split == "train" and not i else None
            mode = odd or ("L" if number % GREY == GREY - 1 else "RGB")
            size = SIZES[number % len(SIZES)]
            seed = [SPLITS.index(split), label, i]
            yield f"{split}/{name}/{file}.JPEG", _encode(_draw(label, size, seed), mode)


def wordnet_id(label: int) -> str:
    """Name of a class, in the order of the labels: n01440764, which is ImageNet's first, n01441998 and so on."""
    return f"n{1440764 + 1234 * label:08d}"


def _draw(label: int, size: tuple[int, int], seed: list[int]) -> np.ndarray:
    """Stripes uint8 [height, width, 3]: colour, direction and width are the class's, place and noise the picture's."""
    rng = np.random.default_rng(seed)
    width, height = size
    angle = np.pi * (0.382 * label % 1)
    period = 16 + 8 * (label % 5)
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    turned = np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y
    stripes = np.sin(turned * np.float32(2 * np.pi / period) + np.float32(rng.uniform(0, 2 * np.pi)))
    colour = np.float32(colorsys.hsv_to_rgb(0.618 * label % 1, 0.6, 1))
    light = 110 + 50 * stripes + np.float32(rng.uniform(-30, 30))
    noise = rng.integers(-40, 41, (height, width, 1), dtype=np.int8)
    return np.clip(light[..., None] * colour + noise, 0, 255).astype(np.uint8)


def _encode(pixels: np.ndarray, mode: str) -> bytes:
    image, file = Image.fromarray(pixels), io.BytesIO()
    if mode == "PNG":
        image.save(file, "PNG", compress_level=1)
    else:
        image.convert(mode).save(file, "JPEG", quality=85)
    return file.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--classes", type=int, default=12)
    parser.add_argument("--pictures", type=int, default=8, help="of each class in train/")
    parser.add_argument("--val_pictures", type=int, default=4, help="of each class in val/")
    args = parser.parse_args()
    print(write(args.folder, classes=args.classes, pictures=args.pictures, val_pictures=args.val_pictures))


if __name__ == "__main__":
    main()
