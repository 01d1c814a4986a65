"""The graph of a functional Keras model as a list of steps, for a batch of one image.

Models within the model are opened: a step is a call of a layer or of an operation of `keras.ops`. A layer that is used
twice has two steps. Nothing is computed: shapes alone are known.
"""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras.src.backend import AutocastScope  # which Keras opens around each call of a layer, for its weights

from zoo import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """One call of an operation.

    Attributes:
        operation: a layer, or an operation of `keras.ops`.
        args, kwargs: of the call, with a `keras.KerasTensor` for each tensor.
        inputs: the tensors among them.
        outputs: the tensors that it makes.
    """

    operation: keras.Operation
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    inputs: Sequence[keras.KerasTensor]
    outputs: Sequence[keras.KerasTensor]


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """The steps of a model in the order in which Keras runs them, and the model's inputs and outputs."""

    inputs: Sequence[keras.KerasTensor]
    steps: Sequence[Step]
    outputs: Sequence[keras.KerasTensor]


def unroll(model: keras.Model) -> Graph:
    """Returns the graph of a functional or sequential model for a batch of one.

    Raises:
        InputError: if the model is a class of its own, whose operations show only as it runs; or if the size of a
            tensor is not known.
    """
    function = _function(model)
    if function is None:
        raise InputError(
            f"A model must be functional to have a cost, for example keras.Model(inputs, outputs). Received: {model}"
        )
    inputs = [keras.KerasTensor((1, *tensor.shape[1:]), dtype=tensor.dtype) for tensor in function.inputs]
    steps: list[Step] = []
    graph = Graph(inputs, steps, _run(function, inputs, steps))
    tensors = [*inputs, *(tensor for step in steps for tensor in step.outputs)]
    if any(None in tensor.shape for tensor in tensors):
        shapes = [tuple(tensor.shape) for tensor in function.inputs]
        raise InputError(f"A model's input must have a known size, for example (None, 32, 32, 3). Received: {shapes}")
    return graph


def _function(operation: keras.Operation) -> keras.Function | None:
    """The graph of operations that a model is; None for a layer, and for a model whose graph is not known."""
    if isinstance(operation, keras.Function):
        return operation
    if isinstance(operation, keras.Sequential) and hasattr(operation, "inputs"):
        return keras.Function(operation.inputs, operation.outputs)
    return None


def _run(function: keras.Function, inputs: Sequence[Any], steps: list[Step]) -> list[keras.KerasTensor]:
    """Appends the steps of a graph, in the order in which Keras runs them, and returns the graph's outputs.

    Shapes are inferred anew for these inputs: those of the graph itself have no batch size, which a reshape may move.
    """
    known = {id(symbol): tensor for symbol, tensor in zip(function.inputs, inputs, strict=True)}
    by_depth = function._nodes_by_depth  # Keras has no public list of calls, only of operations
    for node in (node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]):
        if node.is_input or any(id(symbol) not in known for symbol in node.input_tensors):
            continue
        args, kwargs = node.arguments.fill_in(known)
        inner = _function(node.operation)
        if inner is None:
            args, kwargs = _cast(node.operation, (args, kwargs))
            outputs = _infer(node.operation, args, kwargs)
            read = [known[id(symbol)] for symbol in node.input_tensors]
            steps.append(Step(node.operation, args, kwargs, read, outputs))
        else:
            outputs = _run(inner, keras.tree.flatten(args[0] if args else kwargs["inputs"]), steps)
        known |= {id(symbol): tensor for symbol, tensor in zip(node.outputs, outputs, strict=True)}
    return [known[id(symbol)] for symbol in function.outputs]


def _infer(operation: keras.Operation, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[keras.KerasTensor]:
    """The tensors that a call makes, each a new one, although an operation may pass its input on."""
    with weights_cast(operation):
        tensors = keras.tree.flatten(operation.compute_output_spec(*args, **kwargs))
        if any(None in tensor.shape for tensor in tensors):  # the rules of some layers, as EinsumDense, are no better
            tensors = keras.tree.flatten(trace(operation, args, kwargs))
    return [keras.KerasTensor(tensor.shape, dtype=tensor.dtype) for tensor in tensors]


def trace(operation: keras.Operation, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Runs an operation's `call` on tensors without values, in the context of `weights_cast`."""
    return keras.Operation.compute_output_spec(operation, *args, **kwargs)


def weights_cast(operation: keras.Operation) -> contextlib.AbstractContextManager[Any]:
    """The context in which a layer's `call` runs: its weights have the precision in which it computes."""
    if not isinstance(operation, keras.Layer):
        return contextlib.nullcontext()
    scope: contextlib.AbstractContextManager[Any] = AutocastScope(
        operation.compute_dtype if _casts(operation) else None
    )
    return scope


def _cast(operation: keras.Operation, arguments: Any) -> Any:
    """The arguments of a call with tensors in the precision in which a layer computes."""
    if not (isinstance(operation, keras.Layer) and _casts(operation)):
        return arguments

    def cast(value: Any) -> Any:
        if isinstance(value, keras.KerasTensor) and keras.backend.is_float_dtype(value.dtype):
            return keras.KerasTensor(value.shape, dtype=operation.compute_dtype)
        return value

    return keras.tree.map_structure(cast, arguments)


def _casts(layer: keras.Layer) -> bool:
    """Whether a layer casts floating-point inputs and weights to the precision in which it computes."""
    return bool(layer.autocast and keras.backend.is_float_dtype(layer.compute_dtype))
