"""Pictures of a TFDS data set, read by index: `tfds:NAME[/CONFIG][:VERSION]`."""

import contextlib
import hashlib
import itertools
import json
import logging
import pathlib
import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from kdzoo import files
from kdzoo.data import picture_index, tfds_conversion
from kdzoo.data.picture_index import CONTENT_DIGEST, ENTRY, PictureIndex
from kdzoo.data.scan import PATH_DIGEST
from kdzoo.data.source import Source
from kdzoo.data.tfds import find_builder, one_line, prepare
from zoo import InputError

_log = logging.getLogger(__name__)
_NAME = re.compile(r"\w+(/[^:]+)?(:[\w.*]+)?")
_STATE = "state.json"  # what an index on disk is of
_INDEX = "pictures"  # name of the arrays of an index on disk
_PEEK = 100  # examples that show whether a split has labels


class TfdsSource(Source):
    """The pictures of one split, in the order of the BLAKE2b digests of SPLIT/NUMBER.

    Args:
        folder: that holds the split in a form with random access.
        split: in TFDS's words, for example train.
        image: name of the pictures' feature.
        index: of the pictures.
    """

    def __init__(self, folder: pathlib.Path, split: str, image: str, index: PictureIndex) -> None:
        self._arguments = (folder, split, image, index)
        self._index, self._examples = index, _Examples(folder, split, image)
        self.labels = np.array(index.entries["label"], np.int32)
        self.left_out = np.zeros(len(self.labels), bool)
        self.faults = dict(index.faults())
        self.left_out[list(self.faults)] = True

    def __reduce__(self) -> tuple[Any, ...]:
        return TfdsSource, self._arguments

    def read(self, index: int) -> tuple[bytes, None]:
        content, _ = self._examples[int(self._index.path(index).rpartition(b"/")[2])]
        if len(content) != self._index.entries["size"][index]:
            raise self._examples.changed(self.path(index), f"{len(content)} bytes")
        return content, None

    def path(self, index: int) -> str:
        return self._index.path(index).decode()

    def leave_out(self, index: int, reason: str) -> None:
        super().leave_out(index, reason)
        self.faults[index] = reason
        self._index.keep_fault(index, reason)

    def known_digests(self) -> np.ndarray:
        """The digests of all pictures: bytes in a NumPy array."""
        return self._index.known_digests()

    def fingerprint(self) -> bytes:
        """SHA-256 of all paths, sizes and labels."""
        return _fingerprint(self._index)


class _Examples:
    """Encoded pictures and labels of a split by number, in TFDS's order. Opened when they are first read."""

    def __init__(self, folder: pathlib.Path, split: str, image: str, label: str | None = None) -> None:
        self._folder, self._split, self._image, self._label = folder, split, image, label
        self._source: Any = None

    def __len__(self) -> int:
        return len(self._open())

    def __getitem__(self, number: int) -> tuple[bytes, int]:
        try:
            record = self._open()[number]
        except (ImportError, InputError):
            raise
        except Exception as error:  # array_record has no class of its own for a damaged file
            raise self.changed(f"{self._split}/{number}", one_line(error)) from None
        return self._parse(record)

    def changed(self, path: str, received: str) -> InputError:
        """Returns the error for an example that cannot be read."""
        return InputError(
            "A TFDS data set must stay as it was when the run began, or be given to a new run."
            f" Received: {self._folder}: {path}: {received}"
        )

    def _open(self) -> Any:
        if self._source is None:
            import tensorflow_datasets as tfds

            builder = tfds.builder_from_directory(self._folder)
            self._source = builder.as_data_source(
                self._split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
            )
            _allow_files(len(builder.info.splits[self._split].file_instructions))
            self._parse = _parser(builder, self._image, self._label)
        return self._source


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
    if not _NAME.fullmatch(name):
        raise InputError(
            "A TFDS data set must be tfds:NAME[/CONFIG][:VERSION], for example tfds:imagenet_resized/64x64:0.1.0."
            f" Received: tfds:{name}"
        )
    with _complete_installation(name):
        builder = find_builder(name)
        image, label = _find_features(builder, name)
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


def _find_features(builder: Any, name: str) -> tuple[str, str]:
    """Names of the features that are the image and its label."""
    import tensorflow_datasets as tfds

    features = dict(builder.info.features.items())
    kinds = {
        "image": [
            key
            for key, feature in features.items()
            if isinstance(feature, tfds.features.Image) and np.dtype(feature.np_dtype) in (np.uint8, np.uint16)
        ],
        "label": [key for key, feature in features.items() if isinstance(feature, tfds.features.ClassLabel)],
    }
    chosen = []
    for kind, keys in kinds.items():
        supervised = [key for key in builder.info.supervised_keys or () if key in keys]
        candidates = supervised or [key for key in keys if key == kind] or keys
        if len(candidates) != 1:
            raise InputError(
                "A TFDS data set must have an image and a class label, one of each or named so, for example tfds:mnist."
                f" Received: tfds:{name} with {', '.join(features)}"
            )
        chosen.append(candidates[0])
    return chosen[0], chosen[1]


def _choose_splits(builder: Any, name: str, train: str, test: str, label: str) -> list[str]:
    known = builder.info.splits
    if not test:
        test = "test" if "test" in known or "validation" not in known else "validation"
        if test == "test" and "validation" in known and not _has_labels(builder, test, label):
            test = "validation"
    chosen = {"train_split": train or "train", "test_split": test}
    for flag, split in chosen.items():
        try:
            count = known[split].num_examples
        except Exception:  # TFDS has several
            count = 0
        if not count:
            raise InputError(
                f"{flag} must be a split of tfds:{name} or a part of one, for example train[90%:]."
                f" Received: {split}; it has {', '.join(known)}"
            )
    return list(chosen.values())


def _has_labels(builder: Any, split: str, label: str) -> bool:
    """Whether one of the first examples has a label: TFDS gives -1 to those that have none."""
    examples = itertools.islice(tfds_conversion.peek(builder, split), _PEEK)
    parse = _parser(builder, None, label)
    return any(parse(example)[1] >= 0 for example in examples)


def _parser(builder: Any, image: str | None, label: str | None) -> Callable[[bytes], tuple[bytes, int]]:
    """Returns a function that takes the encoded picture and the label, -1 without, from a serialised example."""
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict({key: builder.info.features[key] for key in (image, label) if key})
    decoders = {image: tfds.decode.SkipDecoding()} if image else None

    def parse(record: bytes) -> tuple[bytes, int]:
        values = features.deserialize_example_np(record, decoders=decoders)
        return values[image] if image else b"", int(values[label]) if label else -1

    return parse


def _allow_files(count: int) -> None:
    """Allows this process to open so many files more: array_record keeps each open."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # Windows; a limit that is fixed
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = 2 * count + 1024
        if soft != resource.RLIM_INFINITY and soft < most:
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _open(builder: Any, folder: pathlib.Path, split: str, image: str, label: str | None) -> TfdsSource:
    """The source of a split, with its index as it is kept on disk, or made anew by one pass over the split."""
    import tensorflow_datasets as tfds

    info = tfds.builder_from_directory(folder).info.splits[split]
    state = {"features": [image, label], "files": tfds_conversion.describe_files(info.filepaths)}
    place = tfds_conversion.cache_of(builder) / "index" / split
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
            index = _make_index(_Examples(folder, split, image, label), split)
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


def _make_index(examples: _Examples, split: str) -> PictureIndex:
    """Reads all pictures of a split."""
    import tqdm

    count = len(examples)
    entries, paths, digests = np.zeros(count, ENTRY), [], []
    for number in tqdm.trange(count, desc=f"read {split}", unit="picture", unit_scale=True, disable=None):
        content, label = examples[number]
        entries[number]["size"], entries[number]["label"] = len(content), label
        paths.append(f"{split}/{number}".encode())
        digests.append(hashlib.blake2b(content, digest_size=CONTENT_DIGEST).digest())
    entries["length"] = [len(path) for path in paths]
    entries["start"] = np.cumsum(entries["length"], dtype=np.uint64) - entries["length"]
    keys = [hashlib.blake2b(path, digest_size=PATH_DIGEST).digest() for path in paths]
    order = sorted(range(count), key=keys.__getitem__)
    index = PictureIndex(np.frombuffer(b"".join(paths), np.uint8), entries[order])
    for position, number in enumerate(order):
        index.keep_digest(position, digests[number])
    return index


def _fingerprint(index: PictureIndex) -> bytes:
    digest = hashlib.sha256(index.paths.data)
    for field in ("start", "length", "size", "label"):
        digest.update(np.ascontiguousarray(index.entries[field]).data)
    return digest.digest()
