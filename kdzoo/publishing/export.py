"""A zoo model written as a SavedModel that holds each weight once and needs neither Keras nor kdzoo."""

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kdzoo import parent_process
from kdzoo.data import augmentation, crops
from kdzoo.data.decoding import parse_colour
from kdzoo.hub import cards
from kdzoo.publishing import own_process
from kdzoo.publishing.picture_graph import PictureGraph
from kdzoo.runs import records
from kdzoo.runs.weights import load_model
from zoo import InputError, list_stages

if TYPE_CHECKING:
    import keras

STORES = ("float32", "float16")


def write_in_own_process(run: pathlib.Path, directory: pathlib.Path, store: str) -> list[dict[str, Any]]:
    """Writes the SavedModel of a run's network in a new process.

    TensorFlow numbers the functions that a process traces, and the graph holds those numbers. So only a new process
    writes the same bytes each time.

    Args:
        run: directory of a finished run.
        directory: of the SavedModel.
        store: dtype of the stored weights.

    Returns:
        The weights, as `write_saved_model` returns them.

    Raises:
        InputError: if TensorFlow is not installed, or fails.
    """
    command = [sys.executable, "-m", __name__, str(run), str(directory), store]
    done = subprocess.run(command, env=own_process.environment(), capture_output=True, text=True)
    if done.returncode:
        raise InputError(
            f"A SavedModel must be written, which needs TensorFlow. Received: {done.stderr.strip()[-300:]}"
        )
    weights: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return weights


def main(run: str, directory: str, store: str) -> None:
    """Writes the SavedModel of a run's network and prints the weights, as `write_saved_model` returns them, as JSON."""
    parent_process.end_with_parent()
    model, record = load_model(run), records.read(run)
    dataset, config = record["dataset"], record["config"]
    graph = PictureGraph(
        image_shape=tuple(dataset["image_shape"]),
        share=crops.share_of(config.get("augment", "")),
        background=parse_colour(config.get("background", "white")),
    )
    weights = write_saved_model(model, directory, mean=dataset["mean"], std=dataset["std"], graph=graph, store=store)
    print(json.dumps(weights))


def write_saved_model(
    model: "keras.Model",
    directory: str | os.PathLike[str],
    *,
    mean: Sequence[float],
    std: Sequence[float],
    graph: PictureGraph | None = None,
    store: str = "float32",
) -> list[dict[str, Any]]:
    """Writes a zoo model as a SavedModel that takes raw images, and pictures of any size.

    `serving_default` maps `images` uint8 [n, h, w, c] to `logits` and `probabilities`, float32 [n, classes];
    `features` maps them to `logits` and each stage's output. `pictures`, uint8 [n, height, width, c] of any size, and
    `encoded`, string [n], contents of JPEG and PNG files, have the outputs of `serving_default`: see `PictureGraph`.

    Args:
        model: the network, on the TensorFlow backend.
        directory: of the SavedModel.
        mean, std: of the images the network was trained on, a number a channel.
        graph: what brings pictures to the network's size; None: their whole centred square.
        store: dtype of the stored weights, float32 or float16.

    Returns:
        Path, shape, dtype and offset in bytes in `variables.data-00000-of-00001` of each weight.
    """
    import keras
    import tensorflow as tf

    module, tapped = _store_weights(model, store), _tap_stages(model)

    def apply(network: Any, images: Any) -> Any:
        count = tf.shape(images)[0]
        # TensorFlow's convolutions fail on an empty batch on a CPU, so one image is added to it.
        images = tf.pad(images, [[0, tf.cast(tf.equal(count, 0), tf.int32)], [0, 0], [0, 0], [0, 0]])
        standardised = augmentation.standardise(tf.cast(images, tf.float32), mean=mean, std=std)
        values = [tf.cast(stored, v.dtype) for stored, v in zip(module.weights.values(), model.variables, strict=True)]
        with keras.StatelessScope(state_mapping=list(zip(model.variables, values, strict=True))):
            outputs = network(standardised, training=False)
        return tf.nest.map_structure(lambda output: tf.ensure_shape(output[:count], output.shape), outputs)

    signature = [tf.TensorSpec([None, *model.input_shape[1:]], tf.uint8, name="images")]

    @tf.function(input_signature=signature)
    def serving_default(images: Any) -> dict[str, Any]:
        logits = apply(model, images)
        return {"logits": logits, "probabilities": tf.nn.softmax(logits)}

    @tf.function(input_signature=signature)
    def features(images: Any) -> dict[str, Any]:
        return apply(tapped, images)

    of_pictures = _of_pictures(serving_default, graph or PictureGraph(model.input_shape[1:]))
    _save(module, pathlib.Path(directory), {"serving_default": serving_default, "features": features, **of_pictures})
    return _locate_weights(model, module.weights, pathlib.Path(directory))


def _store_weights(model: "keras.Model", store: str) -> Any:
    """Returns a module whose `weights` are the network's variables, floating-point ones in this dtype."""
    import keras
    import tensorflow as tf

    module = tf.Module()
    # TensorFlow writes variables to the data file in the order of these names.
    module.weights = {
        f"{i:05d}": tf.Variable(
            keras.ops.convert_to_numpy(variable),
            dtype=store if keras.backend.is_float_dtype(variable.dtype) else variable.dtype,  # seeds are integers
            trainable=False,
            name=variable.path,
        )
        for i, variable in enumerate(model.variables)
    }
    return module


def _tap_stages(model: "keras.Model") -> "keras.Model":
    """The network with the outputs of its stages beside its logits."""
    import keras

    stages = {name: model.get_layer(name).output for name in list_stages(model)}
    return keras.Model(model.inputs, {"logits": model.outputs[0], **stages})


def _of_pictures(serving_default: Any, graph: PictureGraph) -> dict[str, Any]:
    """The signatures of pictures of any size, by name: see `write_saved_model`."""
    import tensorflow as tf

    channels = graph.image_shape[2]

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, channels], tf.uint8, name="pictures")])
    def pictures(pictures: Any) -> dict[str, Any]:
        return serving_default(graph.resize(pictures))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="encoded")])
    def encoded(encoded: Any) -> dict[str, Any]:
        return serving_default(graph.decode(encoded))

    return {"pictures": pictures} | ({"encoded": encoded} if channels in (1, 3) else {})


def _save(module: Any, directory: pathlib.Path, signatures: dict[str, Any]) -> None:
    import tensorflow as tf

    tf.saved_model.save(module, str(directory), signatures=signatures)
    (directory / "fingerprint.pb").unlink()  # holds a random number; TensorFlow loads the model without it
    (directory / "assets").rmdir()


def _locate_weights(model: "keras.Model", variables: dict[str, Any], directory: pathlib.Path) -> list[dict[str, Any]]:
    """The position of each weight in the data file, where they follow one another in the order of their names."""
    arrays = [variable.numpy() for variable in variables.values()]
    packed = b"".join(array.astype(array.dtype.newbyteorder("<")).tobytes() for array in arrays)
    offset = (directory / "variables" / pathlib.Path(cards.VARIABLES).name).read_bytes().find(packed)
    if offset < 0:
        raise RuntimeError("this version of TensorFlow orders its data files differently")
    weights = []
    for variable, array in zip(model.variables, arrays, strict=True):
        shape = list(array.shape)
        weights.append({"path": variable.path, "shape": shape, "dtype": array.dtype.name, "offset": offset})
        offset += array.nbytes
    return weights


if __name__ == "__main__":
    main(*sys.argv[1:])
