"""The network of a run: built from its record, its weights saved and loaded."""

import math
import os
import pathlib
from typing import TYPE_CHECKING, Any

from kdzoo.runs import names
from zoo import InputError

if TYPE_CHECKING:
    import keras
from kdzoo.runs.records import read

WEIGHTS = "model.weights.h5"


def load_model(workdir: str | os.PathLike) -> "keras.Model":
    """Builds the network of a finished run and loads its weights.

    Raises:
        InputError: if the run is not there, or its weights are not those of its network.
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
    """The network a record describes, untrained."""
    dataset = record["dataset"]
    shape = tuple(dataset["image_shape"])
    return names.build(record["config"]["model"], num_classes=dataset["num_classes"], input_shape=shape)


def save_weights(workdir: pathlib.Path, model: "keras.Model") -> None:
    """Writes the weights, whole or not at all."""
    partial = workdir / f"partial.{WEIGHTS}"
    model.save_weights(partial)
    os.replace(partial, workdir / WEIGHTS)


def count_parameters(model: "keras.Model") -> int:
    """Trainable parameters, as papers count them: BatchNorm's moving statistics are none."""
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)
