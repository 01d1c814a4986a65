"""Pictures of a TFDS data set, read by index: `tfds:NAME[/CONFIG][:VERSION]`."""

import contextlib
import hashlib
import itertools
import json
import logging
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np

from kdzoo import files
from kdzoo.data import picture_index, tfds_conversion
from kdzoo.data.indexed_source import IndexedSource
from kdzoo.data.picture_index import CONTENT_DIGEST, ENTRY, PictureIndex, content_digest
from kdzoo.data.scan import canonical_order, path_digest
from kdzoo.data.tfds import find_builder, prepare
from kdzoo.data.tfds_examples import Examples, find_feature, make_parser
from zoo import InputError

_log = logging.getLogger(__name__)
_STATE = "state.json"  # what an index on disk is of
_INDEX = "pictures"  # name of the arrays of an index on disk
_PEEK = 100  # examples that show whether a split has labels


class TfdsSource(IndexedSource):
    """The pictures of one split, in the order of the BLAKE2b digests of SPLIT/NUMBER.

    Args:
        folder: that holds the split in a form with random access.
        split: in TFDS's words, for example train.
        image: name of the pictures' feature.
        index: of the pictures.
    """

    def __init__(self, folder: pathlib.Path, split: str, image: str, index: PictureIndex) -> None:
        super().__init__(index)
        self._arguments, self._examples = (folder, split, image, index), Examples(folder, split, image)

    def __reduce__(self) -> tuple[Any, ...]:
        return TfdsSource, self._arguments

    def read(self, index: int) -> tuple[bytes, None]:
        content, _ = self._examples[int(self._index.path(index).rpartition(b"/")[2])]
        if len(content) != self._index.entries["size"][index]:
            raise self._examples.changed(self.path(index), f"{len(content)} bytes")
        return content, None

    def fingerprint(self) -> bytes:
        """SHA-256 of all paths, sizes and labels."""
        return _fingerprint(self._index)


def read_splits(
    name: str, *, train_split: str = "", test_split: str = ""
) -> tuple[TfdsSource, TfdsSource, tuple[str, ...], str]:
    """Finds the pictures of a data set, which is downloaded, prepared and brought into ArrayRecord form unless it is.

    Args:
        name: NAME[/CONFIG][:VERSION].
        train_split: in TFDS's words; "": train.
        test_split: in TFDS's words; "": test, or validation if there are no labels in test.

    Returns:
        Training pictures, test pictures, the names of the classes, and a fingerprint: SHA-256 of all paths, sizes and
        labels.

    Raises:
        InputError: if there is no such data set or split, it lacks images or labels, cannot be downloaded or read.
    """
    with _complete_installation(name):
        builder = find_builder(name)
        image, label = (find_feature(builder, name, kind) for kind in ("image", "label"))
        prepare(builder, name)
        splits = _choose_splits(builder, name, train_split, test_split, label)
        folder = tfds_conversion.random_access(builder, splits)
        train, test = (_open(builder, folder, split, image, label) for split in splits)
    for source in (train, test):
        if (source.labels < 0).any():
            path = source.path(int(np.argmax(source.labels < 0)))
            raise InputError(
                f"Each training and test example of tfds:{name} must have a label. Received: {path} without"
            )
    fingerprint = hashlib.sha256(b"tfds" + train.fingerprint() + test.fingerprint()).hexdigest()
    return train, test, tuple(builder.info.features[label].names), fingerprint


def read_images(name: str) -> tuple[TfdsSource, str]:
    """Finds the pictures of a data set whatever their labels: of its split "unlabelled" or else "train", label -1.

    Returns:
        The pictures, and a fingerprint: SHA-256 of all paths and sizes.

    Raises:
        InputError: see `read_splits`.
    """
    with _complete_installation(name):
        builder = find_builder(name)
        image = find_feature(builder, name, "image")
        prepare(builder, name)
        split = "unlabelled" if "unlabelled" in builder.info.splits else "train"
        _check_split(builder, name, "unlabelled", split)
        folder = tfds_conversion.random_access(builder, [split])
        source = _open(builder, folder, split, image, None)
    return source, hashlib.sha256(b"tfds" + source.fingerprint()).hexdigest()


@contextlib.contextmanager
def _complete_installation(name: str) -> Iterator[None]:
    """Raises InputError if a package is missing."""
    try:
        yield
    except ImportError as error:
        raise InputError(
            f"tfds:{name} needs tensorflow-datasets and array-record and, unless it is prepared in ArrayRecord form,"
            f" TensorFlow. Received: {error}"
        ) from None


def _choose_splits(builder: Any, name: str, train: str, test: str, label: str) -> list[str]:
    known = builder.info.splits
    if not test:
        test = "test" if "test" in known or "validation" not in known else "validation"
        if test == "test" and "validation" in known and not _has_labels(builder, test, label):
            test = "validation"
    chosen = {"train_split": train or "train", "test_split": test}
    for flag, split in chosen.items():
        _check_split(builder, name, flag, split)
    return list(chosen.values())


def _check_split(builder: Any, name: str, flag: str, split: str) -> None:
    """Raises InputError unless a data set has this split, with examples."""
    try:
        count = builder.info.splits[split].num_examples
    except Exception:  # TFDS has several
        count = 0
    if not count:
        raise InputError(
            f"{flag} must be a split of tfds:{name} or a part of one, for example train[90%:]."
            f" Received: {split}; it has {', '.join(builder.info.splits)}"
        )


def _has_labels(builder: Any, split: str, label: str) -> bool:
    """Whether one of the first examples has a label: TFDS gives -1 to those that have none."""
    examples = itertools.islice(tfds_conversion.peek(builder, split), _PEEK)
    parse = make_parser(builder, None, label)
    return any(parse(example)[1] >= 0 for example in examples)


def _open(builder: Any, folder: pathlib.Path, split: str, image: str, label: str | None) -> TfdsSource:
    """The source of a split, with its index as it is kept on disk, or made anew by one pass over the split."""
    import tensorflow_datasets as tfds

    info = tfds.builder_from_directory(folder).info.splits[split]
    state = {"features": [image, label], "files": tfds_conversion.describe_files(info.filepaths)}
    place = tfds_conversion.cache_of(builder) / "index" / (split if label else f"{split} without labels")
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # of a disk that does not take it: the index is in memory only
            place.mkdir(parents=True, exist_ok=True)
            stack.enter_context(files.locked(place.parent, wait=True))
        index = _open_index(place, state, info.num_examples)
        if index is None:
            _log.warning(
                "tfds:%s: %s, %d pictures, is read once for its labels",
                builder.info.full_name,
                split,
                info.num_examples,
            )
            index = _make_index(Examples(folder, split, image, label), split)
            shutil.rmtree(place, ignore_errors=True)
            index = picture_index.keep(place, {_INDEX: index})[_INDEX]
            with contextlib.suppress(OSError):
                content = json.dumps(state | {"fingerprint": _fingerprint(index).hex()})
                files.write_atomically(place / _STATE, content.encode())
    return TfdsSource(folder, split, image, index)


def _open_index(place: pathlib.Path, state: dict[str, Any], count: int) -> PictureIndex | None:
    """The index in a folder; None if there is none of this state."""
    try:
        kept = PictureIndex.open(place, _INDEX, "r+")
        known = json.loads((place / _STATE).read_bytes())
        same = known == state | {"fingerprint": _fingerprint(kept).hex()}
        return kept if same and len(kept.entries) == count else None
    except (OSError, ValueError):
        return None


def _make_index(examples: Examples, split: str) -> PictureIndex:
    """Reads all pictures of a split."""
    import tqdm

    count = len(examples)
    entries = np.zeros(count, ENTRY)
    paths, keys, digests = bytearray(), bytearray(), bytearray()
    for number in tqdm.trange(count, desc=f"read {split}", unit="picture", unit_scale=True, disable=None):
        content, label = examples[number]
        path = f"{split}/{number}".encode()
        for field, value in {"start": len(paths), "length": len(path), "size": len(content), "label": label}.items():
            entries[field][number] = value
        paths += path
        keys += path_digest(path)
        digests += content_digest(content)
    order = canonical_order(np.frombuffer(keys, ">u8").reshape(-1, 2))
    index = PictureIndex(np.frombuffer(paths, np.uint8), entries[order])
    for position, number in enumerate(order.tolist()):
        index.keep_digest(position, bytes(digests[number * CONTENT_DIGEST : (number + 1) * CONTENT_DIGEST]))
    return index


def _fingerprint(index: PictureIndex) -> bytes:
    digest = hashlib.sha256(index.paths.data)
    for field in ("start", "length", "size", "label"):
        digest.update(np.ascontiguousarray(index.entries[field]).data)
    return digest.digest()
