"""Models behind gRPC: TensorFlow Serving's PredictionService, as a server of published models and as its client.

Needs `pip install kdzoo[serving]`.
"""

import concurrent.futures
import dataclasses
import logging
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from kdzoo import hub, teachers
from kdzoo.config import RunConfig
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

REQUEST_IMAGES = 128  # a larger batch is asked for in several requests at once
REQUEST_MB = 16
WORKERS = 8
SERVICE_CONFIG = """{"methodConfig": [{"name": [{}], "retryPolicy": {
    "maxAttempts": 5, "initialBackoff": "0.2s", "maxBackoff": "5s", "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE", "ABORTED"]}}]}"""

_log = logging.getLogger(__name__)


# The client.


class Client:
    """One model behind a PredictionService: TensorFlow Serving's, Triton's by way of it, or `apps.serve`.

    Args:
        target: host:port.
        name: the model's, as it is served.
        deadline: seconds in which a request must be answered; a server that restarts in that time is waited for, and a
            request it lost is sent again, with growing pauses.
    """

    def __init__(self, target: str, name: str, *, deadline: float = teachers.DEADLINE):
        if not deadline > 0:
            raise InputError(f"teacher_deadline must be above 0 seconds, for example 60. Received: {deadline}")
        self._target, self._name, self._deadline = target, name, deadline
        self._gone: InputError | None = None
        options = {"grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1}
        options |= {"grpc.service_config": SERVICE_CONFIG, "grpc.max_reconnect_backoff_ms": 2000}
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(
            grpc.insecure_channel(target, options=list(options.items()))
        )

    def signatures(self) -> dict[str, teachers.Signature]:
        """What the model can be asked, of all that takes one tensor.

        Raises:
            InputError: if the server does not answer, or has no such model.
        """
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = self._name
        try:
            response = self._stub.GetModelMetadata(request, timeout=self._deadline)
        except grpc.RpcError as error:
            raise self._error(error) from None
        definitions = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(definitions)
        return parse_signatures(definitions.signature_def)

    def predict(self, signature: teachers.Signature, images: np.ndarray) -> dict[str, np.ndarray]:
        """The signature's outputs, by name, for images of its dtype [n, h, w, c].

        Raises:
            InputError: if they cannot be had within the deadline. From then on every call is refused at once.
        """
        if self._gone:
            raise self._gone
        chunks = [images[i : i + REQUEST_IMAGES] for i in range(0, len(images), REQUEST_IMAGES)] or [images]
        pending = [self._send(signature, chunk) for chunk in chunks]
        try:
            answers = [self._receive(signature, *one) for one in zip(chunks, pending, strict=True)]
            return {key: np.concatenate([answer[key] for answer in answers]) for key in signature.outputs}
        except InputError as error:
            self._gone = error
            raise

    def _send(self, signature: teachers.Signature, images: np.ndarray):
        request = predict_pb2.PredictRequest(output_filter=list(signature.outputs))
        request.model_spec.name, request.model_spec.signature_name = self._name, signature.name
        request.inputs[signature.input].CopyFrom(tf.make_tensor_proto(images))
        return self._stub.Predict.future(request, timeout=self._deadline, wait_for_ready=True)

    def _receive(self, signature: teachers.Signature, images: np.ndarray, pending) -> dict[str, np.ndarray]:
        try:
            outputs = pending.result().outputs
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and len(images) > 1:  # too much at once for it
                halves = np.array_split(images, 2)
                parts = [self._receive(signature, half, self._send(signature, half)) for half in halves]
                return {key: np.concatenate([part[key] for part in parts]) for key in signature.outputs}
            raise self._error(error) from None
        if missing := signature.outputs.keys() - outputs.keys():
            raise InputError(f"{self} must give {', '.join(missing)}. Received: {', '.join(outputs) or 'nothing'}")
        return {key: tf.make_ndarray(outputs[key]) for key in signature.outputs}

    def _error(self, error: grpc.RpcError) -> InputError:
        said = " ".join((error.details() or "").split())[:200]
        return InputError(
            f"{self} must be there and answer within {self._deadline:g} s (teacher_deadline)."
            f" Received: {error.code().name}: {said}"
        )

    def __str__(self) -> str:
        return f"The teacher {self._name} at {self._target}"


def find_teacher(where: str, config: RunConfig, *, deadline: float = teachers.DEADLINE) -> teachers.Asked:
    """The teacher at grpc://HOST:PORT/NAME.

    Raises:
        InputError: if it is not there.
    """
    match = re.fullmatch(r"grpc://([\w.-]+:[0-9]{1,5}|\[[0-9a-fA-F:]+\]:[0-9]{1,5})/([\w./-]{1,200})", where)
    if not match:
        raise InputError(
            "A teacher behind a server must be grpc://HOST:PORT/NAME, for example grpc://localhost:8500/wrn16-2_10-35."
            f" Received: {where[:200]}"
        )
    client = Client(match[1], match[2], deadline=deadline)
    signature = teachers.choose_signature(client.signatures(), config, where)
    return teachers.Asked(where, match[2], None, signature, lambda images: client.predict(signature, images), config)


def parse_signatures(definitions: Mapping) -> dict[str, teachers.Signature]:
    """From TensorFlow's SignatureDefs, those that take one tensor."""
    signatures = {}
    for name, definition in definitions.items():
        if len(definition.inputs) == 1:
            ((key, image),) = definition.inputs.items()
            outputs = {
                output: teachers.inner_shape(tf.TensorShape(info.tensor_shape))
                for output, info in definition.outputs.items()
            }
            dtype = tf.as_dtype(image.dtype).name
            signatures[name] = teachers.Signature(
                name, key, dtype, teachers.inner_shape(tf.TensorShape(image.tensor_shape)), outputs
            )
    return signatures


# The server.


@dataclasses.dataclass(frozen=True)
class Served:
    """A loaded model."""

    name: str
    definitions: Mapping
    signatures: Mapping[str, teachers.Signature]
    call: Callable[[teachers.Signature, np.ndarray], dict[str, np.ndarray]]


def load(cards: Sequence[Mapping], *, path: str | None = None) -> list[Served]:
    """The published models of these cards, verified and ready to answer; `path`: see `hub.list_cards`.

    A damaged one is left out, with a warning.

    Raises:
        InputError: if none is left.
    """
    served = []
    for card in cards:
        try:
            directory = hub.locate(card["name"], path=path)
            contents = hub.verify(directory, card)
            signatures, call = teachers.load_saved_model(directory / hub.VERSION)
        except InputError as error:
            _log.warning("%s", error)
            continue
        served.append(Served(card["name"], _parse(contents[hub.SAVED_MODEL]), signatures, call))
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
        response.model_version_status.add(version=int(hub.VERSION), state=available)
        return response

    def _find(self, spec, context) -> Served:
        model = self._models.get(spec.name)
        if model is None:
            context.abort(
                grpc.StatusCode.NOT_FOUND,
                f"Model must be one of {', '.join(self._models)}. Received: {spec.name[:100]}",
            )
        if spec.version_label or (spec.HasField("version") and spec.version.value != int(hub.VERSION)):
            asked = spec.version_label[:100] or spec.version.value
            context.abort(grpc.StatusCode.NOT_FOUND, f"Version must be {hub.VERSION} or none. Received: {asked}")
        return model

    def _describe(self, spec, model: Served, signature: str = "") -> None:
        spec.name, spec.signature_name = model.name, signature
        spec.version.value = int(hub.VERSION)

    def _read(self, tensor, signature: teachers.Signature, context) -> np.ndarray:
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
