"""The kept index of a folder's pictures: found again, damaged, old, or on a disk that takes none."""

import json
import logging
import pickle
import resource

import numpy as np
import pytest

from conftest import run_python
from kdzoo.data import picture_index
from kdzoo.data.picture_index import CONTENT_DIGEST, ENTRY, PictureIndex, content_digest, keep


def made(count=40, *, time=5, split="train"):
    """The index of `count` pictures in memory."""
    names = [f"{split}/猫/{number}.jpg".encode() for number in range(count)]
    entries = np.zeros(count, ENTRY)
    entries["length"] = [len(name) for name in names]
    entries["start"] = np.cumsum(entries["length"]) - entries["length"]
    entries["size"], entries["label"], entries["time"] = np.arange(count) + 10, np.arange(count) % 3, time
    return PictureIndex(np.frombuffer(b"".join(names), np.uint8), entries)


def keep_one(folder, **settings):
    return keep(folder, {"train": made(**settings)})["train"]


def digest_of(number):
    return number.to_bytes(CONTENT_DIGEST, "little")


@pytest.fixture
def kept(tmp_path):
    """A folder with an index that knows digests 0 to 29."""
    index = keep_one(tmp_path / "index")
    for number in range(30):
        index.keep_digest(number, digest_of(number))
    return tmp_path / "index"


def known(index):
    return [number for number in range(len(index.entries)) if index.digest(number) is not None]


def test_paths_and_digests_are_found_again(kept):
    index = keep_one(kept)
    assert index.path(7).decode() == "train/猫/7.jpg"
    assert [index.digest(number) for number in range(30)] == list(map(digest_of, range(30)))  # the first is all zeros
    assert known(index) == list(range(30))
    assert index.known_digests().tolist() == [digest.rstrip(b"\0") for digest in map(digest_of, range(30))]


def test_an_index_takes_at_most_60_bytes_beside_the_path():
    assert ENTRY.itemsize <= 60


def test_the_same_pictures_leave_the_kept_files_as_they_are(kept):
    before = {path: path.stat().st_ino for path in kept.iterdir()}
    keep_one(kept)
    assert {path: path.stat().st_ino for path in kept.iterdir()} == before
    assert set(before) == {kept / "paths", kept / "train"}


def test_without_a_reader_files_of_another_time_lose_their_digests(kept):
    times = np.full(40, 5)
    times[10:20] = 6
    assert known(keep_one(kept, time=times)) == [*range(10), *range(20, 30)]
    assert known(keep_one(kept, time=times)) == [*range(10), *range(20, 30)]


def contents_of(pictures, *, time=6):
    """Reads the picture of a path: content of the size that `made` gives it."""

    def read(path, size):
        number = int(path.decode().rpartition("/")[2].removesuffix(".jpg"))
        if number not in pictures:
            raise FileNotFoundError(number)
        assert size == number + 10
        return pictures[number].ljust(size), time

    return read


@pytest.fixture
def read_before(tmp_path):
    """A folder with an index that knows digests 0 to 29 of contents."""
    index = keep_one(tmp_path / "index")
    for number in range(30):
        index.keep_digest(number, content_digest(b"first".ljust(number + 10)))
    return tmp_path / "index"


def keep_read(folder, read, *, retimed=range(10), time=6):
    times = np.full(40, 5)
    times[list(retimed)] = time
    return keep(folder, {"train": made(time=times)}, read)["train"]


def test_files_of_another_time_are_compared_with_their_digests(read_before):
    first = [content_digest(b"first".ljust(number + 10)) for number in range(30)]
    pictures = dict.fromkeys(range(10), b"first") | {3: b"second", 7: b"second"}
    index = keep_read(read_before, contents_of(pictures))
    second = {number: content_digest(b"second".ljust(number + 10)) for number in (3, 7)}
    assert [index.digest(number) for number in range(30)] == [second.get(i, first[i]) for i in range(30)]
    assert index.replaced == {number: (first[number], second[number]) for number in (3, 7)}
    assert index.entries["time"].tolist() == [6] * 10 + [5] * 30
    again = keep_read(read_before, contents_of({}))  # nothing is read twice
    assert again.replaced == index.replaced
    assert again.digest(3) == second[3]
    restored = keep_read(read_before, contents_of({3: b"first"}, time=7), retimed=[3], time=7)
    assert restored.replaced == {7: (first[7], second[7])}


def test_a_file_that_cannot_be_read_or_is_being_written_is_compared_next_time(read_before):
    for read in (contents_of({}), contents_of({3: b"second"}, time=9)):
        index = keep_read(read_before, read, retimed=[3])
        assert index.replaced == {}
        assert index.entries["time"][3] == 5
    assert keep_read(read_before, contents_of({3: b"second"}), retimed=[3]).replaced.keys() == {3}


@pytest.mark.parametrize("content", ["", "[]", "null", "{", '{"3": 5}', '{"x": ["00", "00"]}', '{"99": ["00", "00"]}'])
def test_damaged_replacements_are_forgotten(read_before, content):
    (read_before / "train.replaced").write_text(content)
    assert keep_read(read_before, contents_of({3: b"second"}), retimed=[3]).replaced.keys() == {3}
    assert json.loads((read_before / "train.replaced").read_text()).keys() == {"3"}


def test_a_full_disk_does_not_hide_replaced_pictures(read_before, caplog):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        index = keep_read(read_before, contents_of({3: b"second"}), retimed=[3])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "File too large" in caplog.text
    assert index.folder is None
    assert index.replaced.keys() == {3}
    assert keep_read(read_before, contents_of({3: b"second"}), retimed=[3]).replaced == index.replaced


@pytest.mark.parametrize(
    ("name", "damage", "digests"),
    [
        ("paths", lambda content: b"", []),
        ("paths", lambda content: content[:-7], []),
        ("paths", lambda content: content + b"more", []),
        ("paths", lambda content: b"T" + content[1:], []),
        ("train", lambda content: b"", []),
        ("train", lambda content: content[:-7], range(30)),
        ("train", lambda content: content[: 9 * ENTRY.itemsize + 3], range(9)),
        ("train", lambda content: content + b"more", range(30)),
        ("train", lambda content: bytes([content[0] ^ 1]) + content[1:], range(1, 30)),
        ("train", lambda content: bytes(len(content)), []),
    ],
    ids=range(10),
)
def test_a_damaged_index_is_made_anew_with_the_digests_that_are_left(kept, name, damage, digests):
    (kept / name).write_bytes(damage((kept / name).read_bytes()))
    for index in (keep_one(kept), keep_one(kept)):
        assert (index.paths == made().paths).all()
        for field in ("start", "length", "size", "time", "label"):
            assert (index.entries[field] == made().entries[field]).all()
        assert known(index) == list(digests)
        assert [index.digest(number) for number in digests] == list(map(digest_of, digests))


def test_a_digest_that_did_not_reach_the_disk_whole_is_unknown(kept):
    entries = np.memmap(kept / "train", ENTRY, "r+")
    entries["digest"][3, 1:] = 0xFFFFFFFF
    entries["digest"][4, 2] ^= 1 << 20
    entries["check"][5] = 0
    entries.flush()
    assert known(keep_one(kept)) == [0, 1, 2, *range(6, 30)]


def test_other_pictures_in_its_place_are_not_mixed_up(kept):
    index = keep_one(kept, count=39)
    assert len(index.entries) == 39
    assert known(index) == []
    assert known(keep_one(kept)) == []


def test_a_copy_in_another_process_sees_what_is_added(kept):
    index = keep_one(kept)
    copy = pickle.loads(pickle.dumps(index))
    assert copy.digest(35) is None
    index.keep_digest(35, digest_of(35))
    assert copy.digest(35) == digest_of(35)
    with pytest.raises(ValueError, match="read-only"):
        copy.keep_digest(36, digest_of(36))


def test_faults_are_kept_until_the_file_or_the_libraries_change(kept, monkeypatch):
    index = keep_one(kept)
    index.keep_fault(3, "truncated")
    index.keep_fault(4, "empty")
    with open(kept / "train.faults", "a") as file:
        file.write("{}\n[1]\nnull\nno JSON\n" + json.dumps({"index": 99, "reason": "", "time": 5, "libraries": "x"}))
        file.write('\n{"index": 1')  # by a process that was killed
    index.keep_fault(5, "no pixels")
    assert dict(keep_one(kept).faults()) == {3: "truncated", 4: "empty", 5: "no pixels"}
    assert dict(keep_one(kept, time=np.where(np.arange(40) == 3, 6, 5)).faults()) == {4: "empty", 5: "no pixels"}
    monkeypatch.setattr(picture_index, "LIBRARIES", "pillow 99")
    assert dict(keep_one(kept).faults()) == {}


def check_in_memory(index, caplog, reason):
    assert index.folder is None
    index.keep_digest(1, digest_of(1))
    index.keep_fault(2, "empty")
    assert known(index) == [1]
    assert known(pickle.loads(pickle.dumps(index))) == [1]
    assert [reason in record.getMessage() for record in caplog.records] == [True]


def test_where_no_folder_can_be_made_it_stays_in_memory(tmp_path, caplog):
    (tmp_path / "file").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        check_in_memory(keep_one(tmp_path / "file" / "index"), caplog, "stays in memory")


FULL = """
import pathlib, resource, sys
from kdzoo.data.folder import read_folder
folder, limit = sys.argv[1], int(sys.argv[2])
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
train, test, names, fingerprint = read_folder(folder, test_share=0.3)
train.keep_digest(0, train.read(0)[1])
train.leave_out(1, "truncated")
print(len(train) + len(test), train.read(0)[1], len(fingerprint))
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))  # for the file of branch coverage
"""


@pytest.mark.parametrize("limit", [0, 100, 1000])
def test_a_full_disk_costs_a_line_and_leaves_nothing_behind(tmp_path, limit):
    for letter in "ab":
        (tmp_path / "photos" / letter).mkdir(parents=True)
        for number in range(50):
            (tmp_path / "photos" / letter / f"{number}.jpg").write_bytes(b"123")
    result = run_python("-c", FULL, str(tmp_path / "photos"), str(limit), env={"KDZOO_CACHE": str(tmp_path / "cache")})
    assert result.stdout == "100 None 64\n", result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "stays in memory" in result.stderr
    assert "File too large" in result.stderr
    assert [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()] == (
        ["paths"] if limit == 1000 else []
    )
