"""Kills at random moments of the command, of Ray's workers and of nodes: each result is equal to an undisturbed one.

KDZOO_KILLS sets their number, KDZOO_KILL_SEED the seed of the moments; a failure names both, to be repeated.
"""

import os
import pathlib
import random
import signal
import subprocess
import time

import pytest

pytest.importorskip("ray", reason="needs the extra cluster")
pytest.importorskip("tensorflow")

from cluster_nodes import Nodes, list_workers, output, results, start_sweep, write_grid
from conftest import assert_no_command_with

KILLS, SEED = int(os.environ.get("KDZOO_KILLS", "18")), os.environ.get("KDZOO_KILL_SEED", "0")
KILLS_OF_ONE = 4  # then the command may end, so that its result is compared
SCHEDULE = {"schedule": "2-6"}
GRID = [
    {"model": "wrn10-1", "seed": [0, 1], **SCHEDULE},
    {"student": "wrn10-1", "teacher": "wrn10-1_2-6_seed0", "seed": [0, 1], **SCHEDULE},
]
pytestmark = pytest.mark.slow


class Sweep:
    """A sweep on a cluster, killed again and again."""

    def __init__(self, nodes: Nodes, root: pathlib.Path) -> None:
        self._nodes, self._root = nodes, root
        write_grid(root, GRID)
        self._process = self._start()

    def _start(self) -> subprocess.Popen:
        return start_sweep(self._root, f"--ray={self._nodes.address}")

    def ends_within(self, seconds: float) -> bool:
        """Whether it ends in this time, and well."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        assert code == 0, output(self._root)
        return True

    def kill_driver(self) -> None:
        """Kills the command, whose runs end with it, and starts it again."""
        self._process.kill()
        self._process.wait()
        assert_no_command_with(self._root / "runs", seconds=60)
        self._process = self._start()

    def kill_worker(self) -> None:
        """Kills a worker, if one executes a run: its run ends with it, and begins again."""
        for pid in list_workers("wrn")[:1]:
            os.kill(pid, signal.SIGKILL)

    def kill_node(self) -> None:
        """Kills a node, and adds another."""
        self._nodes.kill()
        self._nodes.add()


def test_kills_of_command_worker_and_node_leave_every_result_as_it_would_have_been(tmp_path, capsys):
    moments = random.Random(SEED)
    nodes, lines = Nodes(), []
    try:
        began = time.monotonic()
        assert Sweep(nodes, tmp_path / "undisturbed").ends_within(3600)
        seconds, expected = time.monotonic() - began, results(tmp_path / "undisturbed")
        assert len(expected) == 4
        kinds = [("driver", "worker", "node")[i % 3] for i in range(KILLS)]
        moments.shuffle(kinds)
        while kinds:
            root = tmp_path / f"sweep{len(lines)}"
            sweep, killed, ended = Sweep(nodes, root), [], False
            while not ended:
                may_end = not kinds or len(killed) == KILLS_OF_ONE
                moment = 3600.0 if may_end else moments.uniform(0, seconds / 2)
                ended = sweep.ends_within(moment)
                if not ended:
                    assert not may_end, f"it does not end: {output(root)}"
                    kind = kinds.pop()
                    getattr(sweep, f"kill_{kind}")()
                    killed.append(f"{kind} after {moment:.1f} s")
            context = f"KDZOO_KILL_SEED={SEED}, killed: {', '.join(killed)}"
            assert results(root) == expected, f"{context}\n{output(root)}"
            lines.append(f"{len(expected)} runs as undisturbed; {context}")
    finally:
        nodes.close()
        with capsys.disabled():
            print("", *lines, sep="\n")
