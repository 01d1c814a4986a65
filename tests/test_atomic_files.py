"""Writes of files: several processes and threads write at once."""

import concurrent.futures
import os
import pathlib
import signal
import time

import pytest

from conftest import start_python
from kdzoo import files

# Writes argv[3] bytes of one value to the file argv[1], argv[2] times, from two threads.
WRITER = """
import concurrent.futures, pathlib, sys
from kdzoo import files
path, times, size = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
print("ready", flush=True)
with concurrent.futures.ThreadPoolExecutor(2) as pool:
    list(pool.map(lambda i: files.write_atomically(path, bytes([i % 256]) * size), range(times)))
"""


def start_writer(path: pathlib.Path, times: int, size: int):
    process = start_python("-c", WRITER, str(path), f"{times}", f"{size}")
    assert process.stdout.readline() == "ready\n", process.communicate()
    return process


def halt_while_writing(process, path: pathlib.Path) -> pathlib.Path:
    """Halts a process in the middle of a write. Returns its temporary file."""
    for _ in range(2000):
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        for partial in path.parent.glob("*.partial"):
            if partial.stat().st_size:
                return partial
        process.send_signal(signal.SIGCONT)
        time.sleep(0.002)
    raise AssertionError("no write was seen")


def test_a_file_that_many_processes_write_at_once_is_always_whole(tmp_path):
    path, size = tmp_path / "table.md", 10_000
    files.write_atomically(path, bytes(size))
    writers = [start_writer(path, 100, size) for _ in range(6)]
    while any(writer.poll() is None for writer in writers):
        content = path.read_bytes()
        assert len(content) == size
        assert len(set(content)) == 1
    for writer in writers:
        _, errors = writer.communicate()
        assert writer.returncode == 0, errors
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_removed_but_not_what_a_live_one_writes(tmp_path):
    path = tmp_path / "record [1].json"
    with start_writer(path, 1000, 30_000_000) as writer:
        try:
            partial = halt_while_writing(writer, path)
            files.write_atomically(path, b"meanwhile")
            assert partial.exists()
        finally:
            writer.kill()
    assert path.read_bytes() == b"meanwhile"
    files.write_atomically(path, b"later")
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"later"


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "table.md"
    files.write_atomically(path, b"old")
    with pytest.raises(TypeError):
        files.write_atomically(path, "no bytes")
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"old"


def test_of_many_writers_that_create_a_file_one_succeeds(tmp_path):
    path = tmp_path / "000000001"
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        created = list(pool.map(lambda i: files.create_atomically(path, bytes([i]) * 1000), range(32)))
    assert sum(created) == 1
    assert path.read_bytes() == bytes([created.index(True)]) * 1000
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError):
        files.create_atomically(tmp_path / "none" / "file", b"")
