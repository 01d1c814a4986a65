"""Data sets in a folder of pictures: train/CLASS/* with test/CLASS/* or val/CLASS/*, or CLASS/* alone."""

import collections
import functools
import hashlib
import logging
import os
import pathlib
from collections.abc import Iterable

import numpy as np

from kdzoo import user_folders
from kdzoo.data import picture_index
from kdzoo.data.indexed_source import IndexedSource
from kdzoo.data.picture_files import MOST_BYTES
from kdzoo.data.picture_index import PictureIndex, content_digest
from kdzoo.data.scan import Scan, canonical_order, first_names, folders_in, printable, scan
from zoo import InputError

_log = logging.getLogger(__name__)

_RULE = (
    "A folder of pictures must hold train/CLASS/* with test/CLASS/* or val/CLASS/*, or CLASS/*, of two classes or more"
)
_EXAMPLE = "for example photos with photos/cat/1.jpg and photos/dog/1.jpg"


class FolderSource(IndexedSource):
    """The pictures of one split of a folder, in the order of the BLAKE2b digests of their paths.

    Args:
        root: the folder.
        index: of the pictures.
    """

    def __init__(self, root: bytes, index: PictureIndex) -> None:
        super().__init__(index)
        self._root = root

    def __reduce__(self) -> tuple[type, tuple[bytes, PictureIndex]]:
        return FolderSource, (self._root, self._index)

    def read(self, index: int) -> tuple[bytes, bytes | None]:
        path = self._index.path(index)
        entry = self._index.entries[index]
        try:
            content, time = _read(self._root, path, entry["size"])
        except OSError as error:
            raise self._changed(path, str(error.strerror)) from None
        known = self._index.digest(index)
        if known is not None and time == entry["time"]:
            return content, None
        digest = content_digest(content)
        if known is not None:
            self._check(path, known, digest)
        return content, digest if known is None else None

    def keep_digest(self, index: int, digest: bytes) -> None:
        if (known := self._index.digest(index)) is None:
            self._index.keep_digest(index, digest)
        else:
            self._check(self._index.path(index), known, digest)

    def _check(self, path: bytes, known: bytes, digest: bytes) -> None:
        if digest != known:
            raise self._changed(path, "other content, of the same size")

    def _changed(self, path: bytes, received: str) -> InputError:
        return InputError(
            "A folder of pictures must stay as it was when the run began, or be given to a new run."
            f" Received: {printable(os.path.join(self._root, path))}: {received}"
        )


def read_folder(
    path: str, *, test_share: float = 0.0, class_names: str = "", cache: pathlib.Path | None = None
) -> tuple[FolderSource, FolderSource, tuple[str, ...], str]:
    """Finds the pictures of a folder.

    All pictures below a class's folder belong to it. Files are pictures by the end of their name: see `scan`. Without
    test/ and val/, a picture is a test picture if the digest of its path, as a fraction, is below `test_share`: so it
    stays one when files are added. Each class with two or more pictures has at least one of each kind.

    Args:
        path: the folder.
        test_share: of a folder without test/ and val/, above 0 and below 1; else 0.
        class_names: file with the names of the classes, one a line, in the order of their labels; "": sorted.
        cache: folder that keeps the index; None: in kdzoo's cache folder.

    Returns:
        Training pictures, test pictures, the names of the classes, and a fingerprint: SHA-256 of all paths, sizes,
        labels and splits; and of the contents of pictures that were replaced since they were first read.

    Raises:
        InputError: if it is no such folder.
    """
    if not os.path.isdir(path):
        raise InputError(f"{_RULE}, {_EXAMPLE}. Received: no folder {path}")
    root = os.fsencode(os.path.abspath(path))
    train_folder, test_folder = _layout(root, test_share)
    folders = folders_in(os.path.join(root, train_folder))
    test_folders = folders_in(os.path.join(root, test_folder)) if test_folder else []
    names = _class_names(root, train_folder, folders, class_names)
    known = set(folders)
    if new := [folder for folder in test_folders if folder not in known]:
        received = f"{printable(new[0])} in {printable(os.path.join(root, test_folder))}"
        raise InputError(f"Classes of test pictures must be classes of training pictures. Received: {received}")
    label = {name.encode(): number for number, name in enumerate(names)}
    labelled = [(os.path.join(train_folder, folder), label[folder]) for folder in folders]
    labelled += [(os.path.join(test_folder, folder), label[folder]) for folder in test_folders]
    indices, unreadable, fingerprint = _find(root, names, labelled, len(folders), test_share)
    (train, test), fingerprint = _open(root, indices, unreadable, fingerprint, cache)
    return train, test, names, fingerprint


def read_pictures(path: str, *, label: int, cache: pathlib.Path | None = None) -> tuple[FolderSource, str]:
    """Finds all pictures in a folder and in the folders within it, whatever their names are.

    Args:
        path: the folder.
        label: of all pictures.
        cache: see `read_folder`.

    Returns:
        The pictures, and a fingerprint: SHA-256 of all paths and sizes.

    Raises:
        InputError: if there are none.
    """
    root = os.fsencode(os.path.abspath(path))
    found = scan(root, [(b"", label)]) if os.path.isdir(root) else None
    if found is None or not len(found.entries):
        received = f"no {'folder' if found is None else 'pictures in'} {printable(root)}"
        raise InputError(f"folder:DIR must hold pictures, for example folder:data/photos. Received: {received}")
    every = np.ones(len(found.entries), bool)
    index, unreadable = _choose(found, every)
    (source,), fingerprint = _open(root, {"all": index}, {"all": unreadable}, _fingerprint(found, every), cache)
    return source, fingerprint


def _open(
    root: bytes,
    indices: dict[str, PictureIndex],
    unreadable: dict[str, np.ndarray],
    fingerprint: str,
    cache: pathlib.Path | None,
) -> tuple[list[FolderSource], str]:
    """The source of each split, whose index is kept on disk, and the fingerprint. Empties the dictionary of indices."""
    own = hashlib.blake2b(root, digest_size=8).hexdigest()  # equal folders elsewhere have other times
    place = (cache or user_folders.cache_folder() / "folders") / f"{fingerprint[:32]}-{own}"
    kept = list(picture_index.keep(place, indices, functools.partial(_read, root)).values())
    indices.clear()  # else memory would hold two of each
    sources = [FolderSource(root, index) for index in kept]
    for source, index, positions in zip(sources, kept, unreadable.values(), strict=True):
        for position in positions.tolist():
            source.leave_out(position, "not readable", keep=False)
        for position in np.flatnonzero(index.entries["size"] > MOST_BYTES).tolist():
            source.leave_out(position, f"more than {MOST_BYTES:,} bytes", keep=False)
    return sources, _with_replaced(fingerprint, kept)


def _find(
    root: bytes, names: tuple[str, ...], folders: list[tuple[bytes, int]], train_folders: int, test_share: float
) -> tuple[dict[str, PictureIndex], dict[str, np.ndarray], str]:
    """Returns the index of each split, the positions in it that are not readable, and the fingerprint."""
    found = scan(root, folders)
    is_test = np.arange(len(found.entries)) >= sum(found.counts[:train_folders])
    if test_share:
        is_test = _split(found, test_share)
    _check_pictures(root, names, found.entries["label"], is_test)
    indices, unreadable = {}, {}
    for split, chosen in (("train", ~is_test), ("test", is_test)):
        indices[split], unreadable[split] = _choose(found, chosen)
    return indices, unreadable, _fingerprint(found, is_test)


def _choose(found: Scan, chosen: np.ndarray) -> tuple[PictureIndex, np.ndarray]:
    """The index of chosen pictures in canonical order, and the positions in it that are not readable."""
    positions = np.flatnonzero(chosen)
    positions = positions[canonical_order(found.digests[positions])]
    return PictureIndex(found.paths, found.entries[positions]), np.flatnonzero(~found.readable[positions])


def _layout(root: bytes, test_share: float) -> tuple[bytes, bytes]:
    """Relative folders of the classes of training pictures and of test pictures; both "" if CLASS/* are alone."""
    folders = folders_in(root)
    test_folders = [folder for folder in (b"test", b"val") if folder in folders]
    if b"train" not in folders or not test_folders:
        if not 0 < test_share < 1:
            raise InputError(
                "test_share must be above 0 and below 1 for a folder without test/ or val/ beside train/, for example"
                f" 0.2. Received: {test_share} for {printable(root)}"
            )
        return b"", b""
    if test_share:
        raise InputError(
            f"test_share must be 0 for a folder with {test_folders[0].decode()}/. Received: {test_share} for"
            f" {printable(root)}"
        )
    if len(test_folders) == 2:
        _log.warning("%s: test/ holds the test pictures, val/ is not used", printable(root))
    return b"train", test_folders[0]


def _class_names(root: bytes, train_folder: bytes, folders: list[bytes], path: str) -> tuple[str, ...]:
    try:
        names = tuple(folder.decode() for folder in folders)
    except UnicodeDecodeError as error:
        raise InputError(
            f"The name of a class's folder must be UTF-8, for example cat. Received: {printable(error.object)}"
        ) from None
    directory = printable(os.path.join(root, train_folder))
    if controlled := [name for name in names if printable(name.encode()) != name]:
        received = f"{printable(controlled[0].encode())} in {directory}"
        raise InputError(f"The name of a class's folder must be one line, for example cat. Received: {received}")
    if len(names) < 2:
        raise InputError(f"{_RULE}, {_EXAMPLE}. Received: {len(names)} folders of classes in {directory}")
    return _ordered(names, path, directory) if path else names


def _ordered(names: tuple[str, ...], path: str, directory: str) -> tuple[str, ...]:
    """The names in the order in which a file lists them."""
    rule = "class_names must be a file with the names of all classes' folders, one a line, for example cat"
    try:
        lines = pathlib.Path(path).read_text("utf-8-sig").rstrip("\n").split("\n")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text in UTF-8"
        raise InputError(f"{rule}. Received: {path}: {reason}") from None
    if len(set(lines)) < len(lines):
        twice = collections.Counter(lines).most_common(1)[0][0]
        raise InputError(f"{rule}. Received: {path}: {twice!r} more than once")
    for one, known, what in (
        (lines, set(names), f"no folder of {directory}"),
        (names, set(lines), "a folder, but no line"),
    ):
        if missing := [name for name in one if name not in known]:
            raise InputError(f"{rule}. Received: {path}: {missing[0]!r}, {what}")
    return tuple(lines)


def _split(found: Scan, share: float) -> np.ndarray:
    """bool [n], which pictures are test pictures."""
    is_test = found.digests[:, 0] < int(share * 2.0**64)
    first = 0
    for count in found.counts:
        part = slice(first, first + count)
        if count and is_test[part].all():
            is_test[first + canonical_order(found.digests[part])[-1]] = False
        elif count > 1 and not is_test[part].any():
            is_test[first + canonical_order(found.digests[part])[0]] = True
        first += count
    return is_test


def _check_pictures(root: bytes, names: tuple[str, ...], labels: np.ndarray, is_test: np.ndarray) -> None:
    if not len(labels):
        raise InputError(f"{_RULE}, {_EXAMPLE}. Received: no pictures in {printable(root)}")
    counts = np.bincount(labels[~is_test], minlength=len(names))
    if not counts.all():
        raise InputError(
            f"Each class must have a training picture. Received: none of {names[int(counts.argmin())]} in"
            f" {printable(root)}"
        )
    if not is_test.any():
        raise InputError(f"A data set must have a test picture. Received: none in {printable(root)}")


def _fingerprint(found: Scan, is_test: np.ndarray) -> str:
    digest = hashlib.sha256(f"folder of {len(is_test)}:".encode())
    fields = [np.ascontiguousarray(found.entries[field]) for field in ("length", "size", "label")]
    for array in (found.paths, *fields, is_test):
        digest.update(array.data)
    return digest.hexdigest()


def _with_replaced(fingerprint: str, indices: Iterable[PictureIndex]) -> str:
    """The fingerprint of a folder in which pictures were replaced by others of the same size: none that it had."""
    replaced = sorted((index.path(number), now) for index in indices for number, (_, now) in index.replaced.items())
    if not replaced:
        return fingerprint
    names = first_names([path for path, _ in replaced])
    _log.warning("%d pictures are others than when first read, so this is another data set: %s", len(replaced), names)
    digest = hashlib.sha256(fingerprint.encode())
    for path, now in replaced:
        digest.update(len(path).to_bytes(2, "big") + path + now)
    return digest.hexdigest()


def _read(root: bytes, path: bytes, size: int) -> tuple[bytes, int]:
    """The content of a file, and the time of its last change in nanoseconds.

    Raises:
        OSError: if it cannot be read, or is not of this size in bytes; `strerror` is the reason.
    """
    with open(os.path.join(root, path), "rb", buffering=0) as file:
        status = os.fstat(file.fileno())  # first, so that content that changes meanwhile is newer
        content = file.read(size + 1) if status.st_size == size else b""
    if len(content) != size:
        raise OSError(0, f"{status.st_size} bytes, was {size}")
    return content, status.st_mtime_ns
