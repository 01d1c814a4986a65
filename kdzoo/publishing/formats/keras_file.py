"""Keras's own format, of Keras's own layers: `keras.saving.load_model` needs no kdzoo."""

import json
import pathlib
import zipfile
from typing import ClassVar

import numpy as np

from kdzoo.publishing import standalone
from kdzoo.publishing.formats.base import Format, Run, Source
from kdzoo.publishing.formats.saved_model import set_threads

_DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip file can hold


class KerasFile(Format):
    """A .keras file, run by Keras on TensorFlow."""

    name = "keras"
    suffix = ".keras"
    packages: ClassVar = {"none": ("keras", "tensorflow")}

    def write(self, source: Source, path: pathlib.Path) -> None:
        dataset = source.record["dataset"]
        network = standalone.with_plain_layers(source.network)
        standalone.from_pixels(network, mean=dataset["mean"], std=dataset["std"]).save(path)
        _drop_date(path)

    def load(self, path: pathlib.Path, *, batch: int, threads: int) -> Run:
        import keras
        import tensorflow as tf

        set_threads(tf, threads)
        model = keras.saving.load_model(path)  # in safe mode: code in the file is not run

        def run(images: np.ndarray) -> np.ndarray:
            logits: np.ndarray = model.predict_on_batch(images)
            return logits

        return run


def _drop_date(path: pathlib.Path) -> None:
    """Replaces the dates that Keras and the zip file keep by a constant: the same network gives the same bytes."""
    with zipfile.ZipFile(path) as file:
        entries = {name: file.read(name) for name in file.namelist()}
    metadata = json.loads(entries["metadata.json"])
    entries["metadata.json"] = json.dumps(metadata | {"date_saved": "1980-01-01@00:00:00"}).encode()
    with zipfile.ZipFile(path, "w") as file:
        for name, content in entries.items():
            file.writestr(zipfile.ZipInfo(name, _DATE), content)
