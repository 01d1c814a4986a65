"""The index of a folder's pictures: what is known of each, in compact arrays that are kept on disk.

Training runs map the arrays into memory. All processes see what one of them adds.
"""

import contextlib
import hashlib
import json
import logging
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from kdzoo import files
from kdzoo.data.decoding import LIBRARIES

_log = logging.getLogger(__name__)

CONTENT_DIGEST = 16  # bytes of the BLAKE2b digest of a picture's content
ENTRY = np.dtype(
    [
        ("start", "<u8"),  # of its path in all paths
        ("length", "<u2"),  # of its path, in bytes
        ("size", "<i8"),  # in bytes
        ("time", "<i8"),  # of its last change, in nanoseconds
        ("label", "<i4"),
        ("digest", "<u4", 4),  # of its content
        ("check", "<u4"),  # of the digest; 0 while that is unknown
    ]
)
_OF_FILE = ("start", "length", "size", "time", "label")  # the fields that are known without reading the picture
_PART = 2**16  # bytes or entries that are compared at once
_Read = Callable[[bytes, int], tuple[bytes, int]]


class PictureIndex:
    """The pictures of one split, in canonical order.

    Args:
        paths: uint8, their relative paths; perhaps with those of others.
        entries: of dtype `ENTRY` [n].
        folder: that holds files of both; None: they are in memory only.
        split: name of the split.

    Attributes:
        replaced: digests of pictures that others of the same size replaced, by index: when first read, and now.
    """

    def __init__(
        self, paths: np.ndarray, entries: np.ndarray, folder: pathlib.Path | None = None, split: str = ""
    ) -> None:
        self.paths, self.entries, self.folder, self._split = paths, entries, folder, split
        self.replaced: dict[int, tuple[bytes, bytes]] = {}

    @classmethod
    def open(cls, folder: pathlib.Path, split: str, mode: Any = "r") -> "PictureIndex":
        """Maps a kept index into memory, to read it or, with mode "r+", to add to it.

        Raises:
            OSError: if there is none.
            ValueError: if its files are damaged so that they are no arrays.
        """
        paths = np.memmap(folder / "paths", np.uint8, "r")
        return cls(paths, np.memmap(folder / split, ENTRY, mode), folder, split)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.folder is None:
            return PictureIndex, (self.paths, self.entries)
        return PictureIndex.open, (self.folder, self._split)

    def path(self, index: int) -> bytes:
        """The relative path of a picture."""
        entry = self.entries[index]
        start = int(entry["start"])
        return self.paths[start : start + int(entry["length"])].tobytes()

    def digest(self, index: int) -> bytes | None:
        """The digest of a picture's content; None if it is not known."""
        entry = self.entries[index]
        digest = entry["digest"]
        return digest.tobytes() if entry["check"] == _check(digest) else None

    def keep_digest(self, index: int, digest: bytes) -> None:
        """Adds the digest of a picture's content."""
        words = np.frombuffer(digest, "<u4")
        self.entries["digest"][index] = words
        self.entries["check"][index] = _check(words)

    def known_digests(self) -> np.ndarray:
        """The digests that are known: bytes of length `CONTENT_DIGEST`, in a NumPy array."""
        digests = self.entries["digest"]
        known = np.ascontiguousarray(digests[self.entries["check"] == _check(digests)])
        return known.view(f"S{CONTENT_DIGEST}").reshape(-1)

    def keep_fault(self, index: int, reason: str) -> None:
        """Adds that a picture cannot be decoded. A disk that does not take this line does no harm."""
        if self.folder:
            line = {"index": index, "time": int(self.entries["time"][index]), "libraries": LIBRARIES, "reason": reason}
            with contextlib.suppress(OSError), open(self.folder / f"{self._split}.faults", "a") as file:
                file.write(f"\n{json.dumps(line)}\n")  # a killed process may have left half a line

    def faults(self) -> Iterator[tuple[int, str]]:
        """Yields pictures that these versions of the libraries could not decode, with the reason."""
        if not self.folder:
            return
        with contextlib.suppress(FileNotFoundError), open(self.folder / f"{self._split}.faults", "rb") as file:
            for line in file:
                with contextlib.suppress(ValueError, TypeError, KeyError, IndexError):  # of a damaged line
                    fault = json.loads(line)
                    index, reason = fault["index"], fault["reason"]
                    if fault["time"] == self.entries["time"][index] and fault["libraries"] == LIBRARIES:
                        yield int(index), str(reason)


def content_digest(content: bytes) -> bytes:
    """The digest of a picture's content."""
    return hashlib.blake2b(content, digest_size=CONTENT_DIGEST).digest()


def keep(folder: pathlib.Path, indices: dict[str, PictureIndex], read: _Read | None = None) -> dict[str, PictureIndex]:
    """Keeps indices of splits on disk, with the digests that the disk has for files of the same time.

    Args:
        folder: for these pictures alone: their paths, sizes and labels. Made if it does not exist.
        indices: in memory, by the name of their split.
        read: returns the content and the time of a file by its path and size. Files of another time are compared with
            their digests; None: they lose them.

    Returns:
        The same, mapped from files; or as they were, after a warning, if the disk is full or cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return {split: _keep(folder, split, index, read) for split, index in indices.items()}
    except OSError as error:
        _log.warning(
            "The index of pictures stays in memory, and is made anew next time: %s: %s", folder, error.strerror
        )
        return indices


def _keep(folder: pathlib.Path, split: str, index: PictureIndex, read: _Read | None) -> PictureIndex:
    replaced = _read_replaced(folder / f"{split}.replaced", len(index.entries))
    index.replaced = dict(replaced)
    is_kept = False
    with contextlib.suppress(FileNotFoundError):
        is_kept = _is_kept(folder, split, index, read)
    if not is_kept:
        if index.replaced != replaced:  # first, so that no new digest is kept without it
            _write_replaced(folder / f"{split}.replaced", index.replaced)
        files.write_atomically(folder / "paths", index.paths.data)
        files.write_atomically(folder / split, index.entries.view(np.uint8).data)
    kept = PictureIndex.open(folder, split, "r+")
    kept.replaced = index.replaced
    return kept


def _read_replaced(path: pathlib.Path, count: int) -> dict[int, tuple[bytes, bytes]]:
    with contextlib.suppress(FileNotFoundError, ValueError, AttributeError, TypeError):  # of a damaged file
        found = json.loads(path.read_bytes()).items()
        digests = {int(index): (bytes.fromhex(first), bytes.fromhex(now)) for index, (first, now) in found}
        return {index: both for index, both in digests.items() if 0 <= index < count}
    return {}


def _write_replaced(path: pathlib.Path, replaced: dict[int, tuple[bytes, bytes]]) -> None:
    content = {str(index): [first.hex(), now.hex()] for index, (first, now) in sorted(replaced.items())}
    files.write_atomically(path, json.dumps(content).encode())


def _is_kept(folder: pathlib.Path, split: str, index: PictureIndex, read: _Read | None) -> bool:
    """Whether the files of a folder are this index. Takes from them the digests of pictures that are the same.

    Reads them in parts, so that memory does not hold two indices.
    """
    is_kept = True
    with open(folder / "paths", "rb") as file:
        paths = index.paths.data
        for first in range(0, len(paths), _PART):
            part = paths[first : first + _PART]
            if file.read(len(part)) != part:
                return False
        if file.read(1):
            return False
    with open(folder / split, "rb") as file:
        for first in range(0, len(index.entries), _PART):
            entries = index.entries[first : first + _PART]
            content = file.read(entries.nbytes)
            kept = np.frombuffer(content, ENTRY, len(content) // ENTRY.itemsize)
            is_kept &= len(kept) == len(entries)
            entries = entries[: len(kept)]
            of_time = kept["time"] == entries["time"]
            of_path = np.logical_and.reduce([kept[field] == entries[field] for field in _OF_FILE if field != "time"])
            same = of_path & of_time
            is_kept &= bool(same.all())
            for field in ("digest", "check"):
                entries[field][same] = kept[field][same]
            if read:
                known = kept["check"] == _check(kept["digest"])
                for position in np.flatnonzero(of_path & ~of_time & known).tolist():
                    _compare(index, first + position, kept[position], read)
        return is_kept and not file.read(1)


def _compare(index: PictureIndex, position: int, kept: np.void, read: _Read) -> None:
    """Compares a file that has another time with the picture that was kept."""
    entry, known = index.entries[position], kept["digest"].tobytes()
    index.keep_digest(position, known)
    try:
        content, time = read(index.path(position), int(entry["size"]))
    except OSError:
        content, time = b"", -1
    if time != entry["time"]:
        index.entries["time"][position] = kept["time"]  # so that the next run compares it
        return
    digest = content_digest(content)
    index.keep_digest(position, digest)
    first, _ = index.replaced.pop(position, (known, known))
    if digest != first:
        index.replaced[position] = first, digest


def _check(digests: np.ndarray) -> Any:
    """A checksum of digests [..., 4]: uint32 [...]. A digest half of which reached the disk has another."""
    return np.bitwise_xor.reduce(digests, axis=-1) ^ np.uint32(0x9E3779B9)
