"""The examples of a TFDS data set, one by one: which features are its image and its label, read by number."""

import contextlib
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from kdzoo.data.tfds import one_line
from zoo import InputError


class Examples:
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
            self._parse = make_parser(builder, self._image, self._label)
        return self._source


def find_feature(builder: Any, name: str, kind: str) -> str:
    """Returns the name of the feature that is the image, or the label.

    Args:
        builder: TFDS's.
        name: of the data set, for the message.
        kind: "image" or "label".

    Raises:
        InputError: if there is none, or several, none of them named so or chosen by the data set.
    """
    import tensorflow_datasets as tfds

    def suits(feature: Any) -> bool:
        if kind == "label":
            return isinstance(feature, tfds.features.ClassLabel)
        return isinstance(feature, tfds.features.Image) and np.dtype(feature.np_dtype) in (np.uint8, np.uint16)

    features = dict(builder.info.features.items())
    keys = [key for key, feature in features.items() if suits(feature)]
    supervised = [key for key in builder.info.supervised_keys or () if key in keys]
    candidates = supervised or [key for key in keys if key == kind] or keys
    if len(candidates) != 1:
        raise InputError(
            "A TFDS data set must have an image and a class label, one of each or named so, for example tfds:mnist."
            f" Received: tfds:{name} with {', '.join(features)}"
        )
    return candidates[0]


def make_parser(builder: Any, image: str | None, label: str | None) -> Callable[[bytes], tuple[bytes, int]]:
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
