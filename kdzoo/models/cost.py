"""What one image costs a network: multiply-adds, and the peak memory of its activations. Exact counts of its graph."""

import functools
import logging
import math

import keras

from kdzoo.models import multiply_adds
from kdzoo.models.graph import Graph, unroll
from zoo import InputError

_log = logging.getLogger(__name__)

FLOAT32 = 4  # bytes


def describe(model: keras.Model) -> dict[str, int]:
    """Returns the costs of a network as its record holds them; none of a model whose graph or size is not known."""
    try:
        graph = unroll(model)
    except InputError:
        return {}
    return {"multiply_adds": _count(graph), "peak_activation_bytes": _peak(graph)}


def count_multiply_adds(model: keras.Model) -> int:
    """Counts the multiply-adds of a functional or sequential model for one image, as the literature does.

    Counted are products with weights, and the products of queries with keys and of attention with values. See
    `kdzoo.models.multiply_adds`. Layers that may multiply by a rule that is not known count as 0, and are logged once.

    Raises:
        InputError: if the model's graph or the size of its input is not known.
    """
    return _count(unroll(model))


def peak_activation_bytes(model: keras.Model) -> int:
    """Returns the largest sum of the tensors that are live at once as a model runs on one image, in bytes of float32.

    Operations run one after another, in the topological order in which Keras runs them. A tensor is live from when it
    is made until the last operation that reads it has run; the model's input and outputs count too. No operation works
    in place, and what a layer holds within itself does not count.

    Raises:
        InputError: if the model's graph or the size of its input is not known.
    """
    return _peak(unroll(model))


def _count(graph: Graph) -> int:
    unknown: set[str] = set()
    total = sum(
        multiply_adds.count(step.operation, step.args, step.kwargs, step.outputs, unknown) for step in graph.steps
    )
    if unknown:
        _warn(", ".join(sorted(unknown)))
    return total


@functools.cache
def _warn(unknown: str) -> None:
    _log.warning("Counted as 0 multiply-adds, since their rule is not known: %s", unknown)


def _peak(graph: Graph) -> int:
    end = len(graph.steps)
    last_read = {id(tensor): i for i, step in enumerate(graph.steps) for tensor in step.inputs}
    last_read |= {id(tensor): end for tensor in graph.outputs}
    sizes = {id(tensor): FLOAT32 * math.prod(tensor.shape) for tensor in graph.inputs}
    live = peak = sum(sizes.values())
    for i, step in enumerate(graph.steps):
        made = {id(tensor): FLOAT32 * math.prod(tensor.shape) for tensor in step.outputs}
        sizes |= made
        live += sum(made.values())
        peak = max(peak, live)
        touched = {id(tensor) for tensor in (*step.inputs, *step.outputs)}
        live -= sum(sizes[tensor] for tensor in touched if last_read.get(tensor, i) == i)
    return peak
