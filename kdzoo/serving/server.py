"""Models behind gRPC: TensorFlow Serving's PredictionService, as a server of published models and as its client.

Needs `pip install kdzoo[serving]`.
"""

import concurrent.futures
import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from kdzoo.hub.cards import SAVED_MODEL, VERSION, verify
from kdzoo.hub.models import locate
from kdzoo.teachers.saved_model import load_saved_model
from kdzoo.teachers.signature import Signature
from zoo import InputError

try:
    import grpc
    import tensorflow as tf
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc
    from tensorflow_serving.apis import (
        get_model_metadata_pb2,
        get_model_status_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_service_pb2_grpc,
    )
except ImportError as error:
    raise InputError(
        "grpc:// teachers and apps.serve need TensorFlow and what pip install 'kdzoo[serving]' brings."
        f" Received: {error}"
    ) from None

_log = logging.getLogger(__name__)

REQUEST_MB = 16
WORKERS = 8


# The server.


@dataclasses.dataclass(frozen=True)
class Served:
    """A loaded model."""

    name: str
    definitions: Mapping
    signatures: Mapping[str, Signature]
    call: Callable[[Signature, np.ndarray], dict[str, np.ndarray]]


def load(cards: Sequence[Mapping], *, path: str | None = None) -> list[Served]:
    """The published models of these cards, verified and ready to answer; `path`: see `hub.list_cards`.

    A damaged one is left out, with a warning.

    Raises:
        InputError: if none is left.
    """
    served = []
    for card in cards:
        try:
            directory = locate(card["name"], path=path)
            contents = verify(directory, card)
            signatures, call = load_saved_model(directory / VERSION)
        except InputError as error:
            _log.warning("%s", error)
            continue
        served.append(Served(card["name"], _parse(contents[SAVED_MODEL]), signatures, call))
    if not served:
        raise InputError("There must be a model to serve that is not damaged. Received: none")
    return served


def _parse(saved_model: bytes) -> Mapping:
    from tensorflow.core.protobuf import saved_model_pb2

    (graph,) = saved_model_pb2.SavedModel.FromString(saved_model).meta_graphs
    return {name: definition for name, definition in graph.signature_def.items() if not name.startswith("__")}


class _PredictionService(
    prediction_service_pb2_grpc.PredictionServiceServicer, model_service_pb2_grpc.ModelServiceServicer
):
    def __init__(self, models: Sequence[Served], most_bytes: int):
        self._models = {model.name: model for model in models}
        self._most_bytes = most_bytes

    def Predict(self, request, context):
        model = self._find(request.model_spec, context)
        name = request.model_spec.signature_name or "serving_default"
        signature = model.signatures.get(name)
        if signature is None:
            _refuse(context, f"Signature must be one of {', '.join(model.signatures)}. Received: {name}")
        wanted = list(request.output_filter) or list(signature.outputs)
        if unknown := set(wanted) - signature.outputs.keys():
            _refuse(context, f"Outputs must be of {', '.join(signature.outputs)}. Received: {', '.join(unknown)}")
        signature = dataclasses.replace(signature, outputs={key: signature.outputs[key] for key in wanted})
        if set(request.inputs) != {signature.input}:
            _refuse(context, f"Input must be {signature.input}. Received: {', '.join(request.inputs) or 'none'}")
        images = self._read(request.inputs[signature.input], signature, context)
        response = predict_pb2.PredictResponse()
        self._describe(response.model_spec, model, name)
        try:
            outputs = model.call(signature, images)
        except InputError as error:
            context.abort(grpc.StatusCode.INTERNAL, str(error))
        for key, values in outputs.items():
            response.outputs[key].CopyFrom(tf.make_tensor_proto(values))
        return response

    def GetModelMetadata(self, request, context):
        model = self._find(request.model_spec, context)
        if list(request.metadata_field) != ["signature_def"]:
            _refuse(context, f"metadata_field must be signature_def. Received: {', '.join(request.metadata_field)}")
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        self._describe(response.model_spec, model)
        response.metadata["signature_def"].Pack(
            get_model_metadata_pb2.SignatureDefMap(signature_def=dict(model.definitions))
        )
        return response

    def GetModelStatus(self, request, context):
        self._find(request.model_spec, context)
        response = get_model_status_pb2.GetModelStatusResponse()
        available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        response.model_version_status.add(version=int(VERSION), state=available)
        return response

    def _find(self, spec, context) -> Served:
        model = self._models.get(spec.name)
        if model is None:
            context.abort(
                grpc.StatusCode.NOT_FOUND,
                f"Model must be one of {', '.join(self._models)}. Received: {spec.name[:100]}",
            )
        if spec.version_label or (spec.HasField("version") and spec.version.value != int(VERSION)):
            asked = spec.version_label[:100] or spec.version.value
            context.abort(grpc.StatusCode.NOT_FOUND, f"Version must be {VERSION} or none. Received: {asked}")
        return model

    def _describe(self, spec, model: Served, signature: str = "") -> None:
        spec.name, spec.signature_name = model.name, signature
        spec.version.value = int(VERSION)

    def _read(self, tensor, signature: Signature, context) -> np.ndarray:
        """The images of a request, which may hold anything."""
        dtype = tf.as_dtype(signature.dtype)
        shape = [dimension.size for dimension in tensor.tensor_shape.dim]
        if tensor.dtype != dtype.as_datatype_enum or tuple(shape[1:]) != signature.image_shape or shape[0] < 0:
            _refuse(
                context,
                f"{signature.input} must be {signature.dtype} [n, {', '.join(map(str, signature.image_shape))}]."
                f" Received: {tf.as_dtype(tensor.dtype).name if tensor.dtype else 'no dtype'} {shape[:10]}",
            )
        # A few bytes can stand for many alike: what they unfold to counts.
        if (size := int(np.prod(shape, dtype=object)) * dtype.size) > self._most_bytes:
            context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"A request must be of at most {self._most_bytes} bytes. Received: {size}",
            )
        try:
            return tf.make_ndarray(tensor)
        except (ValueError, TypeError) as error:
            _refuse(context, f"{signature.input} must hold as many values as its shape says. Received: {error}")


def _refuse(context, message: str) -> None:
    context.abort(grpc.StatusCode.INVALID_ARGUMENT, message)


def start(
    models: Sequence[Served], *, host: str = "localhost", port: int = 8500, request_mb: float = REQUEST_MB
) -> tuple[grpc.Server, int]:
    """Starts answering for these models; also to gRPC's standard health checks.

    Args:
        models: see `load`.
        host: name or address to listen on; localhost is reached from this machine alone.
        port: 0: any that is free.
        request_mb: largest request, in 2^20 bytes.

    Returns:
        The server, to be stopped by `stop(grace)`, and its port.

    Raises:
        InputError: if the port cannot be had.
    """
    most_bytes = int(request_mb * 2**20)
    options = {"grpc.max_receive_message_length": most_bytes + 2**16, "grpc.max_send_message_length": -1}
    options |= {"grpc.so_reuseport": 0}  # else a second server would share the port in silence
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(WORKERS), options=list(options.items()))
    service = _PredictionService(models, most_bytes)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(service, server)
    healthy = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    for name in ("", "tensorflow.serving.PredictionService"):
        healthy.set(name, health_pb2.HealthCheckResponse.SERVING)
    try:
        port = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise InputError(f"host and port must be free to listen on. Received: {host}:{port}: {error}") from None
    server.start()
    return server, port
