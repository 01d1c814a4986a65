"""Stores: objects by their content, manifests with conditional commits, in a folder and on a server of S3."""

import concurrent.futures
import hashlib
import os
import pickle

import pytest

from kdzoo import stores
from kdzoo.stores.folder import FolderStore
from zoo import InputError

KINDS = ("folder", "s3")


@pytest.fixture(params=KINDS)
def store(request, tmp_path) -> stores.Store:
    return stores.open_store(tmp_path / "store" if request.param == "folder" else request.getfixturevalue("bucket"))


def test_an_object_is_named_by_its_content(store):
    name = store.put(b"weights")
    assert name == hashlib.sha256(b"weights").hexdigest()
    assert store.get(name) == b"weights"
    assert store.put(b"weights") == name
    big = os.urandom(6 << 20)  # in several parts
    assert store.get(store.put(big)) == big
    assert store.get_ranges(name, [(0, 3), (5, 99), (2, 4)]) == [b"wei", b"ts", b"ig"]
    assert store.get_ranges(name, []) == []
    assert store.list_objects() == {name, store.put(big)}
    store.discard([name, "0" * 64])
    with pytest.raises(stores.Missing, match=r"An object must exist when it is read. Received: .*: none"):
        store.get(name)
    with pytest.raises(stores.Missing):
        store.get_ranges(name, [(0, 1)])
    assert store.get(store.put(b"")) == b""


def test_stores_below_one_another_have_objects_of_their_own(store):
    one, other = store.below("runs/one"), store.below("runs/ö ~%20#?*")
    name = one.put(b"a")
    assert other.put(b"a") == name
    one.discard([name])
    assert (one.list_objects(), other.list_objects(), store.list_objects()) == (set(), {name}, set())
    other.commit("part/1", {"a": 1}, None)
    store.commit("runs", {"b": 2}, None)
    assert store.list_manifests() == ["runs", "runs/ö ~%20#?*/part/1"]
    assert store.list_manifests("runs") == ["runs/ö ~%20#?*/part/1"]
    assert other.list_manifests() == ["part/1"]
    assert one.list_manifests("nothing") == []
    assert pickle.loads(pickle.dumps(other)).get(name) == b"a"
    assert stores.open_store(other.uri).read_manifest("part/1")[0] == {"a": 1}


def test_a_commit_replaces_the_version_that_was_read_and_no_other(store):
    assert store.read_manifest("runs/one") == (None, None)
    first = store.commit("runs/one", {"epoch": 1}, None)
    assert store.read_manifest("runs/one") == ({"epoch": 1}, first)
    with pytest.raises(stores.Conflict, match=r"A manifest must be the one that was read .* Received: .*/one: a new"):
        store.commit("runs/one", {"epoch": 9}, None)
    second = store.commit("runs/one", {"epoch": 2}, first)
    for version in (first, None):
        with pytest.raises(stores.Conflict):
            store.commit("runs/one", {"epoch": 9}, version)
    third = store.commit("runs/one", {"epoch": 3}, second)
    fourth = store.commit("runs/one", {"epoch": 4}, third)
    for version in (first, second, third, None):  # numbers that are free again count no more than others
        with pytest.raises(stores.Conflict):
            store.commit("runs/one", {"epoch": 9}, version)
    assert store.read_manifest("runs/one") == ({"epoch": 4}, fourth)


def test_many_writers_lose_no_change(store):
    """Each adds its own numbers, again where another was first."""

    def add(writer: int) -> None:
        own = stores.open_store(store.uri)
        for turn in range(5):
            change = {f"{writer}-{turn}": turn}
            own.update("table", lambda manifest, change=change: {**(manifest or {}), **change})

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(4)))
    manifest, _ = store.read_manifest("table")
    assert manifest == {f"{writer}-{turn}": turn for writer in range(4) for turn in range(5)}
    assert store.update("table", lambda manifest: None) == manifest


@pytest.mark.parametrize("damage", ["changed", "cut", "empty"])
def test_a_damaged_object_is_refused(tmp_path, damage):
    store = FolderStore(tmp_path)
    name = store.put(b"weights")
    path = tmp_path / "objects" / name
    path.write_bytes({"changed": b"weightz", "cut": b"weight", "empty": b""}[damage])
    with pytest.raises(stores.Damaged, match=r"An object must be as it was written: SHA-256 .*: \d bytes of"):
        store.get(name)
    store.put(b"weights")
    assert store.get(name) == b"weights"


@pytest.mark.parametrize("content", ["", "{", '{"epoch": 2}', '{"epoch": 2, "sha256": "0"}', "[1]"])
def test_a_damaged_manifest_is_refused_and_can_be_replaced(tmp_path, content):
    store = FolderStore(tmp_path)
    version = store.commit("run", {"epoch": 1}, None)
    (tmp_path / "run.manifest" / "000000001").write_text(content)
    with pytest.raises(stores.Damaged, match=r"A manifest must be as it was written. Received: .*/run: ") as caught:
        store.read_manifest("run")
    assert caught.value.version == version
    store.commit("run", {"epoch": 2}, caught.value.version)
    assert store.read_manifest("run")[0] == {"epoch": 2}


def test_old_versions_and_what_killed_writers_left_are_removed(tmp_path):
    store, version = FolderStore(tmp_path), None
    for epoch in range(5):
        version = store.commit("run", {"epoch": epoch}, version)
        (tmp_path / "run.manifest" / f"{epoch + 1:09d}.0123abcd.partial").write_text("half")
    names = sorted(os.listdir(tmp_path / "run.manifest"))
    assert names == ["000000004", "000000004.0123abcd.partial", "000000005", "000000005.0123abcd.partial"]
    assert store.read_manifest("run")[0] == {"epoch": 4}


@pytest.mark.parametrize(
    "path", ["", "/a", "a/", "a//b", "..", "a/../b", ".", "objects", "a/objects", "x.manifest", "a\0"]
)
def test_paths_that_are_none_are_refused(tmp_path, path):
    store = FolderStore(tmp_path)
    for use in (store.read_manifest, store.below, lambda path: store.commit(path, {}, None)):
        with pytest.raises(InputError, match=r"path in a store must .*Received: "):
            use(path)


@pytest.mark.parametrize("uri", ["gs://bucket/a", "http://x", "s3://", "s3:///a", "", "s3://bucket/a/../b"])
def test_addresses_that_are_none_are_refused(uri):
    with pytest.raises(InputError, match=r"must .*Received: "):
        stores.open_store(uri)


def test_a_folder_that_cannot_be_written_is_reported_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    store = stores.open_store(tmp_path / "file")
    for use in (lambda: store.put(b""), lambda: store.commit("a", {}, None)):
        with pytest.raises(
            InputError, match=r"A store must be a folder that can be read and written. Received: "
        ) as caught:
            use()
        assert "\n" not in str(caught.value)


def test_a_bucket_that_cannot_be_reached_is_reported_in_one_line(bucket, monkeypatch):
    with pytest.raises(InputError, match=r"A store must be a folder, or a bucket .* Received: s3://none: ") as caught:
        stores.open_store("s3://none")
    assert "NoSuchBucket" in str(caught.value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"A store must be .* Received: s3://bucket: .*127.0.0.1:9") as unreachable:
        stores.open_store("s3://bucket")
    for error in (caught, unreachable):
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 600
