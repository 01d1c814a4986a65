"""Multiply-adds of one call of a layer, as the literature counts them.

Counted are products with weights, and the two products of attention: queries with keys, and attention with values. A
multiplication and the addition after it are one. Biases, normalisation, activations, pooling and sums count as 0.
"""

import contextlib
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
from keras import layers

from kdzoo.models.graph import trace, weights_cast

Shape = tuple[int, ...]
# From a layer, the shapes of its inputs in the order of its call's arguments, and the shapes of its outputs.
_Rule = Callable[[Any, Sequence[Shape], Sequence[Shape]], int]


def _convolution(layer: Any, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    """Each weight once at each position of the output, which has a channel for each filter."""
    kernel = tuple(layer.kernel.shape)
    return math.prod(outputs[0]) // kernel[-1] * math.prod(kernel)


def _depthwise(layer: Any, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    kernel = tuple(layer.kernel.shape)
    return math.prod(outputs[0]) // math.prod(kernel[-2:]) * math.prod(kernel)


def _separable(layer: Any, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    depthwise, pointwise = tuple(layer.depthwise_kernel.shape), tuple(layer.pointwise_kernel.shape)
    return math.prod(outputs[0]) // pointwise[-1] * (math.prod(depthwise) + math.prod(pointwise))


def _transposed(layer: Any, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    """Each weight once at each position of the input, cropped positions of the output included."""
    kernel = tuple(layer.kernel.shape)
    return math.prod(inputs[0]) // kernel[-1] * math.prod(kernel)


def _dense(layer: Any, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    kernel = tuple(layer.kernel.shape)
    return math.prod(inputs[0]) // kernel[0] * math.prod(kernel)


def _einsum(layer: Any, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    """Each weight once for each value of the input's own indices."""
    of_input, of_kernel = layer.equation.partition("->")[0].replace(" ", "").split(",")
    kernel = dict(zip(of_kernel, tuple(layer.kernel.shape), strict=True))
    shared = math.prod(size for index, size in kernel.items() if index in of_input)
    return math.prod(inputs[0]) // shared * math.prod(kernel.values())


def _multi_head(layer: Any, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    """The products of attention; the projections are layers within this one."""
    config, (query, value) = layer.get_config(), inputs[:2]
    if "num_query_heads" in config:  # grouped queries
        channels = 2 * config["num_query_heads"] * config["head_dim"]
    else:
        channels = config["num_heads"] * (config["key_dim"] + (config["value_dim"] or config["key_dim"]))
    axes = config.get("attention_axes") or range(1, len(query) - 1)
    return math.prod(query[:-1]) * math.prod(value[axis] for axis in axes) * channels


def _attention(layer: Any, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    query, value = inputs[:2]
    return math.prod(query[:-1]) * value[-2] * (query[-1] + value[-1])


_RULES: tuple[tuple[tuple[type, ...], _Rule], ...] = (
    ((layers.Conv1D, layers.Conv2D, layers.Conv3D), _convolution),
    ((layers.DepthwiseConv1D, layers.DepthwiseConv2D), _depthwise),
    ((layers.SeparableConv1D, layers.SeparableConv2D), _separable),
    ((layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose), _transposed),
    ((layers.Dense,), _dense),
    ((layers.EinsumDense,), _einsum),
    ((layers.MultiHeadAttention, layers.GroupQueryAttention), _multi_head),
    ((layers.Attention, layers.AdditiveAttention), _attention),
)
# Layers whose weights scale, shift or look up, whatever the weights' shape.
_WITHOUT_PRODUCTS = (
    layers.BatchNormalization,
    layers.LayerNormalization,
    layers.GroupNormalization,
    layers.RMSNormalization,
    layers.Normalization,
    layers.PReLU,
    layers.Embedding,
)


def count(
    operation: keras.Operation,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    outputs: Sequence[Any],
    unknown: set[str],
) -> int:
    """Counts the multiply-adds of one call, layers within a layer included.

    Args:
        operation: what is called. Other than a layer it counts as 0.
        args, kwargs: of the call; each tensor as a `keras.KerasTensor` of known shape, as the operation receives it.
        outputs: the tensors that it returns.
        unknown: receives the class and name of each layer that may multiply with its weights by a rule that is not
            known here: it counts as 0.
    """
    if not isinstance(operation, keras.Layer):
        return 0
    total = _count_own(operation, _shapes(operation, args, kwargs), _flat_shapes(outputs), unknown)
    within = [layer for layer in operation._flatten_layers(include_self=False) if isinstance(layer, keras.Layer)]
    if within and operation.weights:
        with _noted(within) as calls, weights_cast(operation):
            trace(operation, args, kwargs)
        total += sum(_count_own(*call, unknown) for call in calls)
    return total


def _count_own(layer: keras.Layer, inputs: Sequence[Shape], outputs: Sequence[Shape], unknown: set[str]) -> int:
    """Counts the products with a layer's own weights; those of layers within it are not its own."""
    rule = next((rule for types, rule in _RULES if isinstance(layer, types)), None)
    if rule:
        return rule(layer, inputs, outputs)
    inner = {id(weight) for one in layer._flatten_layers(include_self=False) for weight in one.weights}
    own = [weight for weight in layer.weights if id(weight) not in inner]
    # A weight of one axis only scales or shifts.
    if not isinstance(layer, _WITHOUT_PRODUCTS) and any(sum(n > 1 for n in weight.shape) > 1 for weight in own):
        unknown.add(f"{type(layer).__name__} {layer.name}")
    return 0


@contextlib.contextmanager
def _noted(within: Sequence[keras.Layer]) -> Iterator[list[tuple[keras.Layer, list[Shape], list[Shape]]]]:
    """Yields a list that receives each call of these layers meanwhile: layer, shapes of inputs, shapes of outputs."""
    calls: list[tuple[keras.Layer, list[Shape], list[Shape]]] = []

    def noting(layer: keras.Layer) -> Callable[..., Any]:
        call = layer.call

        def noted(*args: Any, **kwargs: Any) -> Any:
            outputs = call(*args, **kwargs)
            calls.append((layer, _shapes(layer, args, kwargs), _flat_shapes(outputs)))
            return outputs

        return noted

    try:
        for layer in within:
            vars(layer)["call"] = noting(layer)  # not by an attribute, which Keras would track
        yield calls
    finally:
        for layer in within:
            vars(layer).pop("call", None)


def _shapes(layer: keras.Layer, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Shape]:
    """The shapes of the tensors of a call, in the order of the parameters of the layer's `call`."""
    bound = inspect.signature(type(layer).call).bind(layer, *args, **kwargs)
    return _flat_shapes(list(bound.arguments.values())[1:])


def _flat_shapes(tensors: Any) -> list[Shape]:
    return [tuple(tensor.shape) for tensor in keras.tree.flatten(tensors) if hasattr(tensor, "shape")]
