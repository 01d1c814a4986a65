"""Folders of pictures: layouts, order, splits, and what is no such folder."""

import collections
import contextlib
import hashlib
import io
import logging
import multiprocessing
import os
import pickle
import socket

import numpy as np
import pytest
from PIL import Image

from conftest import run_python
from kdzoo.data import sources
from kdzoo.data.config import DataConfig
from kdzoo.data.decoding import Undecodable, open_picture
from kdzoo.data.folder import read_folder
from kdzoo.data.streaming import describe_contents
from zoo import InputError


def encoded(form="JPEG", shade=0, size=(6, 5)):
    file = io.BytesIO()
    Image.new("RGB", size, (shade, 0, 0)).save(file, form)
    return file.getvalue()


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Writes files of one folder, each with other content, and has indices kept beside it."""
    monkeypatch.setenv("KDZOO_CACHE", str(tmp_path / "cache"))

    def write(*names, contents=None):
        for number, name in enumerate(names):
            path = tmp_path / "photos" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(contents if contents is not None else encoded(shade=number % 256))
        return str(tmp_path / "photos")

    return write


def many(*folders, count=3):
    return [f"{folder}/{number}.jpg" for folder in folders for number in range(count)]


def paths(source):
    return [source.path(index) for index in range(len(source))]


def labels(source):
    return dict(zip(paths(source), source.labels.tolist(), strict=True))


def by_digest(names):
    return sorted(names, key=lambda name: hashlib.blake2b(name.encode(), digest_size=16).digest())


@pytest.mark.parametrize("second", ["test", "val"])
def test_folders_of_training_and_test_pictures(make, second):
    train, test, names, fingerprint = read_folder(make(*many("train/b", "train/a", f"{second}/a")))
    assert names == ("a", "b")
    assert paths(train) == by_digest(many("train/a", "train/b"))
    assert paths(test) == by_digest(many(f"{second}/a"))
    assert labels(train) == {path: "ab".index(path[6]) for path in many("train/a", "train/b")}
    assert train.labels.dtype == np.int32
    assert not train.left_out.any()
    assert len(fingerprint) == 64


def test_beside_test_pictures_val_is_not_used_and_the_log_names_it(make, caplog):
    with caplog.at_level(logging.WARNING):
        _, test, *_ = read_folder(make(*many("train/a", "train/b", "test/a", "val/b")))
    assert paths(test) == by_digest(many("test/a"))
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "test/ holds the test pictures, val/ is not used"
    ]


def test_a_read_gives_a_files_bytes_and_their_digest_until_it_is_known(make, tmp_path):
    train, *_ = read_folder(make(*many("train/a", "train/b", "test/a")))
    content, digest = train.read(4)
    assert content == (tmp_path / "photos" / train.path(4)).read_bytes()
    assert digest == hashlib.blake2b(content, digest_size=16).digest()
    train.keep_digest(4, digest)
    assert train.read(4) == (content, None)


def test_classes_are_sorted_by_code_point_or_as_a_file_lists_them(make, tmp_path):
    folder = make(*many("Zebra", "ant", "Äpfel", "猫", "10", "9", "می‌خواهم"))
    in_order = ("10", "9", "Zebra", "ant", "Äpfel", "می‌خواهم", "猫")
    assert read_folder(folder, test_share=0.2)[2] == in_order
    listed = tmp_path / "names.txt"
    listed.write_text("\n".join(reversed(in_order)) + "\n")
    train, test, names, _ = read_folder(folder, test_share=0.2, class_names=str(listed))
    assert names == in_order[::-1]
    for source in (train, test):
        assert labels(source) == {path: names.index(path.partition("/")[0]) for path in paths(source)}


@pytest.mark.parametrize(
    ("text", "received"),
    [
        ("a\n", "'b', a folder, but no line"),
        ("a\nb\nc\n", "'c', no folder of .*photos"),
        ("a\nb\na\n", "'a' more than once"),
        ("a\n\nb\n", "'', no folder"),
        (b"a\n\xff\n", "no text in UTF-8"),
        (None, "No such file"),
    ],
)
def test_class_names_must_be_those_of_the_folders(make, tmp_path, text, received):
    listed = tmp_path / "names.txt"
    if text is not None:
        listed.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=rf"class_names must .*Received: .*names.txt: {received}"):
        read_folder(make(*many("a", "b")), test_share=0.2, class_names=str(listed))


def test_nested_folders_belong_to_their_class_and_what_is_hidden_or_no_picture_does_not(make):
    folder = make(
        *many("a", "b"), "a/old/1.jpg", "a/old/x/y.PNG", "b/z.JPeG", "b/.hidden.jpg", "b/.git/1.jpg", ".c/1.jpg",
        "b/notes.txt", "b/jpg", "loose.jpg",
    )  # fmt: skip
    train, test, names, _ = read_folder(folder, test_share=0.3)
    assert names == ("a", "b")
    assert set(paths(train) + paths(test)) == {*many("a", "b"), "a/old/1.jpg", "a/old/x/y.PNG", "b/z.JPeG"}
    assert {**labels(train), **labels(test)}["a/old/x/y.PNG"] == 0


@pytest.mark.parametrize("end", ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "gif", "tif", "tiff", "TIFF"])
def test_ends_of_names(make, end):
    folder = make(*[f"{letter}/{number}.{end}" for letter in "ab" for number in range(2)])
    assert sum(map(len, read_folder(folder, test_share=0.5)[:2])) == 4


def test_a_split_by_share_stays_when_files_are_added(make):
    first = read_folder(make(*many("a", "b", count=200)), test_share=0.25)
    second = read_folder(make(*many("a", "b", "c", count=300)), test_share=0.25)
    for before, after in zip(first[:2], second[:2], strict=True):
        assert set(paths(before)) <= set(paths(after))
    counts = collections.Counter(second[1].labels.tolist())
    assert all(45 <= counts[label] <= 105 for label in range(3))
    assert not set(paths(second[0])) & set(paths(second[1]))


@pytest.mark.parametrize("share", [1e-9, 0.5, 1 - 1e-9])
def test_each_class_has_a_picture_of_each_kind_and_a_single_one_is_for_training(make, share):
    train, test, *_ = read_folder(make(*many("a", count=2), *many("b", count=9), "c/only.jpg"), test_share=share)
    assert set(train.labels.tolist()) == {0, 1, 2}
    assert set(test.labels.tolist()) == {0, 1}
    assert len(train) + len(test) == 12


def test_the_fingerprint_is_of_paths_sizes_labels_and_splits(make, tmp_path):
    folder = make(*many("a", "b", count=9))
    kept = [read_folder(folder, test_share=0.2)[3]]
    for path in (tmp_path / "photos").rglob("*.jpg"):
        os.utime(path, (1, 1))
    assert read_folder(folder, test_share=0.2)[3] == kept[0]
    os.rename(folder, tmp_path / "moved")
    assert read_folder(str(tmp_path / "moved"), test_share=0.2)[3] == kept[0]
    os.rename(tmp_path / "moved", folder)
    (tmp_path / "names.txt").write_text("b\na")
    kept.append(read_folder(folder, test_share=0.2, class_names=str(tmp_path / "names.txt"))[3])
    kept.append(read_folder(folder, test_share=0.5)[3])
    os.rename(f"{folder}/a/1.jpg", f"{folder}/a/11.jpg")
    kept.append(read_folder(folder, test_share=0.2)[3])
    with open(f"{folder}/a/2.jpg", "ab") as file:
        file.write(b" ")
    kept.append(read_folder(folder, test_share=0.2)[3])
    assert len(set(kept)) == 5


def test_a_picture_that_another_of_its_size_replaces_makes_another_data_set(make, tmp_path, caplog):
    folder = make(*many("a", "b", count=9))

    def read_all():
        train, test, _, fingerprint = read_folder(folder, test_share=0.2)
        for source in (train, test):
            for index in range(len(source)):
                if (digest := source.read(index)[1]) is not None:
                    source.keep_digest(index, digest)
        return fingerprint

    first = read_all()
    path = tmp_path / "photos/a/3.jpg"
    content = path.read_bytes()
    os.utime(path, (1, 1))
    assert read_all() == first
    path.write_bytes(content[:-1] + b"!")
    assert "other" not in caplog.text
    second = read_all()
    assert second != first
    assert "1 pictures are others than when first read, so this is another data set: a/3.jpg" in caplog.text
    assert read_all() == second
    path.write_bytes(content[:-1] + b"?")
    os.utime(path, (2, 2))
    third = read_all()
    assert third not in (first, second)
    path.write_bytes(content)
    assert read_all() == first
    (tmp_path / "photos/b/1.jpg").write_bytes(bytes(len(encoded(shade=10))))
    assert read_all() not in (first, second, third)


def test_links_are_followed_but_not_in_circles(make, caplog):
    folder = make(*many("a", "b"), "a/deep/er/1.jpg")
    links = {"a/deep/er/up": "../..", "b/own": ".", "c": "a", "b/all": "..", "b/more": "../a/deep", "b/x": "x"}
    for link, target in {**links, "a/4.jpg": "1.jpg", "a/5.jpg": "nothing.jpg", "a/6.jpg": "6.jpg"}.items():
        os.symlink(target, f"{folder}/{link}")
    train, test, names, _ = read_folder(folder, test_share=0.3)
    assert names == ("a", "b", "c")
    in_a = ["0.jpg", "1.jpg", "2.jpg", "4.jpg", "deep/er/1.jpg"]
    through_b = ["b/more/er/1.jpg", *(f"b/more/er/up/{name}" for name in in_a[:4])]
    expected = [f"{letter}/{name}" for letter in "ac" for name in in_a] + many("b") + through_b
    assert sorted(paths(train) + paths(test)) == sorted(expected)
    assert "a/5.jpg, a/6.jpg, a/deep/er/up, b/all, b/more/er/up/5.jpg, ..." in caplog.text


def test_pipes_sockets_and_folders_named_like_pictures_are_no_pictures(make, caplog):
    folder = make(*many("a", "b"), "a/album.jpg/1.jpg")
    os.mkfifo(f"{folder}/a/pipe.jpg")
    server = socket.socket(socket.AF_UNIX)
    server.bind(f"{folder}/a/s.jpg")
    train, test, *_ = read_folder(folder, test_share=0.3)
    server.close()
    assert set(paths(train) + paths(test)) == {*many("a", "b"), "a/album.jpg/1.jpg"}
    assert "a/pipe.jpg, a/s.jpg" in caplog.text


def test_names_of_files_may_be_any_bytes(make):
    folder = make(*many("a", "b"))
    names = [b"\xff\xfe.jpg", b"two\nlines.jpg", "ü \u2028é\u200d.jpg".encode(), b"'\".jpg", b"%s{}.jpg"]
    for name in names:
        with open(os.path.join(folder.encode(), b"a", name), "wb") as file:
            file.write(encoded())
    train, test, *_ = read_folder(folder, test_share=0.3)
    found = paths(train) + paths(test)
    assert {r"a/\xff\xfe.jpg", r"a/two\nlines.jpg", "a/ü \\u2028é\u200d.jpg"} <= set(found)
    assert all(len(path.splitlines()) == 1 and path.encode() for path in found)
    for source in (train, test):
        for index in range(len(source)):
            assert open_picture(source.read(index)[0], (0, 0, 0)).width == 6


@pytest.mark.parametrize(
    ("files", "share", "received"),
    [
        ([], 0.2, "no folder"),
        (["1.jpg"], 0.2, "0 folders of classes in .*photos"),
        (["a/1.txt", "b/2.csv"], 0.2, "no pictures in .*photos"),
        (many("a"), 0.2, "1 folders of classes in .*photos"),
        ([*many("a"), "b/1.txt"], 0.2, "none of b in"),
        (["a/1.jpg", "b/1.jpg"], 0.2, "none in"),
        (many("train/a", "train/b", "test/a", "test/c"), 0.0, "c in .*photos/test"),
        ([*many("train/a", "test/a", "test/b"), "train/b/1.txt"], 0.0, "none of b in"),
        ([*many("train/a", "train/b"), "val/1.jpg"], 0.0, "none in"),
        (many("train/a", "train/b", "test/a"), 0.2, r"0.2 for .*photos"),
        (many("a", "b"), 0.0, "0.0 for .*photos"),
        (many("a", "b"), 1.0, "1.0 for .*photos"),
        (many("a", "b"), float("nan"), "nan for .*photos"),
        (many("train/a", "train/b"), 0.0, "0.0 for"),
    ],
    ids=range(14),
)
def test_what_is_no_such_folder_is_refused_in_one_line(make, files, share, received):
    with pytest.raises(InputError, match=rf"must .*Received: .*{received}") as caught:
        read_folder(make(*files), test_share=share)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [b"\xff\xfe", b"two\nlines", "\u2028".encode()])
def test_names_of_classes_must_be_lines_of_text(make, name):
    folder = make(*many("a", "b"))
    os.mkdir(os.path.join(folder.encode(), name))
    with pytest.raises(InputError, match="Received: ") as caught:
        read_folder(folder, test_share=0.2)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("path", ["", "a\0b", "\ud800", __file__])
def test_a_path_that_is_no_folder_is_refused(path):
    with pytest.raises(InputError, match=r"Received: no folder "):
        read_folder(path, test_share=0.2)


UNREADABLE = """
import os, sys
import numpy as np
from kdzoo.data.folder import read_folder
from zoo import InputError
folder, uid = sys.argv[1], int(sys.argv[2])
os.chmod(f"{folder}/a/1.jpg", 0)
if uid != os.getuid():
    os.setuid(uid)
for _ in range(2):
    train, test, _, fingerprint = read_folder(folder, test_share=0.3)
    for source in (train, test):
        print(*[f"{source.path(i)}: {source.faults[i]}" for i in np.flatnonzero(source.left_out)], sep="")
os.chmod(f"{folder}/b", 0)
try:
    read_folder(folder, test_share=0.3)
except InputError as error:
    print(error)
"""


def test_files_that_may_not_be_read_are_left_out_and_a_folder_is_refused(make, tmp_path):
    folder, uid = make(*many("a", "b")), os.getuid() or 65534  # root may read all
    for path in [tmp_path, *tmp_path.parents]:
        if path.owner() == "root" and uid == 65534 and not path.stat().st_mode & 1:
            path.chmod(path.stat().st_mode | 0o11)
    for path in [tmp_path / "photos", *(tmp_path / "photos").rglob("*")]:
        os.chown(path, uid, -1)
    result = run_python("-c", UNREADABLE, folder, str(uid), env={"KDZOO_CACHE": str(tmp_path / "open")})
    lines = [line for line in result.stdout.splitlines() if line]
    assert lines[:2] == ["a/1.jpg: not readable"] * 2, result.stderr
    assert lines[2].endswith(f"Received: {folder}/b: Permission denied")


def test_a_data_set_of_too_many_broken_pictures_leaves_no_workers_behind(make):
    folder = make(*many("a", "b"), "a/broken.jpg", contents=b"")
    with pytest.raises(InputError, match=r"At most 1%"):
        sources.load(DataConfig(f"folder:{folder}", test_share=0.2, image_size=8), workers=1)
    assert not multiprocessing.active_children()


def test_files_too_large_to_be_pictures_are_never_read(make):
    folder = make(*many("a", "b", count=100))
    train, *_ = read_folder(folder, test_share=0.2)
    first = os.path.join(folder, train.path(0))
    os.truncate(first, 2**40)  # takes no space
    with pytest.raises(InputError, match=rf"Received: {first}: {2**40} bytes, was [0-9]+$"):
        train.read(0)
    train, *_ = read_folder(folder, test_share=0.2)
    assert train.faults == {0: "more than 1,073,741,824 bytes"}
    for memory_gb in (4.0, 1e-6):
        dataset = sources.load(DataConfig(f"folder:{folder}", test_share=0.2, memory_gb=memory_gb))
        assert dataset.train.read(np.arange(3)).shape == (3, 5, 6, 3)
        assert dataset.contents["left_out"] == [train.path(0)]


def test_what_is_left_out_is_kept_for_later_runs_of_the_same_files(make):
    folder = make(*many("a", "b"))
    train, *_ = read_folder(folder, test_share=0.3)
    train.leave_out(1, "truncated")
    name = train.path(1)
    again, *_ = read_folder(folder, test_share=0.3)
    assert again.faults == {1: "truncated"}
    assert np.flatnonzero(again.left_out).tolist() == [1]
    os.utime(os.path.join(folder, name), (1, 1))
    assert not read_folder(folder, test_share=0.3)[0].left_out.any()


def test_a_file_that_has_changed_or_gone_ends_a_run_in_one_line(make, tmp_path):
    folder = make(*many("a", "b"))
    train, *_ = read_folder(folder, test_share=0.3)
    path = tmp_path / "photos" / train.path(0)
    content, digest = train.read(0)
    train.keep_digest(0, digest)
    os.utime(path, (1, 1))
    assert train.read(0) == (content, None)  # other time, same content
    path.write_bytes(content[:-1] + b"!")
    with pytest.raises(InputError, match=rf"must stay as it was .*Received: {path}: other content, of the same size"):
        train.read(0)
    path.write_bytes(content[:10])
    with pytest.raises(InputError, match=rf"Received: {path}: 10 bytes, was {len(content)}$"):
        train.read(0)
    path.unlink()
    with pytest.raises(InputError, match=rf"Received: {path}: No such file or directory$"):
        train.read(0)
    with pytest.raises(InputError, match="other content"):
        train.keep_digest(0, bytes(16))


def test_files_without_a_picture_are_found_when_they_are_decoded(make):
    make("a/empty.jpg", "b/empty.png", contents=b"")
    make("a/text.jpg", "b/page.png", contents=b"<html>not found</html>")
    folder = make("a/cut.jpg", "b/cut.jpg", contents=encoded()[:-200])
    make("a/png.jpg", "b/png.webp", contents=encoded("PNG"))
    train, test, *_ = read_folder(folder, test_share=0.5)
    decoded = set()
    for source in (train, test):
        for index in range(len(source)):
            with contextlib.suppress(Undecodable):
                open_picture(source.read(index)[0], (0, 0, 0)).pixels()
                decoded.add(source.path(index))
    assert decoded == {"a/png.jpg", "b/png.webp"}


def test_duplicates_between_training_and_test_pictures_are_counted_once_read(make):
    make(*many("train/a", "train/b", count=4))
    folder = make(*many("test/a", count=6))  # four files equal files of train/a
    train, test, *_ = read_folder(folder)
    assert describe_contents(train, test) == {}
    for source in (train, test):
        for index in range(len(source)):
            source.keep_digest(index, source.read(index)[1])
    assert describe_contents(train, test)["duplicates"] == 6
    assert describe_contents(test, train)["duplicates"] == 6


def test_workers_get_copies_that_see_the_same(make):
    train, *_ = read_folder(make(*many("a", "b")), test_share=0.3)
    pickled = pickle.dumps(train)
    assert len(pickled) < 1000  # a path, no arrays
    copy = pickle.loads(pickled)
    assert paths(copy) == paths(train)
    content, digest = copy.read(1)
    train.keep_digest(1, digest)
    assert copy.read(1) == (content, None)
