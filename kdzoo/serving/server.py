"""A gRPC server of published models: TensorFlow Serving's PredictionService, model status and health checks.

Needs `pip install kdzoo[serving]`.
"""

import asyncio
import functools
import threading
import time
from collections.abc import Sequence
from typing import Any

from kdzoo.serving.access import TokenInterceptor
from kdzoo.serving.address import check_address
from kdzoo.serving.metrics import Metrics, Queue
from kdzoo.serving.models import ServedModel
from kdzoo.serving.service import Service
from kdzoo.teachers.grpc_api import (
    grpc,
    health_aio,
    health_pb2,
    health_pb2_grpc,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)
from zoo import InputError

REQUEST_MB = 16
QUEUE_IMAGES = 1024
_NAMES = ("", "tensorflow.serving.PredictionService")  # that health checks may give


class Server:
    """A running server, see `start`.

    Attributes:
        models: the served models by name. Another version that is set here serves all later requests.
        metrics: what the server counts.
    """

    def __init__(self, models: Sequence[ServedModel], *, request_mb: float, max_queue: int, tokens: Sequence[str]):
        self.models, self.metrics = {model.name: model for model in models}, Metrics()
        max_bytes = int(request_mb * 2**20)
        self._options = {"grpc.max_receive_message_length": max_bytes + 2**16, "grpc.max_send_message_length": -1}
        self._options |= {"grpc.so_reuseport": 0}  # else a second server would share the port without an error
        self._max_rpcs = 4 * max_queue + 100  # the queue counts a request once it was received; this bounds the others
        self._interceptors = [TokenInterceptor(list(tokens))] if tokens else []
        # While a batch is computed, the next one is gathered.
        waiting = 2 * max(model.batching.max_batch_size for model in models)
        queue = Queue(max_queue, self.metrics.images)
        self._service = Service(
            self.models, max_bytes=max_bytes, queue=queue, waiting=min(waiting, max_queue), metrics=self.metrics
        )
        for model in models:
            self.replace(model)

    def replace(self, model: ServedModel) -> None:
        """Serves this version of a model from now on. Requests that have begun end with the version before."""
        self.models[model.name] = model
        self.metrics.versions.labels(model.name).set(model.version)

    def listen(self, target: str, credentials: Any) -> int:
        """Starts to respond. Returns the port.

        Args:
            target: HOST:PORT.
            credentials: gRPC's, for TLS; None: without encryption.

        Raises:
            InputError: if the port is not free.
        """
        try:
            return asyncio.run_coroutine_threadsafe(self._listen(target, credentials), _event_loop()).result()
        except RuntimeError as error:  # taken in the meantime
            raise InputError(f"host and port must be free to listen on. Received: {target}: {error}") from None

    async def _listen(self, target: str, credentials: Any) -> int:
        self._server = grpc.aio.server(
            interceptors=self._interceptors,
            options=list(self._options.items()),
            maximum_concurrent_rpcs=self._max_rpcs,
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(self._service, self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(self._service, self._server)
        self._health = health_aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)
        if credentials is None:
            port = self._server.add_insecure_port(target)
        else:
            port = self._server.add_secure_port(target, credentials)
        await self._server.start()
        return int(port)

    async def _set_health(self, status: Any) -> None:
        for name in _NAMES:
            await self._health.set(name, status)

    def stop(self, grace: float | None) -> threading.Event:
        """Refuses new requests at once, as UNAVAILABLE, and ends.

        Args:
            grace: seconds in which requests under way may end; None: they are cancelled.

        Returns:
            An event that is set once the server has ended.
        """
        ended = threading.Event()

        async def stop() -> None:
            until = time.monotonic() + (grace or 0)
            await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
            if grace:
                await self._service.drain(grace)
            await self._server.stop(None if grace is None else max(until - time.monotonic(), 0))
            self._service.close()
            ended.set()

        asyncio.run_coroutine_threadsafe(stop(), _event_loop())
        return ended


def start(
    models: Sequence[ServedModel],
    *,
    host: str = "localhost",
    port: int = 8500,
    request_mb: float = REQUEST_MB,
    max_queue: int = QUEUE_IMAGES,
    credentials: Any = None,
    tokens: Sequence[str] = (),
) -> tuple[Server, int]:
    """Starts a server of these models. It also responds to gRPC's standard health checks.

    Args:
        models: see `kdzoo.serving.load`.
        host: name or address to listen on; localhost can be reached from this machine only.
        port: to listen on; 0: any free port.
        request_mb: largest request, in 2^20 bytes.
        max_queue: most images that wait or are computed at once; a request beyond gets RESOURCE_EXHAUSTED.
        credentials: see `kdzoo.serving.load_credentials`; None: without encryption.
        tokens: of which a request must have one, unless there is none.

    Returns:
        The server, which `stop(grace)` stops, and its port.

    Raises:
        InputError: if the host is not this machine's, or the port is not free: see `kdzoo.serving.check_address`.
    """
    target = check_address(host, port)
    server = Server(models, request_mb=request_mb, max_queue=max_queue, tokens=tokens)
    return server, server.listen(target, credentials)


@functools.cache
def _event_loop() -> asyncio.AbstractEventLoop:
    """The event loop, in a thread of its own, of all servers of this process: gRPC has one queue of events for all."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True, name="grpc").start()
    return loop
