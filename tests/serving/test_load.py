"""The server under load: batches, a full queue, deadlines, the drain, metrics and hot reload."""

import concurrent.futures
import contextlib
import os
import shutil
import threading
import time
import urllib.request

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
grpc = pytest.importorskip("grpc")
pytest.importorskip("tensorflow_serving")
pytest.importorskip("prometheus_client")

from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: E402
from tensorflow_serving.apis import (  # noqa: E402
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

import small_model  # noqa: E402
from kdzoo.serving.batching import SIZE  # noqa: E402
from kdzoo.serving.reload import Reloader  # noqa: E402
from kdzoo.serving.server import start  # noqa: E402
from kdzoo.serving.versions import find_versions  # noqa: E402
from kdzoo.teachers.grpc import Client  # noqa: E402
from zoo import InputError  # noqa: E402

NAME = small_model.NAME


@contextlib.contextmanager
def serving(model, **options):
    """A server of a model on a free port, a channel to it, and its host:port."""
    server, port = start([model], host="127.0.0.1", port=0, **options)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            yield server, channel, f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """Directory of a model."""
    directory = tmp_path_factory.mktemp("models") / NAME
    small_model.write(directory)
    return directory


@pytest.fixture
def gate():
    """What calls of a gated model wait for; closed at first."""
    gate = threading.Event()
    yield gate
    gate.set()  # calls of a test that failed


def wait_until(condition) -> None:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < 60
        time.sleep(0.02)


def send(channel, images: np.ndarray, *, timeout: float = 60, version: int = 0, metadata=()):
    """Sends a request; the future of its response."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = NAME
    if version:
        request.model_spec.version.value = version
    request.inputs["images"].CopyFrom(tf.make_tensor_proto(images))
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    return stub.Predict.future(request, timeout=timeout, metadata=metadata)


def logits_of(future) -> np.ndarray:
    return tf.make_ndarray(future.result().outputs["logits"])


def code_of(future) -> str:
    return future.code().name  # waits


def sizes_of(server) -> dict[str, float]:
    """Number of batches and of their images, from the metrics."""
    (family,) = server.metrics.batches.collect()
    values = {sample.name.rpartition("_")[2]: sample.value for sample in family.samples}
    return {key: values[key] for key in ("sum", "count")}


def queued(server) -> float:
    """Number of images that wait or are computed, from the metrics."""
    return server.metrics.images.collect()[0].samples[0].value


def counted(server, code: str) -> float:
    """Number of Predict requests that ended with a code, from the metrics."""
    return server.metrics.requests.labels(NAME, "Predict", code)._value.get()


def test_calls_at_once_are_computed_together_and_have_the_outputs_of_calls_alone(gate):
    model = small_model.gated(gate, max_batch_size=16)
    signature = model.signatures["serving_default"]
    images = [small_model.draw(1 + i % 5, seed=i) for i in range(24)]  # 70 images
    with concurrent.futures.ThreadPoolExecutor(len(images)) as pool:
        pending = [pool.submit(model.call_gathered, signature, one) for one in images]
        time.sleep(0.3)
        gate.set()
        found = [one.result() for one in pending]
    for one, (outputs, _) in zip(images, found, strict=True):
        np.testing.assert_array_equal(outputs["logits"], small_model.logits(one))
        assert SIZE not in outputs
    sizes = [size for _, batches in found for size in batches]
    assert sum(sizes) == sum(map(len, images))
    assert max(sizes) <= 16
    assert len(sizes) < 12


def test_single_images_are_gathered_unless_their_client_wants_them_alone(gate):
    images = small_model.draw(40)
    with serving(small_model.gated(gate)) as (server, channel, _):
        pending = [send(channel, image[None]) for image in images]
        wait_until(lambda: queued(server) == 40)
        gate.set()
        np.testing.assert_array_equal(np.concatenate(list(map(logits_of, pending))), small_model.logits(images))
        together = sizes_of(server)
        assert together["sum"] == 40
        assert together["count"] <= 10
        pending = [send(channel, image[None], metadata=[("kdzoo-batching", "off")]) for image in images[:4]]
        np.testing.assert_array_equal(np.concatenate(list(map(logits_of, pending))), small_model.logits(images[:4]))
        assert sizes_of(server) == {"sum": 44, "count": together["count"] + 4}


def test_a_full_queue_refuses_with_a_time_to_try_again_and_health_checks_pass(gate):
    images = small_model.draw(12)
    with serving(small_model.gated(gate), max_queue=6) as (server, channel, _):
        pending = [send(channel, image[None]) for image in images]
        wait_until(lambda: sum(future.done() for future in pending) == 6)
        assert queued(server) == 6
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        gate.set()
        codes = list(map(code_of, pending))
        assert sorted(codes) == ["OK"] * 6 + ["RESOURCE_EXHAUSTED"] * 6
        for i in [i for i, code in enumerate(codes) if code == "OK"]:
            np.testing.assert_array_equal(logits_of(pending[i]), small_model.logits(images[i : i + 1]))
        refused = pending[codes.index("RESOURCE_EXHAUSTED")]
        assert refused.details() == "The queue of the server must have room for the images. Received: a full queue"
        assert ("grpc-retry-pushback-ms", "200") in [tuple(pair) for pair in refused.trailing_metadata()]
        assert logits_of(send(channel, images)).shape == (12, 3)  # more than the queue holds, but alone


def test_a_teacher_waits_for_a_full_queue(gate):
    images = small_model.draw(3)
    model = small_model.gated(gate)
    with serving(model, max_queue=4) as (server, channel, target):
        pending = [send(channel, image[None]) for image in np.concatenate([images, images[:1]])]
        wait_until(lambda: queued(server) == 4)
        client = Client(target, NAME, deadline=60)
        signature = model.signatures["serving_default"]
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            outputs = pool.submit(client.predict, signature, images)
            wait_until(lambda: counted(server, "RESOURCE_EXHAUSTED") >= 1)
            gate.set()
            np.testing.assert_array_equal(outputs.result()["logits"], small_model.logits(images))
        assert [code_of(future) for future in pending] == ["OK"] * 4


def test_a_request_whose_deadline_passes_in_the_queue_is_not_computed(gate):
    images = small_model.draw(12)
    with serving(small_model.gated(gate, max_batch_size=2)) as (server, channel, _):
        pending = [send(channel, image[None], timeout=1.5) for image in images]
        assert set(map(code_of, pending)) == {"DEADLINE_EXCEEDED"}
        wait_until(lambda: queued(server) <= 4)  # those in TensorFlow's own queue
        gate.set()
        wait_until(lambda: queued(server) == 0)
        assert logits_of(send(channel, images[:1])).shape == (1, 3)
        assert sizes_of(server)["sum"] <= 4 + 1


def test_requests_under_way_end_when_the_server_stops(gate):
    images = small_model.draw(8)
    with serving(small_model.gated(gate, max_batch_size=2)) as (server, channel, target):
        pending = [send(channel, image[None]) for image in images]
        wait_until(lambda: queued(server) == 8)
        ended = server.stop(grace=60)
        with grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as other:
            assert code_of(send(other, images[:1], timeout=5)) == "UNAVAILABLE"
        gate.set()
        np.testing.assert_array_equal(np.concatenate(list(map(logits_of, pending))), small_model.logits(images))
        assert ended.wait(10)


def test_no_request_is_cancelled_when_the_server_stops_under_load(quick):
    images = small_model.draw(1)
    with serving(small_model.load(quick)) as (server, channel, _):
        pending = [send(channel, images) for _ in range(500)]
        wait_until(pending[20].done)
        assert server.stop(grace=60).wait(60)
        assert {code_of(future) for future in pending} <= {"OK", "UNAVAILABLE"}


def test_requests_that_take_longer_than_the_grace_end_with_a_code(gate):
    with serving(small_model.gated(gate, max_batch_size=2)) as (server, channel, _):
        pending = [send(channel, image[None]) for image in small_model.draw(8)]
        wait_until(lambda: queued(server) == 8)
        assert server.stop(grace=0.1).wait(10)
        assert {code_of(future) for future in pending} <= {"CANCELLED", "UNAVAILABLE"}
        gate.set()
        wait_until(lambda: queued(server) == 0)


def test_metrics_are_served_in_the_format_of_prometheus(quick):
    with serving(small_model.load(quick)) as (server, channel, _):
        assert code_of(send(channel, small_model.draw(3))) == "OK"
        assert code_of(send(channel, small_model.draw(3)[:, 1:])) == "INVALID_ARGUMENT"
        port = server.metrics.listen("127.0.0.1", 0)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
            lines = response.read().decode().splitlines()
        with pytest.raises(InputError, match="metrics_port must be free"):
            server.metrics.listen("127.0.0.1", port)
    for line in (
        'kdzoo_requests_total{code="OK",method="Predict",model="small"} 1.0',
        'kdzoo_requests_total{code="INVALID_ARGUMENT",method="Predict",model="small"} 1.0',
        'kdzoo_request_seconds_count{model="small"} 1.0',
        'kdzoo_batch_images_sum{model="small"} 3.0',
        'kdzoo_model_version{model="small"} 2.0',
        "kdzoo_queue_images 0.0",
    ):
        assert line in lines


def test_a_new_version_is_served_without_a_failed_request_and_a_removed_one_is_not(tmp_path):
    directory, images = tmp_path / NAME, small_model.draw(1)
    small_model.write(directory, 2)
    small_model.write(tmp_path / "other", 3, factor=5)
    replaced, factors = [], []

    def wait_for(version: int, channel) -> None:
        began = time.monotonic()
        while not replaced or replaced[-1] != (NAME, version):
            factors.append((logits_of(send(channel, images)) / small_model.logits(images))[0, 0])
            assert time.monotonic() - began < 60

    with serving(small_model.load(directory)) as (server, channel, target):
        reloader = Reloader(server, 0.05, lambda *one: replaced.append(one))
        try:
            client = Client(target, NAME)
            signature = client.signatures()["serving_default"]
            (directory / "3").mkdir()  # no SavedModel yet
            shutil.copytree(tmp_path / "other" / "3", directory / "3", dirs_exist_ok=True)
            wait_for(3, channel)
            np.testing.assert_array_equal(logits_of(send(channel, images, version=3)), small_model.logits(images, 5))
            assert code_of(send(channel, images, version=2)) == "NOT_FOUND"
            with pytest.raises(InputError, match=r"NOT_FOUND: Version must be 3 or none\. Received: 2"):
                client.predict(signature, images)  # a teacher does not change in the middle of a run
            status = get_model_status_pb2.GetModelStatusRequest()
            status.model_spec.name = NAME
            response = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(status, timeout=30)
            assert [version.version for version in response.model_version_status] == [3]
            shutil.rmtree(directory / "3")
            wait_for(2, channel)
            np.testing.assert_array_equal(logits_of(send(channel, images)), small_model.logits(images))
        finally:
            reloader.stop()
    assert set(factors) == {1, 5}


def test_a_damaged_version_is_reported_once_and_loaded_once_it_is_whole(tmp_path, caplog):
    directory, replaced = tmp_path / NAME, []
    small_model.write(directory, 2)
    with serving(small_model.load(directory)) as (server, channel, _):
        reloader = Reloader(server, 0.05, lambda *one: replaced.append(one))
        try:
            (directory / "10").mkdir()
            (directory / "10" / "saved_model.pb").write_bytes(b"damaged")
            time.sleep(1)
            assert [record.message.partition(". Received")[0] for record in caplog.records] == [
                "A SavedModel must be one that loads"
            ]
            assert code_of(send(channel, small_model.draw(1), version=2)) == "OK"
            shutil.rmtree(directory / "10")
            small_model.write(directory, 10, factor=3)
            began = time.monotonic()
            while not replaced:
                assert time.monotonic() - began < 60
                time.sleep(0.05)
        finally:
            reloader.stop()
        assert replaced == [(NAME, 10)]
        images = small_model.draw(2)
        np.testing.assert_array_equal(logits_of(send(channel, images)), small_model.logits(images, 3))


def test_versions_are_folders_named_by_a_number_with_a_saved_model(tmp_path):
    for name in ("1", "2", "10", "02", "0", "x", "-3", "٣", "4.partial", "1.5"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").write_bytes(b"")
    (tmp_path / "11").mkdir()
    assert find_versions(tmp_path) == [10, 2, 1]
    assert find_versions(tmp_path / "missing") == []


@pytest.mark.slow
def test_versions_that_come_and_go_leave_no_threads_or_memory(tmp_path):
    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    directory, replaced = tmp_path / NAME, []
    small_model.write(directory, 2)
    images = small_model.draw(1)
    with serving(small_model.load(directory)) as (server, channel, _):
        reloader = Reloader(server, 0.05, lambda *one: replaced.append(one))
        try:
            for version in range(3, 23):
                small_model.write(tmp_path / "other", version, factor=version)
                shutil.move(tmp_path / "other" / str(version), directory)
                while not replaced or replaced[-1] != (NAME, version):
                    time.sleep(0.02)
                np.testing.assert_array_equal(logits_of(send(channel, images)), small_model.logits(images, version))
                if version == 7:
                    before = threads()
            assert threads() <= before + 2
        finally:
            reloader.stop()
