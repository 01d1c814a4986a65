"""The weights of a published model, read from its SavedModel's data file by any backend."""

import pathlib
from typing import TYPE_CHECKING, Any

from kdzoo.runs import weights as weights_module
from zoo import InputError

if TYPE_CHECKING:
    import keras
from kdzoo.hub.cards import CARD, VARIABLES, verify


def build_network(directory: pathlib.Path, card: dict[str, Any]) -> "keras.Model":
    content = verify(directory, card)[VARIABLES]
    try:
        model = weights_module.build(card)
        assign(model, card["weights"], content)
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"A published model's card must tell of its weights. Received: {directory / CARD}: {error}"
        ) from None
    return model


def assign(model: "keras.Model", weights: list[dict[str, Any]], content: bytes) -> None:
    """Gives a model the weights that lie in a SavedModel's data file.

    Args:
        model: whose variables they are.
        weights: path, shape, dtype and offset in bytes of each, as in a card.
        content: the data file's.

    Raises:
        InputError: if they are not this model's.
    """
    import numpy as np

    variables = {variable.path: variable for variable in model.variables}
    stored = {weight["path"]: weight for weight in weights}
    if {path: tuple(v.shape) for path, v in variables.items()} != {p: tuple(w["shape"]) for p, w in stored.items()}:
        raise InputError(f"A card's weights must be those of its network, {model.name}. Received: others")
    for path, variable in variables.items():
        shape, dtype = tuple(stored[path]["shape"]), np.dtype(stored[path]["dtype"]).newbyteorder("<")
        values = np.frombuffer(content, dtype, count=int(np.prod(shape)), offset=stored[path]["offset"])
        variable.assign(values.reshape(shape).astype("float32"))
