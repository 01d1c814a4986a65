"""Gathers requests into batches by TensorFlow's own operation. Needs TensorFlow."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from typing import Any

from kdzoo.teachers.signature import Signature

POSITION, SIZE = "kdzoo/position", "kdzoo/size"  # outputs of `gather`; no output of a published model has a slash
_UNBOUNDED = 2**20  # batches: the queue is bounded before, see `server.start`
_queues = itertools.count()


@dataclasses.dataclass(frozen=True)
class Batching:
    """How requests are gathered into batches.

    Attributes:
        max_batch_size: most images of a batch; 1: requests are not gathered.
        timeout_ms: how long an image waits for others, in milliseconds, while no batch is computed.
    """

    max_batch_size: int = 128
    timeout_ms: float = 2.0


def is_fixed(signature: Signature) -> bool:
    """Whether a signature takes numbers of one shape, each of which is a valid image."""
    return signature.dtype != "string" and bool(signature.image_shape) and None not in (signature.image_shape or ())


def can_gather(function: Any, signature: Signature) -> bool:
    """Whether calls of a SavedModel's function can be computed together.

    Only images of one shape in which every number is valid are: pictures of different sizes form no batch, and a
    damaged file would be an error of everybody's request. Inputs and outputs need a first dimension of any size.
    """
    specs = [*function.structured_input_signature[1].values(), *function.structured_outputs.values()]
    return is_fixed(signature) and all(spec.shape.rank and spec.shape[0] is None for spec in specs)


def gather(
    function: Callable[..., Mapping[str, Any]], signature: Signature, batching: Batching
) -> Callable[..., Mapping[str, Any]]:
    """A function like a signature's, whose calls in several threads at once are computed together in batches.

    All functions share one thread, which computes their batches in turn, each by all cores.

    Args:
        function: of a SavedModel.
        signature: that of the function, for which `can_gather` is true.
        batching: the size of batches.

    Returns:
        The function. Two more outputs give, for each image, its position in the batch and the batch's size.
    """
    import tensorflow as tf

    spec = tf.TensorSpec([None, *(signature.image_shape or ())], signature.dtype)  # of any batch size
    names = list(signature.outputs)

    @tf.function(input_signature=[spec], autograph=False)
    def compute(images: Any) -> list[Any]:
        outputs, count = function(**{signature.input: images}), tf.shape(images)[0]
        return [*(outputs[name] for name in names), tf.range(count), tf.fill([count], count)]

    computation = compute.get_concrete_function()

    @tf.function(input_signature=[spec], autograph=False)
    def gathered(images: Any) -> dict[str, Any]:
        outputs = tf.raw_ops.BatchFunction(
            in_tensors=[images],
            captured_tensors=computation.captured_inputs,
            f=computation,
            Tout=[output.dtype for output in computation.outputs],
            num_batch_threads=1,
            max_batch_size=batching.max_batch_size,
            batch_timeout_micros=round(1000 * batching.timeout_ms),
            max_enqueued_batches=_UNBOUNDED,
            # TensorFlow keeps the thread of a name, so a function that is loaded later shares it.
            shared_name=f"kdzoo/{batching.max_batch_size}/{batching.timeout_ms}",
            batching_queue=str(next(_queues)),
        )
        return dict(zip([*names, POSITION, SIZE], outputs, strict=True))

    concrete = gathered.get_concrete_function()
    return lambda **inputs: concrete(*inputs.values())
