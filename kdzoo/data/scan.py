"""Finding the pictures of a folder: their paths, sizes and times, in arrays and in the order of their paths."""

import dataclasses
import hashlib
import logging
import os
import re
import stat
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from kdzoo.data.picture_index import ENTRY
from zoo import InputError

_log = logging.getLogger(__name__)

# What Keras's image_dataset_from_directory and torchvision's ImageFolder take, but for PPM and PGM, and other names of
# the same formats.
EXTENSIONS = frozenset(b".jpg .jpeg .jpe .jfif .png .webp .bmp .gif .tif .tiff".split())
PATH_DIGEST = 16  # bytes of the BLAKE2b digest of a path
_ENTRY = struct.Struct("<QHqqi20x")  # the fields of `ENTRY`
_NAMED = 5  # files in a line of the log
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclasses.dataclass(frozen=True)
class Scan:
    """Pictures in folders, sorted by folder, then by name; the pictures in a directory come before its directories.

    Attributes:
        paths: uint8, the relative paths one after the other, with / between their parts, for example train/cat/1.jpg.
        entries: of dtype `picture_index.ENTRY` [n], with no digests of contents.
        digests: uint64 [n, 2], BLAKE2b of each path. Their order is the canonical order.
        readable: bool [n], whether this process may read the file.
        counts: number of pictures in each folder.
    """

    paths: np.ndarray
    entries: np.ndarray
    digests: np.ndarray
    readable: np.ndarray
    counts: list[int]


class _File(NamedTuple):
    path: bytes  # relative
    size: int
    time: int
    readable: bool


def scan(root: bytes, folders: Iterable[tuple[bytes, int]]) -> Scan:
    """Finds the pictures in folders, and in all folders within them: by the ends of their names, whatever they hold.

    Hidden files and folders are ignored. Links are followed, but not to a folder that holds them.

    Args:
        root: a directory.
        folders: paths below it, or b"" for itself, and the label of their pictures.

    Raises:
        InputError: if a folder cannot be read.
    """
    paths, entries, digests, readable = bytearray(), bytearray(), bytearray(), bytearray()
    counts: list[int] = []
    skipped: list[bytes] = []
    for folder, label in folders:
        before = len(readable)
        for file in _walk(root, folder, skipped):
            entries += _ENTRY.pack(len(paths), len(file.path), file.size, file.time, label)
            paths += file.path
            digests += path_digest(file.path)
            readable.append(file.readable)
        counts.append(len(readable) - before)
    if skipped:
        names = first_names(sorted(skipped))
        _log.warning("%d names are left out, links in circles or to nothing, or no files: %s", len(skipped), names)
    return Scan(
        paths=np.frombuffer(paths, np.uint8),
        entries=np.frombuffer(entries, ENTRY),
        digests=np.frombuffer(digests, ">u8").reshape(-1, 2),
        readable=np.frombuffer(readable, bool),
        counts=counts,
    )


def folders_in(directory: bytes) -> list[bytes]:
    """Names of the folders in a directory, sorted, without hidden ones.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        with os.scandir(directory) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(b"."))
    except OSError as error:
        raise _unreadable(directory, error) from None


def path_digest(path: bytes) -> bytes:
    """The BLAKE2b digest of a relative path: examples are in the order of these."""
    return hashlib.blake2b(path, digest_size=PATH_DIGEST).digest()


def canonical_order(digests: np.ndarray) -> np.ndarray:
    """The positions of digests, big-endian uint64 [n, 2], in the order of their bytes: int64 [n]."""
    return np.lexsort((digests[:, 1], digests[:, 0]))


def printable(path: bytes) -> str:
    """A path as text of one line, whatever its bytes."""
    text = path.decode(errors="backslashreplace")
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def first_names(paths: list[bytes]) -> str:
    """The first of these paths, as text."""
    return ", ".join([*map(printable, paths[:_NAMED]), *["..."][: len(paths) > _NAMED]])


def _walk(root: bytes, folder: bytes, skipped: list[bytes]) -> Iterator[_File]:
    """Yields the pictures in a folder and below. Appends to `skipped` what cannot be one, or loops."""
    holders: tuple[tuple[int, int], ...] = ()
    if folder:
        holders = _identity(root), _identity(os.path.dirname(os.path.join(root, folder)))
    waiting = [(folder, holders)]
    while waiting:
        folder, holders = waiting.pop()
        directory = os.path.join(root, folder)
        identity = _identity(directory)
        if identity in holders:
            skipped.append(folder)
            continue
        try:
            with os.scandir(directory) as listed:
                entries = [entry for entry in listed if not entry.name.startswith(b".")]
        except OSError as error:
            raise _unreadable(directory, error) from None
        entries.sort(key=os.DirEntry.inode, reverse=True)  # disks are read fastest in the order of inodes
        files, folders, prefix = [], [], folder and folder + b"/"
        while entries:
            entry = entries.pop()  # each takes much memory, and more once inspected
            path = prefix + entry.name
            try:
                if entry.is_dir():
                    folders.append(path)
                elif entry.name[entry.name.rfind(b".") :].lower() in EXTENSIONS:
                    files.append(_inspect(entry, path))
            except OSError:  # a link to nothing or to itself, no regular file, or one that has just been removed
                skipped.append(path)
        yield from sorted(files)
        waiting += [(path, (*holders, identity)) for path in sorted(folders, reverse=True)]


def _identity(directory: bytes) -> tuple[int, int]:
    try:
        status = os.stat(directory)
    except OSError as error:
        raise _unreadable(directory, error) from None
    return status.st_dev, status.st_ino


def _inspect(entry: os.DirEntry[bytes], path: bytes) -> _File:
    status = entry.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError("reading a pipe or a device may never end")
    return _File(path, status.st_size, status.st_mtime_ns, os.access(entry.path, os.R_OK))


def _unreadable(directory: bytes, error: OSError) -> InputError:
    return InputError(
        "A folder of pictures must be one that can be read, for example photos with photos/cat/1.jpg."
        f" Received: {printable(directory)}: {error.strerror}"
    )
