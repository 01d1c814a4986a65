"""The handlers of requests, named as in TensorFlow Serving's protocol."""

import asyncio
import concurrent.futures
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import numpy as np

from kdzoo.serving.batching import is_fixed
from kdzoo.serving.metrics import Metrics, Queue
from kdzoo.serving.models import ServedModel
from kdzoo.serving.requests import RefusalError, check_version, count_images, read, select
from kdzoo.teachers.grpc_api import (
    BATCHING,
    get_model_metadata_pb2,
    get_model_status_pb2,
    grpc,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    tf,
)
from kdzoo.teachers.saved_model import CallError
from kdzoo.teachers.signature import Signature

RETRY_MS = 200
POLL_SECONDS, QUIET_SECONDS, MOST_REFUSING = 0.02, 0.1, 1.0  # of the drain
WORKERS = 8  # requests computed at once, each by itself


class Service(prediction_service_pb2_grpc.PredictionServiceServicer, model_service_pb2_grpc.ModelServiceServicer):
    """The handlers. gRPC calls them in its event loop; they compute in threads.

    Args:
        models: the served models by name. They may be replaced by other versions at any time.
        max_bytes: most that the images of a request may have.
        queue: of the requests that wait or are computed.
        waiting: most requests that are gathered at once. Each needs a thread that waits for its batch.
        metrics: what is counted.
    """

    def __init__(
        self, models: Mapping[str, ServedModel], *, max_bytes: int, queue: Queue, waiting: int, metrics: Metrics
    ):
        self._models, self._max_bytes, self._queue, self._metrics = models, max_bytes, queue, metrics
        self._pool = concurrent.futures.ThreadPoolExecutor(WORKERS)
        self._gathering_pool = concurrent.futures.ThreadPoolExecutor(waiting)
        self._draining, self._last_refusal = False, 0.0

    async def drain(self, seconds: float) -> None:
        """Refuses new requests as UNAVAILABLE, and waits until those under way are done, at most so many seconds.

        gRPC cancels the requests that it received but did not yet hand over when it stops, and clients send a
        cancelled request to no other server. So it stops once none has come for a moment, or after a second of them.
        """
        self._draining, self._last_refusal = True, time.monotonic()
        until = time.monotonic() + seconds
        while self._queue.images and time.monotonic() < until:
            await asyncio.sleep(POLL_SECONDS)
        until = min(until, time.monotonic() + MOST_REFUSING)
        while self._last_refusal + QUIET_SECONDS > time.monotonic() < until:
            await asyncio.sleep(POLL_SECONDS)

    def close(self) -> None:
        """Gives up the requests that have not begun."""
        for pool in (self._pool, self._gathering_pool):
            pool.shutdown(wait=False, cancel_futures=True)

    async def Predict(self, request: Any, context: Any) -> Any:
        began = time.perf_counter()
        response = await self._respond("Predict", request, context, self._predict)
        self._metrics.seconds.labels(request.model_spec.name).observe(time.perf_counter() - began)
        return response

    async def GetModelMetadata(self, request: Any, context: Any) -> Any:
        return await self._respond("GetModelMetadata", request, context, self._describe_signatures)

    async def GetModelStatus(self, request: Any, context: Any) -> Any:
        return await self._respond("GetModelStatus", request, context, self._describe_versions)

    async def _respond(
        self, method: str, request: Any, context: Any, handle: Callable[[Any, Any], Coroutine[Any, Any, Any]]
    ) -> Any:
        """Returns the response of `handle`, or ends the request with its error. Counts it either way."""
        code = "UNKNOWN"
        try:
            response = await handle(request, context)
            code = "OK"
            return response
        except RefusalError as refusal:
            code = refusal.code.name
            await context.abort(refusal.code, str(refusal), refusal.metadata)
        except asyncio.CancelledError:
            left = context.time_remaining()
            code = "DEADLINE_EXCEEDED" if left is not None and left <= 0 else "CANCELLED"
            raise
        finally:
            name = request.model_spec.name
            self._metrics.requests.labels(name if name in self._models else "", method, code).inc()

    async def _predict(self, request: Any, context: Any) -> Any:
        if self._draining:
            self._last_refusal = time.monotonic()
            raise RefusalError("The server is being stopped.", grpc.StatusCode.UNAVAILABLE)
        model = self._find(request.model_spec)
        signature = select(model, request)
        tensor = request.inputs[signature.input]
        count = count_images(tensor, signature, self._max_bytes)
        alone = (BATCHING, "off") in context.invocation_metadata()
        gathers = model.gathers(signature, count) and not alone
        if not self._queue.enter(count):
            raise RefusalError(
                "The queue of the server must have room for the images. Received: a full queue",
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                retry_ms=RETRY_MS,
            )
        pool = self._gathering_pool if gathers else self._pool
        future = pool.submit(self._compute, model, signature, tensor, gathers)
        future.add_done_callback(lambda _: self._queue.leave(count))
        # A request that is cancelled, by its client or by its deadline, is not computed unless it has begun.
        return await asyncio.wrap_future(future)

    def _compute(self, model: ServedModel, signature: Signature, tensor: Any, gathers: bool) -> Any:
        """The response to a request that was checked. Runs in a thread."""
        images = read(tensor, signature)
        try:
            if gathers:
                outputs, batches = model.call_gathered(signature, images)
            else:
                outputs, batches = model.call(signature, images), [len(images)]
        except CallError as error:
            if is_fixed(signature):
                raise RefusalError(str(error), grpc.StatusCode.INTERNAL) from None
            raise RefusalError(f"{signature.input} must hold whole pictures. Received: {error.reason}") from None
        for size in batches:
            self._metrics.batches.labels(model.name).observe(size)
        return _encode(model, signature, outputs)

    async def _describe_signatures(self, request: Any, context: Any) -> Any:
        model = self._find(request.model_spec)
        if list(request.metadata_field) != ["signature_def"]:
            raise RefusalError(f"metadata_field must be signature_def. Received: {', '.join(request.metadata_field)}")
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        _describe(response.model_spec, model)
        definitions = get_model_metadata_pb2.SignatureDefMap(signature_def=dict(model.definitions))
        response.metadata["signature_def"].Pack(definitions)
        return response

    async def _describe_versions(self, request: Any, context: Any) -> Any:
        model = self._find(request.model_spec)
        response = get_model_status_pb2.GetModelStatusResponse()
        available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        response.model_version_status.add(version=model.version, state=available)
        return response

    def _find(self, spec: Any) -> ServedModel:
        model = self._models.get(spec.name)
        if model is None:
            received = f"Model must be one of {', '.join(self._models)}. Received: {spec.name[:100]}"
            raise RefusalError(received, grpc.StatusCode.NOT_FOUND)
        check_version(model, spec)
        return model


def _encode(model: ServedModel, signature: Signature, outputs: Mapping[str, np.ndarray]) -> Any:
    response = predict_pb2.PredictResponse()
    _describe(response.model_spec, model, signature.name)
    for key, values in outputs.items():
        response.outputs[key].CopyFrom(tf.make_tensor_proto(values))
    return response


def _describe(spec: Any, model: ServedModel, signature: str = "") -> None:
    """Fills in the response's `ModelSpec`."""
    spec.name, spec.signature_name = model.name, signature
    spec.version.value = model.version
