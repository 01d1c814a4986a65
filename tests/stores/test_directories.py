"""Directories in a store: published whole, taken over from dead owners, whose late writes change nothing."""

import contextlib
import pathlib
import random
import signal
import subprocess
import time

import pytest

from conftest import start_python
from kdzoo import stores
from kdzoo.stores import directories
from zoo import InputError

RUN = {"record.json": b"{}", "model.weights.h5": b"weights", "checkpoints/000000015-aa.npz": b"state", "empty": b""}


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path) -> stores.Store:
    return stores.open_store(tmp_path / "store" if request.param == "folder" else request.getfixturevalue("bucket"))


def write(directory: pathlib.Path, contents: dict[str, bytes]) -> pathlib.Path:
    for name, content in contents.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    return directory


def read(directory: pathlib.Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def test_a_directory_is_the_same_on_another_machine(store, tmp_path):
    run = write(tmp_path / "run", RUN | {"record.json.0123abcd.partial": b"half", ".x.0123abcd.partial/part": b""})
    (run / "link").symlink_to(run / "record.json")
    directories.upload(store, "runs/one", run)
    directories.download(store, "runs/one", tmp_path / "copy")
    assert read(tmp_path / "copy") == RUN
    assert directories.list_directories(store) == directories.list_directories(store, "runs") == ["runs/one"]
    assert directories.list_files(store, "runs/one")["model.weights.h5"]["bytes"] == 7
    directories.download(store, "runs/one", tmp_path / "part", only=lambda name: name == "record.json")
    assert read(tmp_path / "part") == {"record.json": b"{}"}
    assert directories.download(store, "runs/none", tmp_path / "none") == set()
    assert directories.list_files(store, "runs/none") == {}


def test_what_is_no_longer_in_the_directory_is_removed(store, tmp_path):
    run = write(tmp_path / "run", RUN)
    directories.upload(store, "run", run)
    (run / "checkpoints/000000015-aa.npz").unlink()
    write(run, {"record.json": b"{1}"})
    with directories.working_copy(store, "run", run, seconds=0.01):
        write(run, {"checkpoints/000000030-bb.npz": b"later"})
        while "checkpoints/000000030-bb.npz" not in directories.list_files(store, "run"):
            time.sleep(0.01)
    assert len(store.below("run").list_objects()) == 4 + 1  # the downloaded checkpoint is there again
    (run / "checkpoints/000000015-aa.npz").unlink()
    directories.upload(store, "run", run)
    directories.download(store, "run", tmp_path / "copy")
    assert read(tmp_path / "copy") == read(run)
    assert len(store.below("run").list_objects()) == 4


def test_an_earlier_owner_changes_nothing_and_is_notified(store, tmp_path):
    lost = []
    first = contextlib.ExitStack()
    first.enter_context(
        directories.working_copy(store, "run", tmp_path / "a", seconds=0.01, lost=lambda: lost.append(True))
    )
    write(tmp_path / "a", {"record.json": b"early"})
    while not directories.list_files(store, "run"):
        time.sleep(0.01)
    with directories.working_copy(store, "run", tmp_path / "b") as second:
        assert read(tmp_path / "b") == {"record.json": b"early"}
        write(tmp_path / "b", {"record.json": b"late"})
        second.save()
        write(tmp_path / "a", {"record.json": b"zombie", "more": b""})
        while not lost:
            time.sleep(0.01)
    with pytest.raises(stores.Conflict, match=r"must be the work of one process at a time. Received: .*run: process"):
        first.close()
    directories.download(store, "run", tmp_path / "c")
    assert read(tmp_path / "c") == {"record.json": b"late"}
    with directories.working_copy(store, "run", tmp_path / "d"):
        pass
    assert len(store.below("run").list_objects()) == 1  # without what the first owner had begun


def test_a_file_that_is_written_again_meanwhile_is_whole_in_the_copy(store, tmp_path):
    """The record appears after the weights, and the checkpoints vanish then: no manifest has one without the other."""
    run = write(tmp_path / "run", {"checkpoints/1": b"1"})
    copy = directories.WorkingCopy(store, "run", run)
    copy.save()
    put = store.below("run").put

    class Meanwhile:
        """The run ends while its checkpoint is read."""

        def __call__(self, content):
            if content == b"2" and not (run / "record.json").exists():
                write(run, {"model.weights.h5": b"w", "record.json": b"{}"})
                (run / "checkpoints/2").unlink()
            return put(content)

    (run / "checkpoints/1").unlink()
    write(run, {"checkpoints/2": b"2"})
    copy._place.put = Meanwhile()
    copy.save()
    assert set(directories.list_files(store, "run")) == {"model.weights.h5", "record.json"}
    assert len(store.below("run").list_objects()) == 2


def test_damaged_files_are_refused_or_left_out(tmp_path, caplog):
    store = stores.open_store(tmp_path / "store")
    run = write(tmp_path / "run", RUN)
    directories.upload(store, "run", run)
    names = directories.list_files(store, "run")
    objects = tmp_path / "store/run/objects"
    (objects / names["checkpoints/000000015-aa.npz"]["sha256"]).write_bytes(b"stat")
    with pytest.raises(stores.Damaged, match="An object must be as it was written"):
        directories.download(store, "run", tmp_path / "copy")
    (objects / names["record.json"]["sha256"]).unlink()
    with pytest.raises(stores.Damaged, match="An object must exist"):
        directories.download(store, "run", tmp_path / "copy", only=lambda name: name == "record.json")
    left = {name: RUN[name] for name in ("model.weights.h5", "empty")}
    with directories.working_copy(store, "run", tmp_path / "other"):
        assert read(tmp_path / "other") == left
        assert caplog.text.count("left out") == 2
        write(tmp_path / "other", RUN)  # the same content as was damaged
    directories.download(store, "run", tmp_path / "again")
    assert read(tmp_path / "again") == RUN


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "a/../../up", ""])
def test_files_outside_of_the_directory_are_refused(tmp_path, name):
    store = stores.open_store(tmp_path / "store")
    place = store.below("run")
    files = {name: {"bytes": 1, "sha256": place.put(b"x")}}
    place.commit(directories.NAME, {"owner": None, "files": files}, None)
    with pytest.raises(stores.Damaged, match=r"A file in a directory must lie within it. Received: .*run: "):
        directories.download(store, "run", tmp_path / "copy")
    assert not (tmp_path / "up").exists()


def test_a_folder_that_cannot_be_written_is_reported(tmp_path):
    store = stores.open_store(tmp_path / "store")
    directories.upload(store, "run", write(tmp_path / "run", RUN))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"A folder to copy to must be one that can be written. Received: "):
        directories.download(store, "run", tmp_path / "file")


# Publishes two files that always hold the same number, the next one as soon as the last is published.
MACHINE = """
import pathlib, sys
from kdzoo import stores
from kdzoo.stores import directories
directory = pathlib.Path(sys.argv[2])
with directories.working_copy(stores.open_store(sys.argv[1]), "run", directory, seconds=1e6) as copy:
    number = int((directory / "a").read_text().lstrip("0") if (directory / "a").exists() else 0)
    print("ready", flush=True)
    while number < 10**6:
        number += 1
        for name in ("a", "b/c"):
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_text(f"{number:030000d}")
        copy.save()
        print(number, flush=True)
"""


def kill_while_publishing(store: stores.Store, tmp_path: pathlib.Path, *, kills: int) -> None:
    """What a machine has published when it is killed, the next one has; each file is whole and of one save."""
    moments, published = random.Random(0), 0
    for turn in range(kills):
        machine = start_python("-c", MACHINE, store.uri, str(tmp_path / f"scratch{turn}"))
        assert machine.stdout.readline() == "ready\n", machine.communicate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            machine.wait(timeout=moments.uniform(0, 0.3))
        machine.send_signal(signal.SIGKILL)
        lines, _ = machine.communicate()
        seen = [int(line) for line in lines.split() if line.isdecimal()]
        directories.download(store, "run", tmp_path / f"copy{turn}")
        contents = read(tmp_path / f"copy{turn}")
        numbers = {name: int(content.lstrip(b"0")) for name, content in contents.items()}
        assert len(set(numbers.values())) <= 1
        assert max([published, *seen]) <= max([0, *numbers.values()]) <= max([published, *seen]) + 1
        published = max([0, *numbers.values()])
    assert published > 0
    directories.WorkingCopy(store, "run", tmp_path / "new")
    assert len(store.below("run").list_objects()) == 1  # both files have one content: nothing else is left


def test_a_killed_machine_leaves_what_it_published(store, tmp_path):
    kill_while_publishing(store, tmp_path, kills=2)


@pytest.mark.slow
def test_ten_kills_while_a_directory_is_published(store, tmp_path):
    kill_while_publishing(store, tmp_path, kills=10)
