"""The weights of a published model, read from its SavedModel's data file by any backend."""

import pathlib
from typing import TYPE_CHECKING, Any

from kdzoo.hub.cards import CARD, VARIABLES, verify
from kdzoo.runs import weights as run_weights
from zoo import InputError

if TYPE_CHECKING:
    import keras


def build_network(directory: pathlib.Path, card: dict[str, Any]) -> "keras.Model":
    """Builds the network of a published model and assigns its weights, after every file was verified.

    Raises:
        InputError: if a file does not match the card, or the card does not match its network.
    """
    content = verify(directory, card)[VARIABLES]
    try:
        model = run_weights.build(card)
        assign_weights(model, card["weights"], content)
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"A published model's card must list its weights. Received: {directory / CARD}: {error}"
        ) from None
    return model


def assign_weights(model: "keras.Model", weights: list[dict[str, Any]], content: bytes) -> None:
    """Assigns the weights in a SavedModel's data file to the variables of a model.

    Args:
        model: a network of the same architecture.
        weights: path, shape, dtype and offset (bytes) of each, as in a card.
        content: bytes of the data file.

    Raises:
        InputError: if the model's variables have other paths or shapes.
    """
    import numpy as np

    variables = {variable.path: variable for variable in model.variables}
    stored = {weight["path"]: weight for weight in weights}
    if {path: tuple(v.shape) for path, v in variables.items()} != {p: tuple(w["shape"]) for p, w in stored.items()}:
        raise InputError(f"A card's weights must be those of its network, {model.name}. Received: others")
    for path, variable in variables.items():
        shape, dtype = tuple(stored[path]["shape"]), np.dtype(stored[path]["dtype"]).newbyteorder("<")
        values = np.frombuffer(content, dtype, count=int(np.prod(shape)), offset=stored[path]["offset"])
        variable.assign(values.reshape(shape).astype(variable.dtype))
