"""A Ray cluster on this machine whose nodes can be killed and added, and sweeps on it."""

import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import pytest

from conftest import start_python
from kdzoo.runs import records

cluster_utils = pytest.importorskip("ray.cluster_utils", reason="needs the extra cluster")
# Nodes that start slowly on a busy machine are no failures. Read by Ray's own processes, so set before they start.
PATIENCE = {
    "RAY_worker_register_timeout_seconds": "600",
    "RAY_health_check_failure_threshold": "20",
    "RAY_USAGE_STATS_ENABLED": "0",
}
TRIES = 5  # to start a node
DATA = {"dataset": "digits", "train_examples": 128, "batch_size": 32, "lr": 0.02}


class Nodes:
    """A cluster of a head without CPUs and worker nodes of one CPU each."""

    def __init__(self, count: int = 2) -> None:
        os.environ.update(PATIENCE)
        self._cluster = cluster_utils.Cluster()
        self._start(num_cpus=0)
        self.address: str = self._cluster.address
        self._nodes = [self._start(num_cpus=1) for _ in range(count)]

    def _start(self, num_cpus: int):
        for attempt in range(TRIES):
            try:
                return self._cluster.add_node(num_cpus=num_cpus, include_dashboard=False)
            except Exception:  # Ray gives a node 30 s to start, which a busy machine may exceed
                if attempt == TRIES - 1:
                    raise

    def add(self) -> None:
        """Adds a node."""
        self._nodes.append(self._start(num_cpus=1))

    def kill(self, index: int = 0) -> None:
        """Kills a node and all its processes, without a warning to them."""
        self._cluster.remove_node(self._nodes.pop(index), allow_graceful=False)

    def close(self) -> None:
        """Ends all nodes."""
        self._cluster.shutdown()


def list_workers(name: str) -> list[int]:
    """The process IDs of Ray's workers that execute tasks whose names begin like this."""
    return [int(word) for word in subprocess.run(["pgrep", "-f", f"^ray::{name}"], capture_output=True).stdout.split()]


def write_grid(root: pathlib.Path, runs: list[dict]) -> str:
    """Writes a grid file of these runs on digits, whose directory is below `root`. Returns its flag."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "grid.json").write_text(json.dumps({"workdir": str(root / "runs"), "common": DATA, "runs": runs}))
    return f"--grid={root / 'grid.json'}"


def start_sweep(root: pathlib.Path, *flags: str, before: Sequence[str] = ()) -> subprocess.Popen:
    """Starts a sweep over the grid in `root`, with a cache of teacher outputs of its own.

    Args:
        root: holds the grid.
        *flags: more flags.
        before: words before the command.
    """
    python, *words = [*before, sys.executable, "-m", "apps.sweep"]
    args = [f"--grid={root / 'grid.json'}", f"--teacher_cache={root / 'cache'}", "--checkpoint_minutes=1e-6"]
    with open(f"{root}.txt", "a") as output:
        return start_python(*words, *args, *flags, python=python, stdout=output, stderr=output)


def count_records(root: pathlib.Path) -> int:
    """Number of finished runs."""
    return len(list(root.glob(f"runs/*/{records.RECORD}")))


def results(root: pathlib.Path) -> dict[str, str]:
    """What the record of each run holds, the digest of its weights too, but for clocks and the directory's own path."""
    found = {path.parent.name: records.read(path.parent) for path in sorted(root.glob(f"runs/*/{records.RECORD}"))}
    return {name: json.dumps(records.result(record)).replace(f"{root}/", "") for name, record in found.items()}


def wait_for(condition: Callable[[], bool], process: subprocess.Popen, root: pathlib.Path) -> None:
    """Waits for a condition while the command of `root` runs."""
    while not condition():
        assert process.poll() is None, output(root)
        time.sleep(0.1)


def output(root: pathlib.Path) -> str:
    """The end of what the command of `root` printed."""
    return pathlib.Path(f"{root}.txt").read_text()[-3000:]
