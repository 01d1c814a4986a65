"""SavedModel, as `apps.publish` writes it: each weight once, with signatures for pictures of any size too."""

import pathlib
from typing import Any, ClassVar

import numpy as np

from kdzoo.data import crops
from kdzoo.data.decoding import parse_colour
from kdzoo.publishing import export
from kdzoo.publishing.formats.base import Format, Run, Source
from kdzoo.publishing.picture_graph import PictureGraph


class SavedModel(Format):
    """A directory, run by TensorFlow. float16 is how weights are stored: the graph casts them to float32."""

    name = "saved_model"
    suffix = ""
    packages: ClassVar = {"none": ("tensorflow",), "float16": ("tensorflow",)}

    def write(self, source: Source, path: pathlib.Path) -> None:
        self._write(source, path, "float32")

    def quantize(self, kind: str, source: Source, exact: pathlib.Path, path: pathlib.Path) -> None:
        self._write(source, path, kind)

    def _write(self, source: Source, path: pathlib.Path, store: str) -> None:
        dataset, config = source.record["dataset"], source.record["config"]
        graph = PictureGraph(
            image_shape=tuple(dataset["image_shape"]),
            share=crops.share_of(config.get("augment", "")),
            background=parse_colour(config.get("background", "white")),
        )
        statistics = {"mean": dataset["mean"], "std": dataset["std"]}
        export.write_saved_model(source.network, path, **statistics, graph=graph, store=store)

    def load(self, path: pathlib.Path, *, batch: int, threads: int) -> Run:
        import tensorflow as tf

        set_threads(tf, threads)
        loaded = tf.saved_model.load(str(path))  # the signature holds no reference to it
        serve = loaded.signatures["serving_default"]

        def run(images: np.ndarray, loaded: Any = loaded) -> np.ndarray:
            logits: np.ndarray = serve(images=tf.constant(images))["logits"].numpy()
            return logits

        return run


def set_threads(tf: Any, threads: int) -> None:
    """Sets the threads of TensorFlow, which must not have computed anything before."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
