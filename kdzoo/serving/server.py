"""A gRPC server of published models: TensorFlow Serving's PredictionService, model status and health checks.

Needs `pip install kdzoo[serving]`.
"""

import concurrent.futures
import dataclasses
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from kdzoo.hub.cards import VERSION
from kdzoo.serving.address import check_address
from kdzoo.serving.models import ServedModel
from kdzoo.teachers.grpc_api import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    grpc,
    health,
    health_pb2,
    health_pb2_grpc,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    tf,
)
from kdzoo.teachers.saved_model import CallError
from kdzoo.teachers.signature import Signature
from zoo import InputError

REQUEST_MB = 16
WORKERS = 8


def start(
    models: Sequence[ServedModel], *, host: str = "localhost", port: int = 8500, request_mb: float = REQUEST_MB
) -> tuple[grpc.Server, int]:
    """Starts a server of these models. It also responds to gRPC's standard health checks.

    Args:
        models: see `kdzoo.serving.load`.
        host: name or address to listen on; localhost can be reached from this machine only.
        port: to listen on; 0: any free port.
        request_mb: largest request, in 2^20 bytes.

    Returns:
        The server, which `stop(grace)` stops, and its port.

    Raises:
        InputError: if the host is not this machine's, or the port is not free: see `kdzoo.serving.check_address`.
    """
    target = check_address(host, port)
    max_bytes = int(request_mb * 2**20)
    options = {"grpc.max_receive_message_length": max_bytes + 2**16, "grpc.max_send_message_length": -1}
    options |= {"grpc.so_reuseport": 0}  # else a second server would share the port without an error
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(WORKERS), options=list(options.items()))
    service = _PredictionService(models, max_bytes)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(service, server)
    healthy = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    for name in ("", "tensorflow.serving.PredictionService"):
        healthy.set(name, health_pb2.HealthCheckResponse.SERVING)
    try:
        port = server.add_insecure_port(target)
    except RuntimeError as error:  # taken in the meantime
        raise InputError(f"host and port must be free to listen on. Received: {target}: {error}") from None
    server.start()
    return server, port


class _PredictionService(
    prediction_service_pb2_grpc.PredictionServiceServicer, model_service_pb2_grpc.ModelServiceServicer
):
    """The handlers of requests, named as in TensorFlow Serving's protocol. gRPC calls them in several threads."""

    def __init__(self, models: Sequence[ServedModel], max_bytes: int):
        self._models = {model.name: model for model in models}
        self._max_bytes = max_bytes

    def Predict(self, request: Any, context: Any) -> Any:
        model = self._find(request.model_spec, context)
        signature = _select(model, request, context)
        images = self._read(request.inputs[signature.input], signature, context)
        response = predict_pb2.PredictResponse()
        _describe(response.model_spec, model, signature.name)
        try:
            outputs = model.call(signature, images)
        except CallError as error:
            if _is_fixed(signature):
                _refuse(context, str(error), grpc.StatusCode.INTERNAL)
            _refuse(context, f"{signature.input} must hold whole pictures. Received: {error.reason}")
        for key, values in outputs.items():
            response.outputs[key].CopyFrom(tf.make_tensor_proto(values))
        return response

    def GetModelMetadata(self, request: Any, context: Any) -> Any:
        model = self._find(request.model_spec, context)
        if list(request.metadata_field) != ["signature_def"]:
            _refuse(context, f"metadata_field must be signature_def. Received: {', '.join(request.metadata_field)}")
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        _describe(response.model_spec, model)
        response.metadata["signature_def"].Pack(
            get_model_metadata_pb2.SignatureDefMap(signature_def=dict(model.definitions))
        )
        return response

    def GetModelStatus(self, request: Any, context: Any) -> Any:
        self._find(request.model_spec, context)
        response = get_model_status_pb2.GetModelStatusResponse()
        available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        response.model_version_status.add(version=int(VERSION), state=available)
        return response

    def _find(self, spec: Any, context: Any) -> ServedModel:
        model = self._models.get(spec.name)
        if model is None:
            _refuse(
                context,
                f"Model must be one of {', '.join(self._models)}. Received: {spec.name[:100]}",
                grpc.StatusCode.NOT_FOUND,
            )
        if spec.version_label or (spec.HasField("version") and spec.version.value != int(VERSION)):
            received = spec.version_label[:100] or spec.version.value
            _refuse(context, f"Version must be {VERSION} or none. Received: {received}", grpc.StatusCode.NOT_FOUND)
        return model

    def _read(self, tensor: Any, signature: Signature, context: Any) -> np.ndarray:
        """The images of a request, checked: a request may hold anything."""
        dtype, image_shape = tf.as_dtype(signature.dtype), signature.image_shape or ()
        shape = [dimension.size for dimension in tensor.tensor_shape.dim]
        fits = len(shape) == 1 + len(image_shape) and all(
            size == wanted if wanted is not None else size > 0
            for size, wanted in zip(shape[1:], image_shape, strict=True)
        )
        if tensor.dtype != dtype.as_datatype_enum or not fits or shape[0] < 0:
            wanted = ", ".join(["n", *("any" if size is None else str(size) for size in image_shape)])
            _refuse(
                context,
                f"{signature.input} must be {signature.dtype} [{wanted}]."
                f" Received: {tf.as_dtype(tensor.dtype).name if tensor.dtype else 'no dtype'} {shape[:10]}",
            )
        # A small message can encode a large tensor of equal values, so the tensor's size counts.
        count = int(np.prod(shape, dtype=object))
        size = sum(map(len, tensor.string_val)) if dtype == tf.string else count * dtype.size
        if size > self._max_bytes:
            _refuse(
                context,
                f"A request must be of at most {self._max_bytes} bytes. Received: {size}",
                grpc.StatusCode.RESOURCE_EXHAUSTED,
            )
        try:
            if dtype == tf.string and len(tensor.string_val) != count:
                raise ValueError(f"{len(tensor.string_val)} values for {shape}")
            return tf.make_ndarray(tensor)
        except (ValueError, TypeError) as error:
            _refuse(context, f"{signature.input} must hold as many values as its shape needs. Received: {error}")


def _select(model: ServedModel, request: Any, context: Any) -> Signature:
    """The signature of a request, with only the outputs that it names, or all if it names none."""
    name = request.model_spec.signature_name or "serving_default"
    signature = model.signatures.get(name)
    if signature is None:
        _refuse(context, f"Signature must be one of {', '.join(model.signatures)}. Received: {name}")
    wanted = list(request.output_filter) or list(signature.outputs)
    if unknown := set(wanted) - signature.outputs.keys():
        _refuse(context, f"Outputs must be of {', '.join(signature.outputs)}. Received: {', '.join(unknown)}")
    if set(request.inputs) != {signature.input}:
        _refuse(context, f"Input must be {signature.input}. Received: {', '.join(request.inputs) or 'none'}")
    return dataclasses.replace(signature, outputs={key: signature.outputs[key] for key in wanted})


def _is_fixed(signature: Signature) -> bool:
    """Whether a signature takes numbers of one shape, each of which is a valid image."""
    return signature.dtype != "string" and None not in (signature.image_shape or ())


def _describe(spec: Any, model: ServedModel, signature: str = "") -> None:
    """Fills in the response's `ModelSpec`."""
    spec.name, spec.signature_name = model.name, signature
    spec.version.value = int(VERSION)


def _refuse(context: Any, message: str, code: Any = grpc.StatusCode.INVALID_ARGUMENT) -> NoReturn:
    """Ends the request with an error."""
    context.abort(code, message)
    raise AssertionError("context.abort always raises")
