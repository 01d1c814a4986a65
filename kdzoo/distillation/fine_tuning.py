"""Fine-tuning: which layers of a network train, and which of them are its head."""

import contextlib
import re
from collections.abc import Iterator

import keras

from zoo import InputError

_NAMED = 400  # most characters of layers' paths in a message


def list_layers(model: keras.Model, prefix: str = "") -> Iterator[tuple[str, keras.layers.Layer]]:
    """Yields each layer of a network with its path, from the first to the last.

    A path is the layer's name, behind those of the networks within which it is: `backbone/conv1`.
    """
    for layer in model.layers:
        path = f"{prefix}{layer.name}"
        yield path, layer
        if isinstance(layer, keras.Model):
            yield from list_layers(layer, f"{path}/")


def find_head(model: keras.Model) -> keras.layers.Layer:
    """Returns the layer that makes the logits: the last one with weights. Of a zoo network it is `logits`.

    Raises:
        InputError: if no layer has weights.
    """
    layers = [layer for _, layer in list_layers(model) if layer.weights and not isinstance(layer, keras.Model)]
    if not layers:
        raise InputError(f"A network must have a layer with weights. Received: {model.name}")
    return layers[-1]


def backbone_variables(model: keras.Model) -> list[keras.Variable]:
    """Returns the variables to train of all layers but the head."""
    of_head = {id(variable) for variable in find_head(model).variables}
    return [variable for variable in model.trainable_variables if id(variable) not in of_head]


def freeze(model: keras.Model, pattern: str) -> None:
    """Freezes layers: their weights do not train, and BatchNorm among them normalises by its moving statistics.

    Args:
        model: not yet compiled.
        pattern: a regular expression, searched for in each layer's path: see `list_layers`.

    Raises:
        InputError: if it matches no layer with weights, or all that train.
    """
    layers = {path: layer for path, layer in list_layers(model) if layer.weights}
    matched = [layer for path, layer in layers.items() if re.search(pattern, path)]
    if not matched:
        paths = ", ".join(layers)
        paths = paths if len(paths) <= _NAMED else f"{paths[:_NAMED].rpartition(', ')[0]}, ..."
        raise InputError(f"freeze must match a layer of {model.name}: {paths}. Received: {pattern}")
    for layer in matched:
        layer.trainable = False
    if not model.trainable_variables:
        raise InputError(
            f"freeze must leave a layer of {model.name} to train, for example its head. Received: {pattern}"
        )


@contextlib.contextmanager
def thawed(model: keras.Model) -> Iterator[None]:
    """Within it, no layer is frozen."""
    layers = [(layer, layer.trainable) for _, layer in list_layers(model)]  # a network comes before its layers
    for layer, _ in layers:
        layer.trainable = True
    try:
        yield
    finally:
        for layer, trainable in layers:
            layer.trainable = trainable
