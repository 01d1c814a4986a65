"""Loading published models for a server. Needs TensorFlow."""

import dataclasses
import logging
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kdzoo.hub.models import locate
from kdzoo.serving.batching import POSITION, SIZE, Batching, can_gather, gather
from kdzoo.serving.versions import find_versions, read_definition
from kdzoo.teachers.saved_model import SavedModel
from kdzoo.teachers.signature import Signature
from zoo import InputError

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ServedModel:
    """A loaded model.

    Attributes:
        card: of the published model.
        directory: of the published model; holds its versions.
        version: number of the loaded version.
        definitions: its signatures as TensorFlow's `SignatureDef` messages, by name.
        signatures: its signatures by name.
        call: returns the outputs of a signature, by name, for images [n, h, w, c], computed by themselves.
        gathered: functions of signatures, by name, whose calls at the same time are computed together.
        batching: how they are gathered.
    """

    card: Mapping[str, Any]
    directory: pathlib.Path
    version: int
    definitions: Mapping[str, Any]
    signatures: Mapping[str, Signature]
    call: Callable[..., dict[str, np.ndarray]]
    gathered: Mapping[str, Callable[..., Mapping[str, Any]]]
    batching: Batching

    @property
    def name(self) -> str:
        """Published name."""
        return str(self.card["name"])

    def gathers(self, signature: Signature, count: int) -> bool:
        """Whether a request of so many images is computed with others. One that fills a batch gains nothing by it."""
        return signature.name in self.gathered and 0 < count < self.batching.max_batch_size

    def call_gathered(self, signature: Signature, images: np.ndarray) -> tuple[dict[str, np.ndarray], list[int]]:
        """Returns the outputs of a signature, as `call` does, computed together with other calls at the same time.

        Returns:
            The outputs, and the sizes of the batches whose first image is of these images: over all calls, those are
            the sizes of all batches.
        """
        outputs = {**signature.outputs, POSITION: (), SIZE: ()}
        wanted = dataclasses.replace(signature, outputs=outputs)
        values = self.call(wanted, images, self.gathered[signature.name])
        sizes = values.pop(SIZE)[values.pop(POSITION) == 0]
        return values, sizes.tolist()


def load(
    cards: Sequence[dict[str, Any]], *, path: str | None = None, batching: Batching | None = None
) -> list[ServedModel]:
    """Verifies and loads published models, each in the newest version that loads. Skips others, with a warning.

    Args:
        cards: see `kdzoo.hub.models.list_cards`.
        path: the only folder of models to look in.
        batching: how requests are gathered.

    Raises:
        InputError: if every model is damaged.
    """
    loaded: list[ServedModel] = []
    damaged: list[InputError] = []
    for card in cards:
        directory = locate(card["name"], path=path)
        for version in find_versions(directory) or [1]:
            try:
                loaded.append(load_version(card, directory, version, batching or Batching()))
                break
            except InputError as error:
                damaged.append(error)
    if not loaded:
        others = f"; other damaged models: {len(damaged) - 1}" if len(damaged) > 1 else ""
        raise InputError(f"{damaged[0]}{others}" if damaged else "A server needs a model to serve. Received: none")
    for reason in damaged:
        _log.warning("%s", reason)
    return loaded


def load_version(card: dict[str, Any], directory: pathlib.Path, version: int, batching: Batching) -> ServedModel:
    """Verifies and loads one version of a published model, and computes its logits of one image, which takes long once.

    Raises:
        InputError: if it is damaged.
    """
    content = read_definition(directory, version, card)
    saved = SavedModel(directory / str(version))
    definitions = _parse_definitions(content)
    gathered = {
        key: gather(saved.functions[key], one, batching)
        for key, one in saved.signatures.items()
        if can_gather(saved.functions[key], one)
    }
    model = ServedModel(card, directory, version, definitions, saved.signatures, saved.call, gathered, batching)
    if "serving_default" in gathered:
        default = saved.signatures["serving_default"]
        shape = [1, *(size or 1 for size in default.image_shape or ())]
        model.call_gathered(default, np.zeros(shape, default.dtype))
    return model


def _parse_definitions(saved_model: bytes) -> dict[str, Any]:
    from tensorflow.core.protobuf import saved_model_pb2

    graph, *_ = saved_model_pb2.SavedModel.FromString(saved_model).meta_graphs
    return {name: definition for name, definition in graph.signature_def.items() if not name.startswith("__")}
