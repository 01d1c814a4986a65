"""A server of S3 for tests: moto's, with an empty bucket named bucket.

python tests/s3_server.py    # prints its address, and serves until stdin ends
"""

import contextlib
import logging
import sys
import threading
from collections.abc import Iterator

import requests
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

BUCKET = "bucket"


class OneWriteAtOnce:
    """Has requests that write one after another: moto checks the conditions of a write, then writes, without a lock."""

    def __init__(self):
        self._app = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.Lock()

    def __call__(self, environ, start_response):
        with contextlib.nullcontext() if environ["REQUEST_METHOD"] in ("GET", "HEAD") else self._lock:
            return self._app(environ, start_response)


@contextlib.contextmanager
def serve() -> Iterator[str]:
    """Serves in a thread until the block ends. Yields the address."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, OneWriteAtOnce(), threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    requests.put(f"{address}/{BUCKET}", timeout=60).raise_for_status()
    try:
        yield address
    finally:
        server.shutdown()
        thread.join()


def environment(address: str) -> dict[str, str]:
    """The variables by which a process finds the server."""
    keys = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "testing")
    return keys | {"AWS_ENDPOINT_URL": address, "AWS_REGION": "us-east-1"}


if __name__ == "__main__":
    with serve() as address:
        print(address, flush=True)
        sys.stdin.read()
