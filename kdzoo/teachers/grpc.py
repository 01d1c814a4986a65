"""Teachers behind a server of TensorFlow Serving's gRPC PredictionService."""

import ipaddress
import os
import random
import re
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from kdzoo.runs.config import RunConfig
from kdzoo.teachers import base, external
from kdzoo.teachers.grpc_api import (
    BATCHING,
    RETRY,
    get_model_metadata_pb2,
    grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    tf,
)
from kdzoo.teachers.signature import Signature, choose_signature, inner_shape
from zoo import InputError

TOKEN_FILE = "KDZOO_TOKEN_FILE"
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0  # seconds, before a request that a full server refused is sent again
REQUEST_IMAGES = 128  # a larger batch is sent as several requests at once
SERVICE_CONFIG = """{"methodConfig": [{"name": [{}], "retryPolicy": {
    "maxAttempts": 5, "initialBackoff": "0.2s", "maxBackoff": "5s", "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE", "ABORTED", "CANCELLED"]}}]}"""


class Client:
    """Client of one served model: by TensorFlow Serving, by `apps.serve`, or by Triton, which speaks the same protocol.

    The outputs are those of the model's version at the time of `signatures`: once the server has replaced it, calls
    fail. `apps.serve` computes the images of a call by themselves, so that the outputs depend on nothing else.

    Args:
        target: host:port.
        name: of the model on the server.
        deadline: seconds in which the server must respond to a request. The client waits for a server that restarts
            within that time, and sends a lost or refused request again after growing pauses.
        encrypted: whether the server uses TLS. Its certificate must be of an authority in gRPC's own list, or in the
            file that GRPC_DEFAULT_SSL_ROOTS_FILE_PATH names.
        token: that the server wants; empty: none.

    Raises:
        InputError: if the deadline is not positive.
    """

    def __init__(
        self, target: str, name: str, *, deadline: float = base.DEADLINE, encrypted: bool = False, token: str = ""
    ):
        if not deadline > 0:
            raise InputError(f"teacher_deadline must be above 0 seconds, for example 60. Received: {deadline}")
        self._target, self._name, self._deadline = target, name, deadline
        self._failure: InputError | None = None
        self._version = 0
        self._metadata = [(BATCHING, "off"), *([("authorization", f"Bearer {token}")] if token else [])]
        options: dict[str, Any] = {"grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1}
        options |= {"grpc.service_config": SERVICE_CONFIG, "grpc.max_reconnect_backoff_ms": 2000}
        arguments = list(options.items())
        if encrypted:
            channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(), options=arguments)
        else:
            channel = grpc.insecure_channel(target, options=arguments)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def signatures(self) -> dict[str, Signature]:
        """The model's signatures that take one tensor, by name.

        Raises:
            InputError: if the server does not respond, or has no such model.
        """
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = self._name
        try:
            response = self._stub.GetModelMetadata(request, timeout=self._deadline, metadata=self._metadata)
        except grpc.RpcError as error:
            raise self._error(error) from None
        self._version = response.model_spec.version.value
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
        until = time.monotonic() + self._deadline
        pending = [self._send(signature, chunk, until) for chunk in chunks]
        try:
            parts = [self._receive(signature, *one, until) for one in zip(chunks, pending, strict=True)]
            return {key: np.concatenate([part[key] for part in parts]) for key in signature.outputs}
        except InputError as error:
            self._failure = error
            raise

    def _send(self, signature: Signature, images: np.ndarray, until: float) -> Any:
        request = predict_pb2.PredictRequest(output_filter=list(signature.outputs))
        request.model_spec.name, request.model_spec.signature_name = self._name, signature.name
        if self._version:
            request.model_spec.version.value = self._version
        request.inputs[signature.input].CopyFrom(tf.make_tensor_proto(images))
        timeout = max(until - time.monotonic(), 0.001)
        return self._stub.Predict.future(request, timeout=timeout, wait_for_ready=True, metadata=self._metadata)

    def _receive(self, signature: Signature, images: np.ndarray, pending: Any, until: float) -> dict[str, np.ndarray]:
        pause = FIRST_PAUSE
        while True:
            try:
                outputs = pending.result().outputs
                break
            except grpc.RpcError as error:
                full = RETRY in dict(error.trailing_metadata() or ())
                if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and not full and len(images) > 1:
                    return self._halve(signature, images)
                if not full or time.monotonic() + pause > until:
                    raise self._error(error) from None
            time.sleep(random.uniform(pause / 2, pause))
            pause = min(2 * pause, LONGEST_PAUSE)
            pending = self._send(signature, images, until)
        if missing := signature.outputs.keys() - outputs.keys():
            raise InputError(f"{self} must return {', '.join(missing)}. Received: {', '.join(outputs) or 'nothing'}")
        return {key: tf.make_ndarray(outputs[key]) for key in signature.outputs}

    def _halve(self, signature: Signature, images: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs for images that are too many for a request."""
        until = time.monotonic() + self._deadline
        parts = [
            self._receive(signature, half, self._send(signature, half, until), until)
            for half in np.array_split(images, 2)
        ]
        return {key: np.concatenate([part[key] for part in parts]) for key in signature.outputs}

    def _error(self, error: grpc.RpcError) -> InputError:
        details = " ".join((error.details() or "").split())[:200]
        if error.code() == grpc.StatusCode.UNAUTHENTICATED:
            details += f" {TOKEN_FILE} names the file of the token, which is sent with TLS or to this machine alone."
        return InputError(
            f"{self} must respond within {self._deadline:g} s (teacher_deadline)."
            f" Received: {error.code().name}: {details}"
        )

    def __str__(self) -> str:
        return f"The teacher {self._name} at {self._target}"


def find_teacher(spec: str, config: RunConfig, *, deadline: float = base.DEADLINE) -> external.ExternalTeacher:
    """The teacher at grpc://HOST:PORT/NAME, or grpcs://HOST:PORT/NAME for a server with TLS.

    The file that KDZOO_TOKEN_FILE names holds the server's token. It is sent with TLS, and to this machine.

    Raises:
        InputError: if the address is malformed, the server does not respond, it has no such model, or the file of the
            token cannot be read.
    """
    match = re.fullmatch(r"(grpcs?)://((?:[\w.-]+|\[[0-9a-fA-F:]+\]):([0-9]{1,5}))/([\w./-]{1,200})", spec)
    if not match or not 1 <= int(match[3]) <= 65535:  # gRPC takes a larger port modulo 2^16
        raise InputError(
            "A teacher behind a server must be grpc://HOST:PORT/NAME, or grpcs:// with TLS, with a port from 1 to"
            f" 65535, for example grpc://localhost:8500/wrn16-2_10-35. Received: {spec[:200]}"
        )
    scheme, target, name = match[1], match[2], match[4]
    encrypted = scheme == "grpcs"
    token = _read_token() if encrypted or is_local(target) else ""  # never readable on a network
    client = Client(target, name, deadline=deadline, encrypted=encrypted, token=token)
    signature = choose_signature(client.signatures(), config, spec)
    return external.ExternalTeacher(
        spec, name, None, signature, lambda images: client.predict(signature, images), config
    )


def is_local(target: str) -> bool:
    """Whether HOST:PORT is this machine by its loopback address."""
    host = target.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def _read_token() -> str:
    path = os.environ.get(TOKEN_FILE)
    if not path:
        return ""
    try:
        with open(path, "rb") as file:
            token = file.read(10_000).decode().split("\n")[0].strip()
        if not token.isascii() or not token.isprintable() or not token:
            raise ValueError("no printable ASCII characters")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{TOKEN_FILE} must name a file whose first line is the token of a server. Received: {path[:200]}: {error}"
        ) from None
    return token


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
