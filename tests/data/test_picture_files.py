"""The files of a folder of pictures: sorted, without loops, whatever is in the way named."""

import os
import pathlib

import pytest

from kdzoo.data import picture_files


def listed(path: str | pathlib.Path) -> tuple[list[str], list[tuple[str, str]]]:
    unreadable: list[tuple[str, str]] = []
    return list(picture_files.list_files(str(path), lambda *reason: unreadable.append(reason))), unreadable


def test_files_are_sorted_by_their_paths(tmp_path: pathlib.Path) -> None:
    names = ["a/b.png", "a/c/d.png", "a-b/z.png", "a.png", "é.png", "b/ü/x y.png", "10.png", "9.png"]
    for name in [*names, "a/x.csv.01234567.partial"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert listed(tmp_path) == (sorted(str(tmp_path / name) for name in names), [])
    assert listed(f"{tmp_path}/")[0] == listed(tmp_path)[0]
    assert listed(tmp_path / "a.png") == ([str(tmp_path / "a.png")], [])


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path: pathlib.Path) -> None:
    (tmp_path / "photos/inner").mkdir(parents=True)
    (tmp_path / "photos/inner/a.png").touch()
    (tmp_path / "photos/inner/up").symlink_to(tmp_path / "photos")
    (tmp_path / "photos/same").symlink_to("inner")
    (tmp_path / "photos/gone").symlink_to("none")
    (tmp_path / "photos/self").symlink_to("self")
    found, unreadable = listed(tmp_path / "photos")
    photos = tmp_path / "photos"
    assert found == [str(photos / name) for name in ("gone", "inner/a.png", "same/a.png", "self")]
    loops = [str(photos / name) for name in ("inner/up", "same/up")]
    assert unreadable == [(loop, "a link to a folder that holds it") for loop in loops]


def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no regular file"):
        picture_files.read_file(str(tmp_path / "pipe"))
    with open(tmp_path / "large", "wb") as file:
        file.truncate(picture_files.MOST_BYTES + 1)
    with pytest.raises(OSError, match="more than 1,073,741,824 bytes"):
        picture_files.read_file(str(tmp_path / "large"))
    (tmp_path / "small").write_bytes(b"x")
    assert picture_files.read_file(str(tmp_path / "small")) == b"x"
