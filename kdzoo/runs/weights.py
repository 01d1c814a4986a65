"""The network of a run: built from its record, with its weights saved and loaded."""

import math
import os
import pathlib
from typing import TYPE_CHECKING, Any

from kdzoo.runs import names
from kdzoo.runs.records import read
from zoo import InputError

if TYPE_CHECKING:
    import keras

WEIGHTS = "model.weights.h5"


def load_model(workdir: str | os.PathLike[str]) -> "keras.Model":
    """Builds the network of a finished run and loads its weights.

    Raises:
        InputError: if the directory has no record, or no weights of that network.
    """
    model = build(read(workdir))
    path = pathlib.Path(workdir) / WEIGHTS
    try:
        model.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"A finished run must hold its weights. Received: {path}: {reason}") from None
    return model


def build(record: dict[str, Any]) -> "keras.Model":
    """Builds the network that a record describes, untrained."""
    dataset = record["dataset"]
    height, width, channels = dataset["image_shape"]
    shape = (height, width, channels)
    return names.build(record["config"]["model"], num_classes=dataset["num_classes"], input_shape=shape)


def save_weights(workdir: pathlib.Path, model: "keras.Model") -> None:
    """Writes the weights; a reader finds a whole file or none."""
    partial = workdir / f"partial.{WEIGHTS}"
    model.save_weights(partial)
    os.replace(partial, workdir / WEIGHTS)


def count_parameters(model: "keras.Model") -> int:
    """Counts trainable parameters, as papers do: BatchNorm's moving statistics are not among them."""
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)
