"""Folders of hostile pictures for the attacks of tests/attacks.md."""

import io
import os
import pathlib
import struct
import zlib

import numpy as np
from PIL import Image

from attack_states import Shared, state


def encode(kind: str, size: tuple[int, int] = (40, 30)) -> bytes:
    content = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(content, format=kind)
    return content.getvalue()


def bomb() -> bytes:
    """A PNG whose header claims 30,000 x 30,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(header) - 4) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + encode("PNG")[33:]


def _write_hostile(folder: pathlib.Path) -> pathlib.Path:
    folder.mkdir()
    jpeg, png = encode("JPEG"), encode("PNG")
    files = {
        "half.jpg": jpeg[: len(jpeg) // 2],
        "half.png": png[: len(png) // 2],
        "empty.png": b"",
        "bomb.png": bomb(),
    }
    files |= {
        "noise.jpg": os.urandom(5000),
        "header.jpg": jpeg[:4],
        "notes.txt": b"no picture",
        "vector.svg": b"<svg/>",
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    os.mkfifo(folder / "pipe.png")
    (folder / "circle").symlink_to(folder)
    (folder / "gone.png").symlink_to("none.png")
    (folder / "self.png").symlink_to("self.png")
    return folder


@state
def photos(_: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """Two pictures."""
    (tmp / "photos").mkdir()
    (tmp / "photos/a.jpg").write_bytes(encode("JPEG"))
    (tmp / "photos/b.png").write_bytes(encode("PNG", (1, 1)))
    return tmp / "photos"


@state
def photos_hostile(_: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """Files that are no pictures, and one that is."""
    folder = _write_hostile(tmp / "hostile")
    (folder / "good, really.webp").write_bytes(encode("WEBP"))
    return folder


@state
def photos_none(_: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """Files that are no pictures."""
    return _write_hostile(tmp / "none")
