"""Published models from a server on this machine that may stall, break off, or send wrong bytes."""

import contextlib
import http.server
import pathlib
import shutil
import threading

import numpy as np
import pytest

from kdzoo.hub import cards, models, remote
from zoo import InputError

NAME = "quarters/wrn10-1_2-3"


@pytest.fixture
def cache(tmp_path, monkeypatch) -> pathlib.Path:
    monkeypatch.setenv("KDZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "cache"


class _Handler(http.server.BaseHTTPRequestHandler):
    """Sends files of `root`, with ranges; `behave(handler, body)` may send something else, and then returns True."""

    root: pathlib.Path
    requested: list
    protocol_version = "HTTP/1.1"

    def behave(self, body: bytes) -> bool:
        return False

    def do_GET(self):
        begin = int(self.headers.get("Range", "bytes=0-")[len("bytes=") : -1])
        self.requested.append((self.path, begin))
        try:
            body = (self.root / self.path.lstrip("/")).read_bytes()
        except OSError:
            self.send_error(404)
            return
        if self.behave(body):
            self.close_connection = True
            return
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - begin))
        self.end_headers()
        self.wfile.write(body[begin:])

    def start(self, length: int) -> None:
        """Sends the head of a response of this length."""
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serve(root: pathlib.Path, behave=None):
    """Serves a folder. Yields the address, and a list that collects (path, first byte) of each request."""
    requested = []
    members = {"root": root, "requested": requested, **({"behave": behave} if behave else {})}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), members))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requested
    finally:
        server.shutdown()
        server.server_close()


def test_a_model_is_fetched_once_and_then_needs_no_network(published, cache):
    with serve(published) as (base, requested):
        address = f"{base}/{NAME}"
        first = models.load(address).get_weights()
        assert sorted(path for path, _ in requested) == sorted(f"/{NAME}/{file}" for file in (cards.CARD, *cards.FILES))
    again = models.load(address).get_weights()
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert not list(cache.rglob("*.partial"))


def test_a_name_is_searched_for_in_the_remote_folder_last(published, cache, monkeypatch):
    monkeypatch.setenv("KDZOO_HOME", str(cache))
    with serve(published) as (base, requested):
        monkeypatch.setenv("KDZOO_REMOTE", f"{base}/")
        assert models.find(NAME).record["name"] == NAME
        assert len(requested) == 4
        with pytest.raises(InputError, match="404"):
            models.load("wrn10-1_9-10")
        with pytest.raises(InputError, match="not in"):
            models.load(NAME, path=cache)  # `path` is the only folder to search
        assert len(requested) == 5


def test_hugging_face_addresses_each_file_of_a_repository(published, cache, monkeypatch, tmp_path):
    tree = tmp_path / "site" / "somebody" / "models" / "resolve" / "v2" / NAME
    shutil.copytree(published / NAME, tree)
    with serve(tmp_path / "site") as (base, _):
        monkeypatch.setenv("HF_ENDPOINT", base)
        assert models.find(f"hf://somebody/models@v2/{NAME}").record["name"] == NAME
        with pytest.raises(InputError, match="404"):
            models.find(f"hf://somebody/models/{NAME}")


def test_training_begins_with_weights_from_a_server(published, cache, npz, monkeypatch, tmp_path):
    from kdzoo import training
    from kdzoo.runs.config import RunConfig

    shutil.copytree(published / NAME, tmp_path / "site" / "somebody" / "models" / "resolve" / "main" / NAME)
    with serve(tmp_path / "site") as (base, _):
        monkeypatch.setenv("HF_ENDPOINT", base)
        config = RunConfig(
            "wrn10-1", "1-1", dataset=f"npz:{npz}", batch_size=32, lr=1e-12, init=f"hf://somebody/models/{NAME}"
        )
        record = training.run(config, tmp_path / "run")
    assert record["network"]["init"]["name"] == NAME
    trained = models.find(NAME, path=published)
    assert record["test_error_last"] == pytest.approx(trained.record["test_error"], abs=5)
    network = models.resolve(tmp_path / "run").build()
    for ours, theirs in zip(network.trainable_weights, trained.build().trainable_weights, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_an_interrupted_download_resumes(published, cache):
    cut = []

    def break_off(handler, body):
        if not handler.path.endswith(cards.VARIABLES) or cut:
            return False
        cut.append(True)
        handler.start(len(body))
        handler.wfile.write(body[:200_000])
        return True

    with serve(published, break_off) as (base, requested):
        with pytest.raises(InputError, match="sent whole"):
            models.load(f"{base}/{NAME}")
        assert not list(cache.rglob(cards.CARD))
        models.load(f"{base}/{NAME}")
    begins = [begin for path, begin in requested if path.endswith(cards.VARIABLES)]
    assert begins[0] == 0
    assert begins[1] > 100_000


def test_a_damaged_file_in_the_cache_is_downloaded_again(published, cache):
    with serve(published) as (base, requested):
        address = f"{base}/{NAME}"
        models.find(address)
        (variables,) = cache.rglob(pathlib.Path(cards.VARIABLES).name)
        variables.write_bytes(variables.read_bytes()[:-1])
        requested.clear()
        models.load(address)
        assert sorted(path for path, _ in requested) == [f"/{NAME}/{cards.VARIABLES}", f"/{NAME}/{cards.CARD}"]


def _stall(handler, body):
    handler.start(len(body))
    handler.wfile.write(body[:10])
    handler.wfile.flush()
    threading.Event().wait(3)
    return True


def _longer(handler, body):
    handler.start(len(body) + 10)
    handler.wfile.write(body + b"0123456789")
    return True


def _endless(handler, body):
    handler.send_response(200)
    handler.end_headers()
    with contextlib.suppress(OSError):
        while True:
            handler.wfile.write(b"\0" * 65536)


def _shorter(handler, body):
    handler.start(len(body))
    handler.wfile.write(body[:-5])
    return True


def _shorter_with_its_length(handler, body):
    handler.start(len(body) - 5)
    handler.wfile.write(body[:-5])
    return True


def _other(handler, body):
    handler.start(len(body))
    handler.wfile.write(bytes(reversed(body)))
    return True


def _nothing(handler, body):
    return True


def _error(handler, body):
    handler.send_error(500)
    return True


@pytest.mark.parametrize("file", [cards.CARD, cards.VARIABLES])
@pytest.mark.parametrize(
    "behave", [_stall, _longer, _endless, _shorter, _shorter_with_its_length, _other, _nothing, _error]
)
def test_a_server_that_misbehaves_is_refused_in_one_line(published, cache, tmp_path, behave, file):
    elsewhere = set(tmp_path.rglob("*"))

    def sometimes(handler, body):
        return handler.path.endswith(file) and behave(handler, body)

    with serve(published, sometimes) as (base, _), pytest.raises(InputError, match="Received: ") as refused:
        remote.fetch(f"{base}/{NAME}", timeout=0.5)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 600
    assert not list(cache.rglob(cards.CARD))
    assert all(cache in path.parents or path == cache for path in set(tmp_path.rglob("*")) - elsewhere)
    with serve(published) as (base, _):
        remote.fetch(f"{base}/{NAME}", timeout=5)


def test_a_card_that_would_write_elsewhere_is_refused(published, cache, tmp_path):
    import json

    card = json.loads((published / NAME / cards.CARD).read_text())
    card["files"]["../../../evil"] = card["files"].pop(cards.INDEX)
    card["sha256"] = cards.digest(card)
    model = pathlib.Path(shutil.copytree(published / NAME, tmp_path / "site" / NAME))
    (model / cards.CARD).write_text(json.dumps(card))
    with serve(tmp_path / "site") as (base, requested):
        with pytest.raises(InputError, match="files other than"):
            models.load(f"{base}/{NAME}")
        assert len(requested) == 1


def test_a_model_under_another_name_is_refused(published, cache, tmp_path):
    shutil.copytree(published / NAME, tmp_path / "site" / "wrn16-8_20-65")
    with serve(tmp_path / "site") as (base, _), pytest.raises(InputError, match="must lie under its own name"):
        models.load(f"{base}/wrn16-8_20-65")


@pytest.mark.parametrize(
    "address",
    [
        "https://",
        "https:///wrn10-1_2-3",
        "http://example.com/wrn10-1_2-3",
        "https://example.com/../wrn10-1_2-3",
        "https://example.com/wrn10-1_2-3?x=1",
        "https://example.com/wrn 10",
        "https://[example.com/wrn10-1_2-3",
        "https://example.com/wrn\0",
        "hf://wrn10-1_2-3",
        "hf://a/b@../wrn10-1_2-3",
        "https://example.com/" + "w" * 10_000,
    ],
)
def test_an_invalid_address_is_refused(cache, address):
    with pytest.raises(InputError, match="must lie at https://") as refused:
        models.load(address)
    assert len(str(refused.value)) < 400
    assert not cache.exists()


def test_no_server_is_one_clear_line(cache):
    with pytest.raises(InputError, match="refused") as refused:
        models.load("http://127.0.0.1:9/wrn10-1_2-3")
    assert "\n" not in str(refused.value)


def test_a_cache_that_cannot_be_written_is_one_clear_line(monkeypatch):
    monkeypatch.setenv("KDZOO_CACHE", "/dev/null/cache")
    with pytest.raises(InputError, match=r"The cache must be a folder that can be written. Received: /dev/null/cache"):
        models.load("http://127.0.0.1:9/wrn10-1_2-3")
