"""The network of a run: built from its record, with its weights saved and loaded."""

import functools
import logging
import math
import os
import pathlib
import warnings
from typing import TYPE_CHECKING, Any

from kdzoo import digests
from kdzoo.models import specs
from kdzoo.runs.identity import WEIGHTS_DIGEST
from kdzoo.runs.records import read
from zoo import InputError

if TYPE_CHECKING:
    import keras

_log = logging.getLogger(__name__)

WEIGHTS = "model.weights.h5"
_RULE = "A finished run must hold its weights"


def load_model(workdir: str | os.PathLike[str], record: dict[str, Any] | None = None) -> "keras.Model":
    """Builds the network of a finished run and loads its weights.

    Args:
        workdir: the run's directory.
        record: the run's, if it has been read already: a run that replaced it since then is refused.

    Raises:
        InputError: if the directory has no record, or no weights of that network, or other weights than when the run
            finished.
    """
    record = record or read(workdir)
    verify(workdir, record)
    model = build(record)
    path = pathlib.Path(workdir) / WEIGHTS
    try:
        with warnings.catch_warnings():
            # Keras warns of each group that a file lacks, then raises an error if a layer lacks its weights.
            warnings.filterwarnings("ignore", "Skipping nested container", UserWarning)
            model.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{_RULE}. Received: {path}: {reason}") from None
    return model


def verify(workdir: str | os.PathLike[str], record: dict[str, Any]) -> str:
    """Compares the file of weights of a finished run with its record. Each load of a run's weights begins here.

    Returns:
        The file's SHA-256.

    Raises:
        InputError: if the file is missing, or is not the one that the run wrote. A record of 0.4 has no digest to
            compare with: that is logged, once for each directory.
    """
    path = pathlib.Path(workdir) / WEIGHTS
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{_RULE}. Received: {path}: {error.strerror}") from None
    if WEIGHTS_DIGEST in record:
        digests.check_content(content, {"sha256": record[WEIGHTS_DIGEST]}, rule=f"{_RULE}, unchanged", spec=str(path))
    else:
        _warn_unverified(path.resolve())
    digest: str = digests.file_entry(content)["sha256"]
    return digest


@functools.cache
def _warn_unverified(path: pathlib.Path) -> None:
    _log.warning("Not verified, since the record of this older run holds no digest of its weights: %s", path)


def build(record: dict[str, Any]) -> "keras.Model":
    """Builds the network that a record describes, untrained."""
    from kdzoo.models import networks  # imports Keras

    dataset, config = record["dataset"], record["config"]
    height, width, channels = dataset["image_shape"]
    shape = (height, width, channels)
    if architecture := record.get("network", {}).get("architecture"):
        return networks.from_architecture(architecture)
    spec = specs.parse(config["model"], config.get("model_args", ""))
    return networks.build(spec, num_classes=dataset["num_classes"], input_shape=shape, pretrained=False).model


def save_weights(workdir: pathlib.Path, model: "keras.Model") -> str:
    """Writes the weights; a reader finds a whole file or none. Returns the file's SHA-256."""
    partial = workdir / f"partial.{WEIGHTS}"
    model.save_weights(partial)
    digest: str = digests.file_entry(partial.read_bytes())["sha256"]
    os.replace(partial, workdir / WEIGHTS)
    return digest


def count_parameters(model: "keras.Model") -> int:
    """Counts trainable parameters, as papers do: frozen layers' too, but not BatchNorm's moving statistics."""
    from kdzoo.distillation import fine_tuning

    with fine_tuning.thawed(model):
        return sum(math.prod(variable.shape) for variable in model.trainable_variables)
