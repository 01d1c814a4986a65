"""TLS and tokens of the server, and the client's side of them."""

import contextlib
import subprocess

import numpy as np
import pytest

from kdzoo.runs.config import RunConfig
from zoo import InputError

pytest.importorskip("tensorflow")
grpc = pytest.importorskip("grpc")
pytest.importorskip("tensorflow_serving")
pytest.importorskip("prometheus_client")

from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: E402

import small_model  # noqa: E402
from conftest import run_python, start_python  # noqa: E402
from kdzoo.serving.access import load_credentials, read_tokens  # noqa: E402
from kdzoo.serving.server import start  # noqa: E402
from kdzoo.teachers import grpc as client  # noqa: E402
from test_load import code_of, logits_of, send  # noqa: E402

TOKENS = ["first-of-the-tokens", "second-of-the-tokens"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Paths of a certificate of localhost and its key."""
    directory = tmp_path_factory.mktemp("tls")
    cert, key = directory / "cert.pem", directory / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=localhost"]
    try:
        subprocess.run([*command, "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs openssl")
    return str(cert), str(key)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    directory = tmp_path_factory.mktemp("models") / small_model.NAME
    small_model.write(directory)
    return small_model.load(directory)


@contextlib.contextmanager
def serving(model, certificate=None, tokens=()):
    """A server on a free port: its host:port."""
    credentials = load_credentials(*certificate) if certificate else None
    server, port = start([model], port=0, credentials=credentials, tokens=tokens)
    try:
        yield f"localhost:{port}"
    finally:
        server.stop(None).wait()


def test_a_server_with_a_certificate_responds_to_encrypted_requests_alone(model, certificate):
    images = small_model.draw(2)
    with serving(model, certificate) as target:
        with open(certificate[0], "rb") as file:
            trusted = grpc.ssl_channel_credentials(file.read())
        with grpc.secure_channel(target, trusted) as channel:
            np.testing.assert_array_equal(logits_of(send(channel, images)), small_model.logits(images))
        with grpc.secure_channel(target, grpc.ssl_channel_credentials()) as channel:  # an authority nobody knows
            assert code_of(send(channel, images, timeout=5)) == "UNAVAILABLE"
        with grpc.insecure_channel(target) as channel:
            assert code_of(send(channel, images, timeout=5)) == "UNAVAILABLE"


@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        ((), "UNAUTHENTICATED"),
        ((("authorization", f"Bearer {TOKENS[0]}x"),), "UNAUTHENTICATED"),
        ((("authorization", TOKENS[0]),), "UNAUTHENTICATED"),
        ((("authorization", "Bearer "),), "UNAUTHENTICATED"),
        ((("authorization-bin", b"\xff"),), "UNAUTHENTICATED"),
        ((("authorization", f"Bearer {TOKENS[0]}"),), "OK"),
        ((("authorization", f"Bearer {TOKENS[1]}"),), "OK"),
    ],
)
def test_a_request_needs_one_of_the_tokens(model, metadata, code):
    with serving(model, tokens=TOKENS) as target, grpc.insecure_channel(target) as channel:
        assert code_of(send(channel, small_model.draw(1), metadata=metadata)) == code
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
        assert health.status == health_pb2.HealthCheckResponse.SERVING


def teacher(target: str, scheme: str = "grpc"):
    config = RunConfig("wrn10-1", "1-2", kd_weight=0.9, teachers=("grpc://h:1/m",))
    return client.find_teacher(f"{scheme}://{target}/{small_model.NAME}", config, deadline=10)


def test_a_teacher_brings_the_token_in_the_file_that_the_environment_names(model, tmp_path, monkeypatch):
    with serving(model, tokens=TOKENS) as target:
        monkeypatch.delenv("KDZOO_TOKEN_FILE", raising=False)
        with pytest.raises(InputError, match=r"UNAUTHENTICATED: .* KDZOO_TOKEN_FILE names the file of the token"):
            teacher(target)
        (tmp_path / "token").write_text(f"{TOKENS[1]}\n")
        monkeypatch.setenv("KDZOO_TOKEN_FILE", str(tmp_path / "token"))
        outputs = teacher(target)._call(small_model.draw(3))
        np.testing.assert_array_equal(outputs["logits"], small_model.logits(small_model.draw(3)))


@pytest.mark.parametrize("content", [None, b"", b"\n", "tök".encode(), b"a\x00b", b"\xff\xfe"])
def test_a_file_of_a_token_that_is_none_is_refused(tmp_path, monkeypatch, content):
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("KDZOO_TOKEN_FILE", str(path))
    with pytest.raises(InputError, match=f"KDZOO_TOKEN_FILE must name a file .* Received: {path}: "):
        teacher("localhost:1")


@pytest.mark.parametrize(
    ("target", "local"),
    [
        ("localhost:1", True),
        ("127.0.0.2:1", True),
        ("[::1]:1", True),
        ("127.evil.example:1", False),
        ("localhost.evil.example:1", False),
        ("10.0.0.1:1", False),
    ],
)
def test_a_token_is_sent_without_encryption_to_this_machine_alone(target, local):
    assert client.is_local(target) == local


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"one\n", ["one"]),
        (b"one\r\n\r\n two \n", ["one", "two"]),
        (b"", "nothing"),
        (b"\n \n", "nothing"),
        (b"two words\n", "another text"),
        ("tök\n".encode(), "another text"),
        (b"\xff\xfe", "another text"),
        (b"a\x00b", "another text"),
        (b"x" * 2**21, "more than 1048576 bytes"),
    ],
)
def test_a_file_of_tokens_holds_one_a_line(tmp_path, content, expected):
    path = tmp_path / "tokens"
    path.write_bytes(content)
    if isinstance(expected, list):
        assert read_tokens(str(path)) == expected
    else:
        with pytest.raises(InputError, match=rf"token_file must .* Received: .*: {expected}"):
            read_tokens(str(path))


def test_certificate_and_key_must_belong_together(certificate, tmp_path):
    cert, key = certificate
    other = tmp_path / "other.pem"
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", other], check=True)
    with pytest.raises(InputError, match=r"tls_cert must be a file that can be read. Received: '/missing'"):
        load_credentials("/missing", key)
    with pytest.raises(InputError, match=r"tls_key must be a file that can be read. Received: '.*': Is a directory"):
        load_credentials(cert, str(tmp_path))
    for pair in ((cert, str(other)), (key, cert), (cert, cert)):
        with pytest.raises(InputError, match=r"tls_cert and tls_key must be PEM files .* Received: "):
            load_credentials(*pair)


@pytest.mark.slow
def test_the_commands_serve_and_distil_with_encryption_and_token(published, npz, certificate, tmp_path):
    (tmp_path / "token").write_text(TOKENS[0])
    cert, key = certificate
    flags = [f"--tls_cert={cert}", f"--tls_key={key}", f"--token_file={tmp_path}/token", "--metrics_port=0"]
    process = start_python("-m", "apps.serve", f"--path={published}", "--port=0", *flags)
    try:
        line = process.stdout.readline()
        assert line.startswith("serving 1 models at grpcs://localhost:")
        assert process.stdout.readline().startswith("metrics at http://localhost:")
        address = line.split()[4].replace("NAME:", "quarters/wrn10-1_2-3")
        distil = ["-m", "apps.distill", "--student=wrn10-1", "--schedule=1-1", f"--dataset=npz:{npz}"]
        distil += ["--batch_size=32", f"--teacher={address}", f"--workdir={tmp_path}/run", "--teacher_deadline=20"]
        env = {"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": cert, "KDZOO_TOKEN_FILE": f"{tmp_path}/token"}
        refused = run_python(*distil, env=env | {"KDZOO_TOKEN_FILE": None})
        assert (refused.returncode, "UNAUTHENTICATED" in refused.stderr) == (2, True), refused.stderr
        done = run_python(*distil, env=env)
        assert done.returncode == 0, done.stderr
    finally:
        process.terminate()
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")
