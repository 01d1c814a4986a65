"""Outputs within a network that methods compare: its stages, and the features of its penultimate layer."""

from collections.abc import Sequence
from typing import Any

import keras

from zoo import InputError, list_stages


def stage_names(model: keras.Model, names: Sequence[str] = ()) -> list[str]:
    """Names of the layers whose outputs are a network's stages, first to last.

    Args:
        model: the network.
        names: the layers; none: those named stage1, stage2 and so on.

    Raises:
        InputError: if there are none, or a layer is missing or has no output [n, h, w, channels].
    """
    images = _image_layers(model)
    found = list(names) or list_stages(model)
    received = "none" if not found else next((name for name in found if name not in images), None)
    if received:
        raise InputError(
            "Attention transfer compares layers with outputs [n, height, width, channels], named stage1, stage2... or"
            f" given by name; {model.name} has {_describe(images)}. Received: {received} of {model.name}"
        )
    return found


def with_outputs(
    model: keras.Model,
    *,
    stages: bool = True,
    features: bool = False,
    last_map: bool = False,
    names: Sequence[str] = (),
) -> keras.Model:
    """Returns a model with the same layers and the outputs of `kdzoo.distillation.Outputs`, as far as they are wanted.

    Args:
        model: the network.
        stages: whether its stages are wanted, a list of [n, h, w, channels].
        features: whether the input of its last dense layer is wanted, [n, channels].
        last_map: whether the input of its last global average pooling is wanted, [n, h, w, channels].
        names: of the stages, see `stage_names`.

    Raises:
        InputError: if it has none.
    """
    outputs = {"logits": model.outputs[0]}
    if stages:
        outputs["stages"] = [model.get_layer(name).output for name in stage_names(model, names)]
    if features:
        outputs["features"] = find_head(model).input
    if last_map:
        outputs["last_map"] = find_last_map(model)
    return keras.Model(model.inputs, outputs, name=f"{model.name}_tap")


def find_head(model: keras.Model) -> keras.layers.Dense:
    """Returns a network's last dense layer.

    Raises:
        InputError: if it does not end in one.
    """
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    if not dense or len(dense[-1].input.shape) != 2:
        raise InputError(
            "A method that compares penultimate features needs networks that end in a dense layer, as zoo models do."
            f" Received: {model.name}"
        )
    return dense[-1]


def find_last_map(model: keras.Model) -> Any:
    """Returns the input of a network's last global average pooling, [n, h, w, channels].

    Raises:
        InputError: if it has none.
    """
    pools = [layer for layer in model.layers if isinstance(layer, keras.layers.GlobalAveragePooling2D)]
    if not pools:
        raise InputError(
            "A method that reuses the teacher's classifier needs networks with global average pooling, as zoo models"
            f" have. Received: {model.name}"
        )
    return pools[-1].input


def _image_layers(model: keras.Model) -> dict[str, tuple[int | None, ...]]:
    """Layers with one output [n, h, w, channels], in order, and (h, w, channels); not those that only pad."""
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.ZeroPadding2D)]
    outputs = {layer.name: layer.output for layer in layers}
    return {name: tuple(x.shape[1:]) for name, x in outputs.items() if len(getattr(x, "shape", ())) == 4}


def _describe(images: dict[str, tuple[int | None, ...]]) -> str:
    """Names the stages, or else the last layer of each size."""
    last = {shape[:2]: name for name, shape in images.items()}
    named = [name for name in images if name.startswith("stage") and name[5:].isdecimal()] or last.values()
    return ", ".join(f"{name} ({'x'.join(map(str, images[name]))})" for name in named) or "none"
