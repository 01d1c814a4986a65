"""10,000 requests of 200 clients while the server is stopped and started five times."""

import asyncio
import collections
import itertools
import signal
import subprocess
import time

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
grpc = pytest.importorskip("grpc")
pytest.importorskip("tensorflow_serving")
pytest.importorskip("prometheus_client")

from test_serving import NAME  # noqa: E402

from conftest import start_python  # noqa: E402
from kdzoo.hub import cards  # noqa: E402
from kdzoo.teachers import saved_model  # noqa: E402
from kdzoo.teachers.grpc import SERVICE_CONFIG  # noqa: E402

CLIENTS, REQUESTS, RESTARTS, IMAGES = 200, 10_000, 5, 300
DEADLINE = 300.0  # seconds; a start takes more than a minute on a busy machine
CODES = {"OK", "UNAVAILABLE"}


class _Clients:
    """200 clients, each with a connection of its own, which send single images one after another.

    They send a lost request again as the client of `kdzoo.teachers.grpc` does.

    Attributes:
        codes: how many requests ended with each code.
        wrong: the largest error of a logit.
        late: requests that got no response in their deadline and 10 s more.
    """

    def __init__(self, port: int, images: np.ndarray, logits: np.ndarray):
        self._port, self._images, self._logits = port, images, logits
        self._numbers = itertools.count()
        self.codes: collections.Counter = collections.Counter()
        self.wrong, self.late = 0.0, 0

    @property
    def done(self) -> int:
        return sum(self.codes.values())

    async def run(self) -> None:
        await asyncio.gather(*(self._send_all() for _ in range(CLIENTS)))

    async def _send_all(self) -> None:
        from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 500)]
        options += [("grpc.service_config", SERVICE_CONFIG)]
        async with grpc.aio.insecure_channel(f"localhost:{self._port}", options=options) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            while next(self._numbers) < REQUESTS:
                number = np.random.randint(IMAGES)
                request = predict_pb2.PredictRequest(output_filter=["logits"])
                request.model_spec.name = NAME
                request.inputs["images"].CopyFrom(tf.make_tensor_proto(self._images[number][None]))
                try:
                    call = stub.Predict(request, timeout=DEADLINE, wait_for_ready=True)
                    response = await asyncio.wait_for(call, DEADLINE + 10)
                except grpc.RpcError as error:
                    self.codes[error.code().name] += 1
                except TimeoutError:
                    self.late += 1
                else:
                    self.codes["OK"] += 1
                    logits = tf.make_ndarray(response.outputs["logits"])[0]
                    self.wrong = max(self.wrong, float(abs(logits - self._logits[number]).max()))


def _start(path, port: int = 0) -> tuple[subprocess.Popen, int]:
    process = start_python("-m", "apps.serve", f"--path={path}", f"--port={port}", "--drain_seconds=60")
    line = process.stdout.readline()
    assert line.startswith("serving 1 models at "), process.communicate()
    return process, int(line.split("localhost:")[1].split("/")[0])


async def _restart(process: subprocess.Popen, clients: _Clients, path, port: int) -> subprocess.Popen:
    """Stops the server, by SIGTERM and SIGKILL in turn, each time that a share of the requests is done."""
    for restart in range(RESTARTS):
        while clients.done < (restart + 1) * REQUESTS / (RESTARTS + 1):
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGKILL if restart % 2 else signal.SIGTERM)
        out, err = await asyncio.to_thread(process.communicate)
        assert restart % 2 or (process.returncode, out, err) == (0, "", "")
        process, _ = await asyncio.to_thread(_start, path, port)
    return process


@pytest.mark.slow
def test_every_request_gets_its_logits_or_a_code_while_the_server_restarts(published):
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, 16, 16, 3), dtype=np.uint8)
    signatures, call = saved_model.load_saved_model(published / NAME / cards.VERSION)
    process, port = _start(published)
    clients = _Clients(port, images, call(signatures["serving_default"], images)["logits"])

    async def run() -> None:
        nonlocal process
        _, process = await asyncio.gather(clients.run(), _restart(process, clients, published, port))

    began = time.monotonic()
    try:
        asyncio.run(run())
    finally:
        process.kill()
        process.communicate()
    print(f"{dict(clients.codes)} in {time.monotonic() - began:.0f} s, logits differ by at most {clients.wrong:.1e}")
    assert clients.done == REQUESTS
    assert clients.late == 0
    assert clients.codes.keys() <= CODES
    assert clients.codes["OK"] >= REQUESTS - RESTARTS * CLIENTS
    assert clients.wrong <= 1e-5
