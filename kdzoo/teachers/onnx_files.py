"""The files of an ONNX model: the model itself, and the weights that it may keep in files beside it."""

import hashlib
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from zoo import InputError

ONNX = "onnx:"


class ModelFiles:
    """The files of an ONNX model on disk, as they are now.

    Args:
        spec: onnx:FILE, as in the run's configuration.

    Attributes:
        path: of the model.
        digest: SHA-256 of its content; if it has external data, of the digests of all files, with their names.

    Raises:
        InputError: if a file is missing, or it is no ONNX model.
    """

    def __init__(self, spec: str):
        self._spec, self.path = spec, find_file(spec)
        self._paths = [self.path, *(self.path.parent / name for name in self._external_data())]
        self._status = self._read_status()
        digests = [_digest_file(path) for path in self._paths]
        if len(digests) > 1:  # the model names its external data, but does not hold their digests
            names = [path.relative_to(self.path.parent).as_posix() for path in self._paths[1:]]
            parts = zip(["", *names], digests, strict=True)
            self.digest = hashlib.sha256("".join(f"{name}\0{digest}\n" for name, digest in parts).encode()).hexdigest()
        else:
            (self.digest,) = digests

    def check_unchanged(self) -> None:
        """Raises InputError if a file is not the one that was read. onnxruntime may map external data into memory."""
        before, now = self._status, self._read_status()
        if changed := [str(path) for path, *states in zip(self._paths, before, now, strict=True) if len({*states}) > 1]:
            raise InputError(
                "An ONNX teacher's files must not change while it teaches; restore them, and resume."
                f" Received: {self._spec}: {changed[0]} has changed"
            )

    def _read_status(self) -> list[tuple[int, ...] | None]:
        return [_status_of(path) for path in self._paths]

    def _external_data(self) -> list[str]:
        """Names of the files that hold weights, relative to the model's folder, sorted."""
        onnx = import_extra("onnx", self._spec)
        try:
            model = onnx.load(str(self.path), load_external_data=False)
        except Exception as error:  # protobuf's errors differ from version to version
            raise InputError(_not_onnx(self._spec, error)) from None
        fields = [tensor.external_data for tensor in _tensors(model, onnx) if tensor.data_location == tensor.EXTERNAL]
        names = {entry.value for entries in fields for entry in entries if entry.key == "location"}
        for name in sorted(names):
            if name.startswith("/") or ".." in pathlib.PurePath(name).parts or not (self.path.parent / name).is_file():
                raise InputError(
                    "An ONNX teacher must have the files of its external data beside it."
                    f" Received: {self._spec} without {name[:200]}"
                )
        return sorted(names)


def find_file(spec: str) -> pathlib.Path:
    """Path of the file that onnx:FILE names.

    Raises:
        InputError: if there is no such file.
    """
    path = spec.removeprefix(ONNX)
    if "\0" in path or not os.path.isfile(path):
        raise InputError(
            f"A teacher onnx:FILE must be a file, for example onnx:resnet18.onnx. Received: {spec[:300]!r}"
        )
    return pathlib.Path(path)


def import_extra(name: str, spec: str) -> Any:
    """The package onnx or onnxruntime.

    Raises:
        InputError: if it is not installed.
    """
    try:
        return __import__(name)
    except ImportError as error:
        rule = "A teacher onnx:FILE needs the extra onnx: pip install 'kdzoo[onnx]'"
        raise InputError(f"{rule}. Received: {spec}: {error}") from None


def not_loaded(spec: str, error: Exception) -> InputError:
    """The error of a file that is no ONNX model, or one that onnxruntime cannot run."""
    return InputError(_not_onnx(spec, error))


def _not_onnx(spec: str, error: Exception) -> str:
    text = " ".join(str(error).split())
    reason = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .* failed: ?)?", "", text)
    return f"A teacher onnx:FILE must be an ONNX model that onnxruntime runs. Received: {spec}: {reason[:200]}"


def _tensors(message: Any, onnx: Any) -> Iterator[Any]:
    """All tensors within a protobuf message: weights, constants, those of subgraphs and functions."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:  # else it is repeated
                yield from _tensors(part, onnx)


def _digest_file(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _status_of(path: pathlib.Path) -> tuple[int, ...] | None:
    """What another content of a file changes; None if it is gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
