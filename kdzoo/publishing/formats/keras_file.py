"""Keras's own format, of Keras's own layers: `keras.saving.load_model` needs no kdzoo."""

import json
import pathlib
import zipfile
from typing import Any, ClassVar

import numpy as np

from kdzoo.publishing.formats.base import Format, Run, Source
from kdzoo.publishing.formats.saved_model import set_threads

_DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip file can hold
# Classes of the zoo -> modules of those of the same name in Keras.
_MODULES = {"kdzoo>BatchNormalization": "keras.layers", "kdzoo>HeNormal": "keras.initializers"}


class KerasFile(Format):
    """A .keras file, run by Keras on TensorFlow."""

    name = "keras"
    suffix = ".keras"
    packages: ClassVar = {"none": ("keras", "tensorflow")}

    def write(self, source: Source, path: pathlib.Path) -> None:
        source.model.save(path)
        _edit(path)

    def load(self, path: pathlib.Path, *, batch: int, threads: int) -> Run:
        import keras
        import tensorflow as tf

        set_threads(tf, threads)
        model = keras.saving.load_model(path)  # in safe mode: code in the file is not run

        def run(images: np.ndarray) -> np.ndarray:
            logits: np.ndarray = model.predict_on_batch(images)
            return logits

        return run


def _edit(path: pathlib.Path) -> None:
    """Has Keras's own classes in place of the zoo's, which compute the same up to rounding: it loads without kdzoo.

    Dates become constant, and addresses in memory, by which Keras knows objects that are shared, numbers: the same
    network gives the same bytes.
    """
    shared: dict[int, int] = {}

    def own(fields: dict[str, Any]) -> dict[str, Any]:
        if (address := fields.get("shared_object_id")) is not None:
            fields["shared_object_id"] = shared.setdefault(address, len(shared))
        module = _MODULES.get(fields.get("registered_name") or "")
        return fields if module is None else fields | {"module": module, "registered_name": None}

    with zipfile.ZipFile(path) as file:
        entries = {name: file.read(name) for name in file.namelist()}
    metadata = json.loads(entries["metadata.json"])
    entries["metadata.json"] = json.dumps(metadata | {"date_saved": "1980-01-01@00:00:00"}).encode()
    entries["config.json"] = json.dumps(json.loads(entries["config.json"], object_hook=own)).encode()
    with zipfile.ZipFile(path, "w") as file:
        for name, content in entries.items():
            file.writestr(zipfile.ZipInfo(name, _DATE), content)
