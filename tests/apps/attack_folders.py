"""Hostile folders of pictures, as data sets, for the attacks of tests/attacks.md."""

import io
import json
import os
import pathlib
import struct
from collections.abc import Callable

import numpy as np
from PIL import Image

from attack_pictures import bomb, encode
from attack_states import STATES, Shared, copy, state

COUNT = 110  # pictures of a class: two of 220 may be no pictures
DATA = {"test_share": 0.2, "image_size": 16, "dataset_name": "imagenet2012"}  # whose mean is known


def _save(kind: str, image: Image.Image, **settings: object) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **settings)
    return content.getvalue()


def _write(folder: pathlib.Path, *classes: str, count: int = COUNT, size: int = 20) -> pathlib.Path:
    """Pictures of one size; each is another."""
    rng = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (size, size, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def _folder_state(name: str, change: Callable[[pathlib.Path], object]) -> None:
    """Defines a folder with the classes a and b that `change` changes in place."""

    def make(_: Shared, tmp: pathlib.Path) -> pathlib.Path:
        folder = _write(tmp / name, "a", "b")
        change(folder)
        return folder

    STATES[f"folder_{name}"] = make


def _file(name: str, content: Callable[[], bytes]) -> Callable[[pathlib.Path], object]:
    """Adds a file."""
    return lambda folder: (folder / name).write_bytes(content())


def _jpeg_bomb() -> bytes:
    """A JPEG whose header claims 30,000 x 30,000 pixels."""
    content = encode("JPEG", (40, 30))
    place = content.index(b"\xff\xc0") + 5
    return content[:place] + struct.pack(">HH", 30_000, 30_000) + content[place + 4 :]


def _animation() -> bytes:
    frames = [Image.new("RGB", (20, 20), (shade, 0, 0)) for shade in (0, 100, 200)]
    return _save("GIF", frames[0], save_all=True, append_images=frames[1:], duration=50)


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return _save("JPEG", Image.new("RGB", (30, 20), "red"), exif=exif)


def _links(folder: pathlib.Path) -> None:
    """Links in circles and to nothing, a pipe, and a folder that is named like a picture."""
    (folder / "a/up").symlink_to("..")
    (folder / "a/self.png").symlink_to("self.png")
    (folder / "b/gone.png").symlink_to("nothing.png")
    os.mkfifo(folder / "b/pipe.png")
    (folder / "b/album.png").mkdir()


def _odd_names(folder: pathlib.Path) -> None:
    for name in (b"two\nlines.png", b"\xff\xfe.png", "\u732b\u2028\U0001f408.png".encode(), b"%s{}'\".png", b"-x.png"):
        with open(os.path.join(os.fsencode(folder), b"a", name), "wb") as file:
            file.write(encode("PNG"))


def _nest(folder: pathlib.Path) -> None:
    (folder / "b").rename(folder / "a" / "b")
    (folder / "a").rename(folder / "c")


def _many_broken(folder: pathlib.Path) -> None:
    for number in range(5):
        (folder / f"a/{number}.png").write_bytes(b"")


for _name, _change in {
    "good": lambda folder: None,
    "truncated": _file("a/half.png", lambda: encode("PNG")[:600]),
    "truncated_jpeg": _file("a/half.jpg", lambda: encode("JPEG")[:700]),
    "zero": _file("a/zero.jpg", lambda: b""),
    "text": _file("a/text.jpg", lambda: b"no picture"),
    "other_end": _file("a/png.jpg", lambda: encode("PNG")),
    "bomb": _file("a/bomb.png", bomb),
    "bomb_jpeg": _file("a/bomb.jpg", _jpeg_bomb),
    "pixel": _file("a/pixel.png", lambda: encode("PNG", (1, 1))),
    "deep": _file("a/16.png", lambda: _save("PNG", Image.fromarray(np.full((9, 9), 40_000, np.uint16)))),
    "animated": _file("a/cat.gif", _animation),
    "cmyk": _file("a/cmyk.jpg", lambda: _save("JPEG", Image.new("CMYK", (20, 20), (9, 8, 7, 6)))),
    "turned": _file("a/turned.jpg", _turned),
    "links": _links,
    "unreadable": lambda folder: (folder / "a/0.png").chmod(0),
    "odd_names": _odd_names,
    "empty_class": lambda folder: (folder / "c").mkdir(),
    "class_of_one": lambda folder: [(folder / f"b/{number}.png").unlink() for number in range(1, COUNT)],
    "one_class": lambda folder: (folder / "a").rename(folder / "b/a"),
    "nested": _nest,
    "class_bytes": lambda folder: os.mkdir(os.path.join(os.fsencode(folder), b"\xff\xfe")),
    "class_lines": lambda folder: (folder / "two\nlines").mkdir(),
    "many_broken": _many_broken,
    "two_sizes": _file("a/large.png", lambda: encode("PNG", (21, 20))),
}.items():
    _folder_state(_name, _change)


@state
def folder_lines(_: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """A folder without pictures whose own name has two lines."""
    for name in "ab":
        (tmp / "two\nlines" / name).mkdir(parents=True)
    return tmp / "two\nlines"


@state
def folder_test_only(_: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """A class of test pictures that has no training pictures."""
    return _write(tmp / "split", "train/a", "train/b", "test/a", "test/c", count=3)


def _names_state(name: str, content: bytes) -> None:
    """Defines a file that lists classes."""

    def make(_: Shared, tmp: pathlib.Path) -> pathlib.Path:
        (tmp / "names.txt").write_bytes(content)
        return tmp / "names.txt"

    STATES[f"names_{name}"] = make


for _name, _content in {
    "other": b"a\nc\n",
    "twice": b"a\nb\na\n",
    "binary": bytes(range(128, 256)),
    "empty": b"",
}.items():
    _names_state(_name, _content)


def _shared_folder(shared: Shared) -> pathlib.Path:
    folder = shared.folder / "pictures"
    return folder if folder.exists() else _write(folder, "a", "b")


@state
def folder_run(shared: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """A finished run on a folder of pictures."""
    if not (shared.folder / "folder_run").exists():
        shared.train("folder_run", dataset=f"folder:{_shared_folder(shared)}", **DATA)
    return copy(shared.folder / "folder_run", tmp / "folder_run")


def _run_on(name: str, change: Callable[[pathlib.Path], object]) -> None:
    """Defines the same run, with its pictures moved to a folder that `change` changes in place."""

    def make(shared: Shared, tmp: pathlib.Path) -> pathlib.Path:
        run, folder = folder_run(shared, tmp), copy(_shared_folder(shared), tmp / "moved")
        change(folder)
        record = json.loads((run / "record.json").read_text())
        record["config"]["dataset"] = f"folder:{folder}"
        (run / "record.json").write_text(json.dumps(record))
        return run

    STATES[f"folder_run_{name}"] = make


_run_on("gone", lambda folder: folder.rename(folder.with_name("elsewhere")))
_run_on("more", _file("b/new.png", lambda: encode("PNG")))
