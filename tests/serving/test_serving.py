"""Teachers behind gRPC: the server with the client, and with TensorFlow Serving's own messages."""

import contextlib
import dataclasses
import io
import shutil
import signal
import threading

import numpy as np
import pytest
from PIL import Image

from conftest import run_python, start_python
from kdzoo.data import augmentation, sources
from kdzoo.data.dataset import array_digest
from kdzoo.data.decoding import open_picture
from kdzoo.hub import cards
from kdzoo.hub.models import list_cards, resolve
from kdzoo.publishing import publisher
from kdzoo.runs import records, weights
from kdzoo.runs.config import METHODS, RunConfig
from kdzoo.teachers import saved_model, signature
from kdzoo.training import evaluation, prediction, train
from zoo import InputError

tf = pytest.importorskip("tensorflow")
grpc = pytest.importorskip("grpc")
pytest.importorskip("tensorflow_serving")

from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: E402
from tensorflow_serving.apis import (  # noqa: E402
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from kdzoo.serving.models import load  # noqa: E402
from kdzoo.serving.server import start  # noqa: E402
from kdzoo.teachers.grpc import Client  # noqa: E402

NAME = "quarters/wrn10-1_2-3"
SIGNATURES = {"serving_default", "features", "pictures", "encoded"}


@pytest.fixture(scope="module")
def models(published):
    return load(list_cards(path=published), path=str(published))


@contextlib.contextmanager
def served(models, **options):
    """A server on a free port: its host:port."""
    server, port = start(models, **{"host": "127.0.0.1", "port": 0, **options})
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (300, 16, 16, 3), dtype=np.uint8)


@pytest.fixture
def config(npz) -> RunConfig:
    return RunConfig("wrn10-1", "1-2", dataset=f"npz:{npz}", batch_size=32, seed=1, lr=0.001, **METHODS["at+kd"])


@pytest.fixture
def local_outputs(published, images) -> dict[str, np.ndarray]:
    """The model's outputs for the images without a server."""
    signatures, call = saved_model.load_saved_model(published / NAME / cards.VERSION)
    return call(signatures["serving_default"], images)


def signature_of(client) -> signature.Signature:
    return client.signatures()["serving_default"]


def test_the_client_returns_the_outputs_of_the_model(models, images, local_outputs):
    with served(models) as target:
        client = Client(target, NAME)
        signatures = client.signatures()
        assert signatures.keys() == SIGNATURES
        assert signatures["serving_default"].image_shape == (16, 16, 3)
        assert signatures["serving_default"].outputs == {"logits": (4,), "probabilities": (4,)}
        outputs = client.predict(signatures["serving_default"], images)  # in three requests
        assert client.predict(signatures["features"], images[:3])["stage1"].shape == (3, 16, 16, 16)
        assert client.predict(signatures["serving_default"], images[:0])["logits"].shape == (0, 4)
    np.testing.assert_allclose(outputs["logits"], local_outputs["logits"], atol=1e-5)
    np.testing.assert_allclose(outputs["probabilities"], local_outputs["probabilities"], atol=1e-5)


def test_the_server_responds_to_a_thousand_requests_at_once(models, images, local_outputs):
    with served(models) as target:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(target))
        requests = [_request(images=images[i % 300][None], outputs=["logits"]) for i in range(1000)]
        pending = [stub.Predict.future(request, timeout=120) for request in requests]
        logits = [tf.make_ndarray(future.result().outputs["logits"]) for future in pending]
    np.testing.assert_allclose(np.concatenate(logits), local_outputs["logits"][np.arange(1000) % 300], atol=1e-5)


def test_the_client_splits_requests_that_are_too_large(models, images, local_outputs):
    with served(models, request_mb=0.01) as target:  # thirteen images
        client = Client(target, NAME)
        outputs = client.predict(signature_of(client), images)
    np.testing.assert_allclose(outputs["logits"], local_outputs["logits"], atol=1e-5)


def encode(pixels: np.ndarray, kind: str) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind)
    return content.getvalue()


def test_pictures_of_any_size_and_files_have_the_logits_of_predictions(models, published, images, local_outputs):
    trained = resolve(published / NAME)
    view, network = prediction.view_of(trained.record), evaluation.build(trained)
    statistics = {key: trained.record["dataset"][key] for key in ("mean", "std")}
    pixels = np.random.default_rng(1).integers(0, 256, (3, 50, 70, 3), np.uint8)
    files = [encode(one, kind) for one, kind in zip(pixels, ("JPEG", "PNG", "PNG"), strict=True)]
    with served(models) as target:
        client = Client(target, NAME)
        signatures = client.signatures()
        of_pictures, of_files = signatures["pictures"], signatures["encoded"]
        assert (of_pictures.image_shape, of_pictures.dtype) == ((None, None, 3), "uint8")
        assert (of_files.image_shape, of_files.dtype) == ((), "string")
        of_own_size = client.predict(of_pictures, images)["logits"]
        found = [client.predict(of_pictures, pixels), client.predict(of_files, np.array(files, object))]
    np.testing.assert_allclose(of_own_size, local_outputs["logits"], atol=1e-5)
    for outputs, given in zip(found, (pixels, files), strict=True):
        seen = np.stack([view(open_picture(one, (255, 255, 255))) for one in given])
        expected = network.predict_on_batch(augmentation.standardise(seen, **statistics))
        np.testing.assert_allclose(outputs["logits"], expected, atol=0.05)
        np.testing.assert_allclose(outputs["probabilities"].sum(-1), 1, atol=1e-5)
        assert np.ptp(expected) > 1


@pytest.mark.parametrize(
    ("signature", "value", "code", "message"),
    [
        (
            "encoded",
            [b"damaged"],
            "INVALID_ARGUMENT",
            "encoded must hold whole pictures. Received: assertion failed: [A",
        ),
        ("encoded", [b""], "INVALID_ARGUMENT", "must be a JPEG or PNG file"),
        ("encoded", [b"\xff\xd8\xff\xe0"], "INVALID_ARGUMENT", "Invalid JPEG data"),
        (
            "encoded",
            np.zeros((1, 16, 16, 3), np.uint8),
            "INVALID_ARGUMENT",
            "encoded must be string [n]. Received: uint8",
        ),
        ("encoded", [[b"a", b"b"]], "INVALID_ARGUMENT", "encoded must be string [n]. Received: string [1, 2]"),
        ("encoded", [b"x" * (2**20 + 1)], "RESOURCE_EXHAUSTED", "at most 1048576 bytes. Received: 1048577"),
        (
            "pictures",
            np.zeros((1, 0, 5, 3), np.uint8),
            "INVALID_ARGUMENT",
            "uint8 [n, any, any, 3]. Received: uint8 [1, 0",
        ),
        ("pictures", np.zeros((1, 5, 5, 4), np.uint8), "INVALID_ARGUMENT", "Received: uint8 [1, 5, 5, 4]"),
        ("pictures", np.zeros((1, 5, 5, 3), np.float32), "INVALID_ARGUMENT", "Received: float32 [1, 5, 5, 3]"),
    ],
)
def test_pictures_that_are_none_are_refused_and_the_server_still_responds(server_at, signature, value, code, message):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(server_at))
    with pytest.raises(grpc.RpcError) as refused:
        stub.Predict(_request(signature=signature, input=signature, images=value), timeout=30)
    assert refused.value.code().name == code
    assert message in refused.value.details()
    good = _request(signature="encoded", input="encoded", images=[encode(np.zeros((9, 9, 3), np.uint8), "PNG")])
    assert stub.Predict(good, timeout=30).outputs.keys() == {"logits", "probabilities"}


def test_one_string_does_not_stand_for_many(server_at):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(server_at))
    content = encode(np.zeros((9, 9, 3), np.uint8), "PNG")
    with pytest.raises(grpc.RpcError) as refused:
        stub.Predict(_request(signature="encoded", input="encoded", images=[content], dims=[2**40]), timeout=30)
    assert refused.value.code().name == "INVALID_ARGUMENT"
    assert "encoded must hold as many values as its shape needs. Received: 1 values for" in refused.value.details()


def _request(**changes):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = changes.get("name", NAME)
    request.model_spec.signature_name = changes.get("signature", "")
    if "version" in changes:
        request.model_spec.version.value = changes["version"]
    request.output_filter.extend(changes.get("outputs", []))
    tensor = tf.make_tensor_proto(changes.get("images", np.zeros((1, 16, 16, 3), np.uint8)))
    tensor.MergeFrom(changes.get("more", type(tensor)()))
    if "dims" in changes:
        for dimension, size in zip(tensor.tensor_shape.dim, changes["dims"], strict=True):
            dimension.size = size
    request.inputs[changes.get("input", "images")].CopyFrom(tensor)
    return request


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"name": "wrn16-8_20-65"}, "NOT_FOUND", f"Model must be one of {NAME}. Received: wrn16-8_20-65"),
        ({"name": "x" * 10_000}, "NOT_FOUND", "Received: xxx"),
        ({"version": 2}, "NOT_FOUND", "Version must be 1 or none. Received: 2"),
        ({"signature": "train"}, "INVALID_ARGUMENT", "Received: train"),
        ({"outputs": ["logit"]}, "INVALID_ARGUMENT", "Received: logit"),
        ({"input": "image"}, "INVALID_ARGUMENT", "Input must be images. Received: image"),
        ({"images": np.zeros((1, 16, 16, 3), np.float32)}, "INVALID_ARGUMENT", "Received: float32 [1, 16, 16, 3]"),
        ({"images": np.zeros((1, 32, 32, 3), np.uint8)}, "INVALID_ARGUMENT", "Received: uint8 [1, 32, 32, 3]"),
        ({"images": np.zeros((16, 16, 3), np.uint8)}, "INVALID_ARGUMENT", "Received: uint8 [16, 16, 3]"),
        ({"dims": [2, 16, 16, 3]}, "INVALID_ARGUMENT", "as many values as its shape needs"),
        ({"dims": [-1, 16, 16, 3]}, "INVALID_ARGUMENT", "Received: uint8 [-1, 16, 16, 3]"),
        ({"dims": [2**40, 16, 16, 3]}, "RESOURCE_EXHAUSTED", "A request must be of at most"),
        ({"images": np.zeros((3000, 16, 16, 3), np.uint8)}, "RESOURCE_EXHAUSTED", ""),
    ],
)
def test_an_invalid_request_is_refused_with_its_reason(server_at, changes, code, message):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(server_at))
    with pytest.raises(grpc.RpcError) as refused:
        stub.Predict(_request(**changes), timeout=30)
    assert refused.value.code().name == code
    assert message in refused.value.details()
    assert stub.Predict(_request(), timeout=30).outputs.keys() == {"logits", "probabilities"}


@pytest.fixture(scope="module")
def server_at(models):
    with served(models, request_mb=1) as target:
        yield target


def test_metadata_status_and_health_are_those_of_tensorflow_serving(server_at):
    channel = grpc.insecure_channel(server_at)
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = NAME
    response = stub.GetModelMetadata(request, timeout=30)
    assert (response.model_spec.name, response.model_spec.version.value) == (NAME, 1)
    definitions = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(definitions)
    assert definitions.signature_def.keys() == SIGNATURES
    assert definitions.signature_def["serving_default"].method_name == "tensorflow/serving/predict"
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = NAME
    response = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(status, timeout=30)
    assert [version.state for version in response.model_version_status] == [30]
    health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
    assert health.status == health_pb2.HealthCheckResponse.SERVING


def test_a_damaged_model_is_reported_once(published, tmp_path, caplog):
    shutil.copytree(published, tmp_path / "models")
    with open(tmp_path / "models" / NAME / cards.VARIABLES, "ab") as file:
        file.write(b"x")
    found = list_cards(path=tmp_path / "models")
    with pytest.raises(InputError, match=r"must match its card.* Received: .*bytes"):
        load(found, path=str(tmp_path / "models"))
    assert caplog.text == ""
    with pytest.raises(InputError, match="other damaged models: 1"):
        load(found * 2, path=str(tmp_path / "models"))


def test_the_newest_version_that_matches_its_card_is_served(published, tmp_path, caplog):
    shutil.copytree(published, tmp_path / "models")
    directory = tmp_path / "models" / NAME
    shutil.copytree(directory / "1", directory / "2")
    shutil.copy(directory / cards.CARD, directory / "2")
    (found,) = list_cards(path=tmp_path / "models")  # the card of a version is not that of another model
    assert [(model.name, model.version) for model in load([found], path=str(tmp_path / "models"))] == [(NAME, 2)]
    assert caplog.text == ""
    with open(directory / "2" / cards.VARIABLES.removeprefix("1/"), "ab") as file:
        file.write(b"x")
    assert [(model.name, model.version) for model in load([found], path=str(tmp_path / "models"))] == [(NAME, 1)]
    (warning,) = caplog.records
    assert "files must match its card" in warning.message
    assert f"Received: {directory}/2/variables/" in warning.message


def test_a_port_belongs_to_one_server(models, server_at):
    with pytest.raises(InputError, match="must be free to listen on"):
        start(models, host="127.0.0.1", port=int(server_at.rpartition(":")[2]))


def losses(record: dict) -> list[dict]:
    return [{key: row[key] for key in ("loss", "ce", "kd", "at", "test_ce")} for row in record["history"]]


def test_distilling_from_a_server_equals_distilling_from_the_run(config, teacher_run, models, tmp_path):
    """With KD and attention transfer."""
    run = train.run(dataclasses.replace(config, teachers=(str(teacher_run),)), tmp_path / "run")
    with served(models) as target:
        config = dataclasses.replace(config, teachers=(f"grpc://{target}/{NAME}",))
        away = train.run(config, tmp_path / "away")
        client = Client(target, NAME)
        test = sources.load(config.dataset).test.images
        logits = client.predict(client.signatures()["features"], test)["logits"]
    for one, other in zip(losses(run), losses(away), strict=True):
        assert other == pytest.approx(one, rel=1e-4)
    assert away["test_agreement_last"] == run["test_agreement_last"]
    assert away["teachers"][0]["test_error_last"] == run["teachers"][0]["test_error_last"]
    assert away["teachers"][0]["digest"] == array_digest(logits)


@pytest.mark.slow
def test_the_client_waits_for_a_server_that_restarts(config, models, tmp_path):
    server, port = start(models, host="127.0.0.1", port=0)
    address = f"grpc://127.0.0.1:{port}/{NAME}"
    # In 20 epochs more outputs are needed than are computed ahead in the first one.
    config = dataclasses.replace(config, schedule="1-20", teachers=(address,), **METHODS["kd"])
    train.run(config, tmp_path / "away", teacher_cache="off")
    stopped, back = [], []

    def restart(progress) -> None:
        """Stops the server after the first epoch, and starts another one a second later."""
        if progress.epoch == 1 and not stopped:
            stopped.append(server.stop(None).wait())
            timer = threading.Timer(1, lambda: back.append(start(models, host="127.0.0.1", port=port)[0]))
            timer.start()

    train.run(config, tmp_path / "interrupted", progress=restart, teacher_cache="off")
    assert back
    back[0].stop(None).wait()
    pair = [weights.load_model(tmp_path / name).get_weights() for name in ("away", "interrupted")]
    assert all((a == b).all() for a, b in zip(*pair, strict=True))


@pytest.mark.slow
def test_a_run_whose_server_stops_is_saved_and_resumed(config, models, tmp_path):
    server, port = start(models, host="127.0.0.1", port=0)
    # In 20 epochs more outputs are needed than are computed ahead in the first two.
    config = dataclasses.replace(config, schedule="1-20", teachers=(f"grpc://127.0.0.1:{port}/{NAME}",))

    def stop(progress) -> None:
        if progress.epoch == 2:
            server.stop(None).wait()

    with pytest.raises(InputError, match="must respond within 1 s") as gone:
        train.run(config, tmp_path / "run", teacher_deadline=1.0, progress=stop, teacher_cache="off")
    assert "\n" not in str(gone.value)
    with served(models) as target:  # on another port
        config = dataclasses.replace(config, teachers=(f"grpc://{target}/{NAME}",))
        record = train.run(config, tmp_path / "run")
        assert record["sessions"][1]["epoch"] >= 2
        train.run(config, tmp_path / "uninterrupted")
    pair = [weights.load_model(tmp_path / name).get_weights() for name in ("run", "uninterrupted")]
    assert all((a == b).all() for a, b in zip(*pair, strict=True))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("grpc://127.0.0.1:9/wrn10-1_2-3", "at 127.0.0.1:9 must respond within 2 s"),
        ("grpc://localhost/wrn10-1_2-3", "must be grpc://HOST:PORT/NAME"),
        ("grpc://localhost:8500", "must be grpc://HOST:PORT/NAME"),
        ("grpc://{target}/wrn16-8_20-65", "NOT_FOUND: Model must be one of"),
    ],
)
def test_a_missing_server_or_model_is_reported(config, server_at, tmp_path, spec, message):
    config = dataclasses.replace(config, teachers=(spec.format(target=server_at),))
    with pytest.raises(InputError, match=message):
        train.run(config, tmp_path / "run", teacher_deadline=2.0)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_commands_serve_and_distil(published, npz, tmp_path):
    process = start_python("-m", "apps.serve", f"--path={published}", "--port=0")
    try:
        line = process.stdout.readline()
        assert line.startswith("serving 1 models at grpc://localhost:")
        address = line.split()[4].replace("NAME:", NAME)
        flags = ["--student=wrn10-1", "--schedule=1-1", f"--dataset=npz:{npz}", "--batch_size=32"]
        done = run_python("-m", "apps.distill", *flags, f"--teacher={address}", f"--workdir={tmp_path}/run")
        assert done.returncode == 0, done.stderr
        assert records.read(tmp_path / "run")["teachers"][0]["name"] == NAME
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert (out, err) == ("", "")


@pytest.mark.slow
def test_a_network_of_resized_images_sees_the_same_part_of_a_picture_when_it_is_served(npz, tmp_path):
    config = RunConfig(
        "wrn10-1", "1-1", dataset=f"npz:{npz}", batch_size=32, augment="resize", image_size=24, background="#ff8000"
    )
    train.run(config, tmp_path / "run")
    directory = publisher.publish([tmp_path / "run"], tmp_path, name="resized/wrn10-1_1-1")
    trained = resolve(directory)
    pixels = np.zeros((60, 90, 4), np.uint8)
    pixels[4:, 17:] = np.random.default_rng(1).integers(0, 256, (56, 73, 4), dtype=np.uint8)
    seen = prediction.view_of(trained.record)(open_picture(encode(pixels, "PNG"), (255, 128, 0)))
    statistics = {key: trained.record["dataset"][key] for key in ("mean", "std")}
    expected = evaluation.build(trained).predict_on_batch(augmentation.standardise(seen[None], **statistics))
    signatures, call = saved_model.load_saved_model(directory / cards.VERSION)
    logits = call(signatures["encoded"], np.array([encode(pixels, "PNG")], object))["logits"]
    np.testing.assert_allclose(logits, expected, atol=0.02 * np.ptp(expected))
