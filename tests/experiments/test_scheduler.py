"""What becomes of the processes of runs when the scheduler itself fails or is interrupted."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from conftest import start_python
from kdzoo.experiments import scheduler
from kdzoo.experiments.grid import Run
from kdzoo.runs.config import RunConfig

# A run that writes its process's number and lasts; a stubborn one ignores SIGTERM.
CHILD = """
import pathlib, os, signal, sys, time
if sys.argv[2] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
path = pathlib.Path(sys.argv[1])
path.with_suffix(".new").write_text(str(os.getpid()))
path.with_suffix(".new").rename(path)
time.sleep(600)
"""
# Makes two of them until signals stop it.
PARENT = """
import pathlib, sys
sys.path[:0] = ["tests", "tests/experiments"]
from apps import signals
from kdzoo.experiments import scheduler
from test_scheduler import command, two_runs
folder = pathlib.Path(sys.argv[1])
with signals.stop_signals() as received:
    scheduler.run_all(two_runs(folder), command=command("stubborn"), jobs=2, stopping=lambda: bool(received))
"""


def two_runs(folder: pathlib.Path) -> list[Run]:
    return [Run(f"run{i}", folder / f"run{i}", RunConfig("wrn10-1", "1-1", seed=i)) for i in range(2)]


def command(kind: str):
    return lambda run: [sys.executable, "-c", CHILD, f"{run.workdir}.pid", kind]


def pids(folder: pathlib.Path) -> list[int]:
    return [int(path.read_text()) for path in folder.glob("*.pid")]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_no_process_is_left_when_the_scheduler_fails(tmp_path):
    def show(_):
        if len(pids(tmp_path)) == 2:
            assert all(map(is_alive, pids(tmp_path)))
            raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space left"):
        scheduler.run_all(two_runs(tmp_path), command=command("obedient"), jobs=2, show=show, poll_seconds=0.02)
    assert not any(map(is_alive, pids(tmp_path)))


def test_no_process_is_left_when_the_scheduler_is_interrupted(tmp_path):
    """The first signal stops the runs, the second interrupts that, the third the wait for their end."""
    with start_python("-c", PARENT, str(tmp_path)) as process:
        while len(pids(tmp_path)) < 2:
            assert process.poll() is None, process.communicate()
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.5)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode
    assert not any(map(is_alive, pids(tmp_path)))
