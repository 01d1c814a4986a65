"""SavedModels: finding, loading and calling them."""

import hashlib
import os
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kdzoo.hub import cards
from kdzoo.runs import records
from kdzoo.teachers.signature import Signature, inner_shape
from zoo import InputError


class CallError(InputError):
    """A SavedModel does not take what it was called with.

    Attributes:
        reason: TensorFlow's.
    """

    def __init__(self, signature: Signature, images: np.ndarray, directory: pathlib.Path, reason: str):
        super().__init__(
            f"A SavedModel must take {signature.dtype} images {list(images.shape)}. Received: {directory}: {reason}"
        )
        self.reason = reason


def find_saved_model(spec: str) -> pathlib.Path | None:
    """Directory of the external SavedModel at this path, its newest version if there are several.

    None if there is no SavedModel, or if the directory holds a run or a published model.
    """
    path = pathlib.Path(spec)
    if "\0" in spec or not os.path.isdir(path) or any((path / own).exists() for own in (cards.CARD, records.RECORD)):
        return None
    if (path / "saved_model.pb").exists():
        return path.resolve()
    versions = [found.parent for found in path.glob("*/saved_model.pb") if found.parent.name.isdecimal()]
    return max(versions, key=lambda version: int(version.name)).resolve() if versions else None


class SavedModel:
    """A loaded SavedModel.

    Args:
        directory: holds saved_model.pb.

    Attributes:
        functions: its signatures as TensorFlow's functions, by name.
        signatures: those that take one tensor, by name.

    Raises:
        InputError: if it cannot be loaded.
    """

    def __init__(self, directory: pathlib.Path):
        try:
            import tensorflow as tf
        except ImportError as error:
            raise InputError(f"A SavedModel as teacher needs TensorFlow. Received: {directory}: {error}") from None
        try:
            self._model = tf.saved_model.load(str(directory))
        except Exception as error:  # TensorFlow has no common class for errors of reading, parsing and graph building
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"A SavedModel must be one that loads. Received: {directory}: {reason}") from None
        self._directory = directory
        self.functions: Mapping[str, Callable[..., Mapping[str, Any]]] = self._model.signatures
        self.signatures = {}
        for name, function in self._model.signatures.items():
            _, inputs = function.structured_input_signature
            if len(inputs) == 1:
                ((key, image),) = inputs.items()
                shapes = {output: inner_shape(spec.shape) for output, spec in function.structured_outputs.items()}
                self.signatures[name] = Signature(name, key, image.dtype.name, inner_shape(image.shape), shapes)

    def call(
        self, signature: Signature, images: np.ndarray, function: Callable[..., Mapping[str, Any]] | None = None
    ) -> dict[str, np.ndarray]:
        """The outputs of a signature, by name, for images [n, h, w, c].

        Args:
            signature: one of `signatures`, or with only some of its outputs.
            images: in its dtype.
            function: to call in place of the signature's own, with the same input.

        Raises:
            CallError: if the model does not take such images.
        """
        import tensorflow as tf

        function = function or self.functions[signature.name]
        try:
            outputs = function(**{signature.input: tf.constant(images)})
        except (tf.errors.OpError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            of_operation = re.search(r"<stack traces unavailable> (.*?) \[\[\{\{node ", reason)
            reason = (of_operation[1] if of_operation else reason)[:200]
            raise CallError(signature, images, self._directory, reason) from None
        return {key: outputs[key].numpy() for key in signature.outputs}


def load_saved_model(
    directory: pathlib.Path,
) -> tuple[dict[str, Signature], Callable[[Signature, np.ndarray], dict[str, np.ndarray]]]:
    """Loads a SavedModel: see `SavedModel`.

    Returns:
        The signatures that take one tensor, by name, and a function that calls one of them on images [n, h, w, c]. It
        returns the outputs by name, and raises CallError if the model does not take such images.

    Raises:
        InputError: if it cannot be loaded.
    """
    model = SavedModel(directory)
    return model.signatures, model.call


def digest_saved_model(directory: pathlib.Path) -> str:
    """SHA-256 over the names and contents of all files of a SavedModel."""
    digest = hashlib.sha256()
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        digest.update(path.relative_to(directory).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
