"""Loading published models for a server. Needs TensorFlow."""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kdzoo.hub.cards import SAVED_MODEL, VERSION, verify
from kdzoo.hub.models import locate
from kdzoo.teachers.saved_model import load_saved_model
from kdzoo.teachers.signature import Signature
from zoo import InputError

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ServedModel:
    """A loaded model.

    Attributes:
        name: published name.
        definitions: its signatures as TensorFlow's `SignatureDef` messages, by name.
        signatures: its signatures by name.
        call: returns the outputs of a signature, by name, for images [n, h, w, c].
    """

    name: str
    definitions: Mapping[str, Any]
    signatures: Mapping[str, Signature]
    call: Callable[[Signature, np.ndarray], dict[str, np.ndarray]]


def load(cards: Sequence[dict[str, Any]], *, path: str | None = None) -> list[ServedModel]:
    """Verifies and loads the published models of these cards. Skips a damaged model, with a warning.

    Args:
        cards: see `kdzoo.hub.models.list_cards`.
        path: the only folder of models to look in.

    Raises:
        InputError: if every model is damaged.
    """
    loaded, damaged = [], []
    for card in cards:
        try:
            directory = locate(card["name"], path=path)
            contents = verify(directory, card)
            signatures, call = load_saved_model(directory / VERSION)
        except InputError as error:
            damaged.append(error)
            continue
        loaded.append(ServedModel(card["name"], _parse_definitions(contents[SAVED_MODEL]), signatures, call))
    if not loaded:
        others = f"; other damaged models: {len(damaged) - 1}" if len(damaged) > 1 else ""
        raise InputError(f"{damaged[0]}{others}" if damaged else "A server needs a model to serve. Received: none")
    for reason in damaged:
        _log.warning("%s", reason)
    return loaded


def _parse_definitions(saved_model: bytes) -> dict[str, Any]:
    from tensorflow.core.protobuf import saved_model_pb2

    (graph,) = saved_model_pb2.SavedModel.FromString(saved_model).meta_graphs
    return {name: definition for name, definition in graph.signature_def.items() if not name.startswith("__")}
