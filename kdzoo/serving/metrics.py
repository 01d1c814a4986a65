"""Prometheus metrics of a server."""

import threading
from typing import Any

from zoo import InputError

try:
    import prometheus_client
except ImportError as error:
    raise InputError(f"apps.serve needs the packages of pip install 'kdzoo[serving]'. Received: {error}") from None

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """What a server counts, in a registry of its own, beside what the process uses.

    Attributes:
        requests: number of finished requests, by model, method and gRPC's code. A model that is not served is "".
        seconds: time from a Predict request's arrival to its response, by model.
        batches: number of images of each batch that is computed, by model.
        images: images of the requests that wait or are computed now.
        versions: number of the loaded version, by model.
    """

    def __init__(self) -> None:
        self._registry = prometheus_client.CollectorRegistry()
        prometheus_client.ProcessCollector(registry=self._registry)
        prometheus_client.PlatformCollector(registry=self._registry)
        self.requests = self._add("Counter", "requests", "Finished requests", ["model", "method", "code"])
        self.seconds = self._add("Histogram", "request_seconds", "Seconds of Predict requests", ["model"], SECONDS)
        self.batches = self._add("Histogram", "batch_images", "Images of each computed batch", ["model"], SIZES)
        self.images = self._add("Gauge", "queue_images", "Images that wait or are computed", [])
        self.versions = self._add("Gauge", "model_version", "Number of the loaded version", ["model"])

    def _add(self, kind: str, name: str, help_text: str, labels: list[str], buckets: Any = None) -> Any:
        options = {"buckets": buckets} if buckets else {}
        return getattr(prometheus_client, kind)(f"kdzoo_{name}", help_text, labels, registry=self._registry, **options)

    def listen(self, host: str, port: int) -> int:
        """Serves the metrics over HTTP, in a thread of its own, until the process ends. Returns the port.

        Args:
            host: name or address to listen on.
            port: to listen on; 0: any free port.

        Raises:
            InputError: if the port is not free.
        """
        try:
            server, _ = prometheus_client.start_http_server(port, host, self._registry)
        except OSError as error:
            rule = "metrics_port must be free to listen on, for example 9100"
            raise InputError(f"{rule}. Received: {port}: {error}") from None
        return int(server.server_port)


class Queue:
    """Counts the images of the requests that wait or are computed, and bounds them.

    Args:
        limit: most images at once. One request of more is taken while there is no other.
        gauge: shows their number.

    Attributes:
        images: their number.
    """

    def __init__(self, limit: int, gauge: Any):
        self._limit, self._gauge, self.images = limit, gauge, 0
        self._lock = threading.Lock()

    def enter(self, images: int) -> bool:
        """Takes a request of so many images. Returns False if there is no room for it."""
        with self._lock:
            if self.images and self.images + images > self._limit:
                return False
            self.images += images
            self._gauge.set(self.images)
            return True

    def leave(self, images: int) -> None:
        """Counts a request as done, or given up before it began."""
        with self._lock:
            self.images -= images
            self._gauge.set(self.images)
