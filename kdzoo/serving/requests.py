"""What a request must be. Every check comes before the images are read: a request may hold anything."""

import dataclasses
from typing import Any

import numpy as np

from kdzoo.serving.models import ServedModel
from kdzoo.teachers.grpc_api import RETRY, grpc, tf
from kdzoo.teachers.signature import Signature


class RefusalError(Exception):
    """Ends a request with a status.

    Args:
        message: the rule, and what was received.
        code: gRPC's.
        retry_ms: after which time the client may send the request again, in milliseconds.
    """

    def __init__(self, message: str, code: Any = grpc.StatusCode.INVALID_ARGUMENT, *, retry_ms: int | None = None):
        super().__init__(message)
        self.code = code
        self.metadata = () if retry_ms is None else ((RETRY, str(retry_ms)),)


def check_version(model: ServedModel, spec: Any) -> None:
    """Raises RefusalError if a `ModelSpec` names another version than the loaded one."""
    if spec.version_label or (spec.HasField("version") and spec.version.value != model.version):
        received = spec.version_label[:100] or spec.version.value
        raise RefusalError(f"Version must be {model.version} or none. Received: {received}", grpc.StatusCode.NOT_FOUND)


def select(model: ServedModel, request: Any) -> Signature:
    """The signature of a request, with only the outputs that it names, or all if it names none.

    Raises:
        RefusalError: if the model has no such signature, input or output.
    """
    name = request.model_spec.signature_name or "serving_default"
    signature = model.signatures.get(name)
    if signature is None:
        raise RefusalError(f"Signature must be one of {', '.join(model.signatures)}. Received: {name}")
    wanted = list(request.output_filter) or list(signature.outputs)
    if unknown := set(wanted) - signature.outputs.keys():
        raise RefusalError(f"Outputs must be of {', '.join(signature.outputs)}. Received: {', '.join(unknown)}")
    if set(request.inputs) != {signature.input}:
        raise RefusalError(f"Input must be {signature.input}. Received: {', '.join(request.inputs) or 'none'}")
    return dataclasses.replace(signature, outputs={key: signature.outputs[key] for key in wanted})


def count_images(tensor: Any, signature: Signature, max_bytes: int) -> int:
    """The number of images of a request.

    Args:
        tensor: TensorFlow's `TensorProto`.
        signature: of the model.
        max_bytes: most that the images may have.

    Raises:
        RefusalError: if dtype or shape are not the signature's, or the images are too large.
    """
    dtype, image_shape = tf.as_dtype(signature.dtype), signature.image_shape or ()
    shape = [dimension.size for dimension in tensor.tensor_shape.dim]
    fits = len(shape) == 1 + len(image_shape) and all(
        size == wanted if wanted is not None else size > 0 for size, wanted in zip(shape[1:], image_shape, strict=True)
    )
    if tensor.dtype != dtype.as_datatype_enum or not fits or shape[0] < 0:
        wanted = ", ".join(["n", *("any" if size is None else str(size) for size in image_shape)])
        received = f"{tf.as_dtype(tensor.dtype).name if tensor.dtype else 'no dtype'} {shape[:10]}"
        raise RefusalError(f"{signature.input} must be {signature.dtype} [{wanted}]. Received: {received}")
    # A small message can encode a large tensor of equal values, so the tensor's size counts.
    size = sum(map(len, tensor.string_val)) if dtype == tf.string else _count_values(tensor) * dtype.size
    if size > max_bytes:
        raise RefusalError(
            f"A request must be of at most {max_bytes} bytes. Received: {size}", grpc.StatusCode.RESOURCE_EXHAUSTED
        )
    if dtype == tf.string and len(tensor.string_val) != shape[0]:
        raise _incomplete(signature, f"{len(tensor.string_val)} values for {shape}")
    return int(shape[0])


def read(tensor: Any, signature: Signature) -> np.ndarray:
    """The images of a request.

    Raises:
        RefusalError: if it holds fewer or more values than its shape needs.
    """
    try:
        return tf.make_ndarray(tensor)
    except (ValueError, TypeError) as error:
        raise _incomplete(signature, error) from None


def _count_values(tensor: Any) -> int:
    return int(np.prod([dimension.size for dimension in tensor.tensor_shape.dim], dtype=object))


def _incomplete(signature: Signature, reason: object) -> RefusalError:
    return RefusalError(f"{signature.input} must hold as many values as its shape needs. Received: {reason}")
