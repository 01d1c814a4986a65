"""Teachers behind a server of TensorFlow Serving's gRPC PredictionService."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from kdzoo.runs.config import RunConfig
from kdzoo.teachers import base, external
from kdzoo.teachers.grpc_api import get_model_metadata_pb2, grpc, predict_pb2, prediction_service_pb2_grpc, tf
from kdzoo.teachers.signature import Signature, choose_signature, inner_shape
from zoo import InputError

REQUEST_IMAGES = 128  # a larger batch is sent as several requests at once
SERVICE_CONFIG = """{"methodConfig": [{"name": [{}], "retryPolicy": {
    "maxAttempts": 5, "initialBackoff": "0.2s", "maxBackoff": "5s", "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE", "ABORTED"]}}]}"""


class Client:
    """Client of one served model: by TensorFlow Serving, by `apps.serve`, or by Triton, which speaks the same protocol.

    Args:
        target: host:port.
        name: of the model on the server.
        deadline: seconds in which the server must respond to a request. The client waits for a server that restarts
            within that time, and sends a lost request again after growing pauses.

    Raises:
        InputError: if the deadline is not positive.
    """

    def __init__(self, target: str, name: str, *, deadline: float = base.DEADLINE):
        if not deadline > 0:
            raise InputError(f"teacher_deadline must be above 0 seconds, for example 60. Received: {deadline}")
        self._target, self._name, self._deadline = target, name, deadline
        self._failure: InputError | None = None
        options: dict[str, Any] = {"grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1}
        options |= {"grpc.service_config": SERVICE_CONFIG, "grpc.max_reconnect_backoff_ms": 2000}
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(
            grpc.insecure_channel(target, options=list(options.items()))
        )

    def signatures(self) -> dict[str, Signature]:
        """The model's signatures that take one tensor, by name.

        Raises:
            InputError: if the server does not respond, or has no such model.
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

    def predict(self, signature: Signature, images: np.ndarray) -> dict[str, np.ndarray]:
        """The signature's outputs, by name, for images of its dtype [n, h, w, c].

        Raises:
            InputError: if the server does not return them within the deadline. Every later call fails at once.
        """
        if self._failure:
            raise self._failure
        chunks = [images[i : i + REQUEST_IMAGES] for i in range(0, len(images), REQUEST_IMAGES)] or [images]
        pending = [self._send(signature, chunk) for chunk in chunks]
        try:
            parts = [self._receive(signature, *one) for one in zip(chunks, pending, strict=True)]
            return {key: np.concatenate([part[key] for part in parts]) for key in signature.outputs}
        except InputError as error:
            self._failure = error
            raise

    def _send(self, signature: Signature, images: np.ndarray) -> Any:
        request = predict_pb2.PredictRequest(output_filter=list(signature.outputs))
        request.model_spec.name, request.model_spec.signature_name = self._name, signature.name
        request.inputs[signature.input].CopyFrom(tf.make_tensor_proto(images))
        return self._stub.Predict.future(request, timeout=self._deadline, wait_for_ready=True)

    def _receive(self, signature: Signature, images: np.ndarray, pending: Any) -> dict[str, np.ndarray]:
        try:
            outputs = pending.result().outputs
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and len(images) > 1:  # the request was too large
                halves = np.array_split(images, 2)
                parts = [self._receive(signature, half, self._send(signature, half)) for half in halves]
                return {key: np.concatenate([part[key] for part in parts]) for key in signature.outputs}
            raise self._error(error) from None
        if missing := signature.outputs.keys() - outputs.keys():
            raise InputError(f"{self} must return {', '.join(missing)}. Received: {', '.join(outputs) or 'nothing'}")
        return {key: tf.make_ndarray(outputs[key]) for key in signature.outputs}

    def _error(self, error: grpc.RpcError) -> InputError:
        details = " ".join((error.details() or "").split())[:200]
        return InputError(
            f"{self} must respond within {self._deadline:g} s (teacher_deadline)."
            f" Received: {error.code().name}: {details}"
        )

    def __str__(self) -> str:
        return f"The teacher {self._name} at {self._target}"


def find_teacher(spec: str, config: RunConfig, *, deadline: float = base.DEADLINE) -> external.ExternalTeacher:
    """The teacher at grpc://HOST:PORT/NAME.

    Raises:
        InputError: if the address is malformed, the server does not respond, or it has no such model.
    """
    match = re.fullmatch(r"grpc://((?:[\w.-]+|\[[0-9a-fA-F:]+\]):([0-9]{1,5}))/([\w./-]{1,200})", spec)
    if not match or not 1 <= int(match[2]) <= 65535:  # gRPC takes a larger port modulo 2^16
        raise InputError(
            "A teacher behind a server must be grpc://HOST:PORT/NAME with a port from 1 to 65535, for example"
            f" grpc://localhost:8500/wrn16-2_10-35. Received: {spec[:200]}"
        )
    target, name = match[1], match[3]
    client = Client(target, name, deadline=deadline)
    signature = choose_signature(client.signatures(), config, spec)
    return external.ExternalTeacher(
        spec, name, None, signature, lambda images: client.predict(signature, images), config
    )


def parse_signatures(definitions: Mapping[str, Any]) -> dict[str, Signature]:
    """The signatures that take one tensor, by name, from TensorFlow's `SignatureDef` messages."""
    signatures = {}
    for name, definition in definitions.items():
        if len(definition.inputs) == 1:
            ((key, image),) = definition.inputs.items()
            outputs = {
                output: inner_shape(tf.TensorShape(info.tensor_shape)) for output, info in definition.outputs.items()
            }
            dtype = tf.as_dtype(image.dtype).name
            signatures[name] = Signature(name, key, dtype, inner_shape(tf.TensorShape(image.tensor_shape)), outputs)
    return signatures
