"""A sweep over two nodes that `ray start` made: in network namespaces of their own, where this machine allows that.

Else both nodes are on the loopback address. Their temporary folders are separate in any case.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

pytest.importorskip("ray", reason="needs the extra cluster")
pytest.importorskip("tensorflow")

from cluster_nodes import PATIENCE, count_records, output, results, start_sweep, wait_for, write_grid
from conftest import ROOT

PORT = 6391
NAMESPACES = {"kdzoo1": "10.77.0.1", "kdzoo2": "10.77.0.2"}
RUNS = [
    {"model": "wrn10-1", "schedule": "2-4", "seed": [0, 1]},
    {"student": "wrn10-1", "schedule": "2-4", "teacher": "wrn10-1_2-4_seed0", "seed": [0, 1]},
]
pytestmark = pytest.mark.slow


def ip(*words: str) -> bool:
    return subprocess.run(["ip", *words], capture_output=True, check=False).returncode == 0


@contextlib.contextmanager
def two_networks() -> Iterator[list[tuple[list[str], str]]]:
    """Yields for each node the words that start a command in its network, and its address."""
    one, two = NAMESPACES
    try:
        made = all(ip("netns", "add", name) for name in NAMESPACES)
        made = made and ip("link", "add", "kdz1", "netns", one, "type", "veth", "peer", "name", "kdz2", "netns", two)
        for (name, address), device in zip(NAMESPACES.items(), ("kdz1", "kdz2"), strict=True):
            made = made and ip("-n", name, "addr", "add", f"{address}/24", "dev", device)
            made = made and ip("-n", name, "link", "set", device, "up") and ip("-n", name, "link", "set", "lo", "up")
        yield [
            (["ip", "netns", "exec", name], address) if made else ([], "127.0.0.1")
            for name, address in NAMESPACES.items()
        ]
    finally:
        for name in NAMESPACES:
            ip("netns", "del", name)


class RayStart:
    """A node that `ray start --block` runs."""

    def __init__(self, words: list[str], address: str, folder, *flags: str) -> None:
        folder.mkdir(exist_ok=True)
        ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats", "--num-cpus=1"]
        env = {**os.environ, **PATIENCE, "PYTHONPATH": str(ROOT)}
        with open(folder / "ray.txt", "a") as file:
            self._process = subprocess.Popen(
                [*words, *ray, f"--node-ip-address={address}", f"--temp-dir={folder}", *flags],
                env=env,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def kill(self) -> None:
        """Kills it; its processes end with it."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def test_a_node_of_another_network_dies_and_comes_back(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    root = tmp_path / "sweep"
    write_grid(root, RUNS)
    with two_networks() as ((first, head), (second, other)), contextlib.ExitStack() as nodes:
        temporary = f"/tmp/kdzoo-ray-{os.getpid()}"  # sockets have short paths
        one, two = (type(tmp_path)(f"{temporary}-{number}") for number in (1, 2))
        node = RayStart(first, head, one, "--head", f"--port={PORT}", "--include-dashboard=false")
        nodes.callback(node.kill)
        time.sleep(10)

        def join() -> RayStart:
            return RayStart(second, other, two, f"--address={head}:{PORT}")

        node = join()
        process = start_sweep(root, f"--ray={head}:{PORT}", before=first)
        wait_for(lambda: f"starting on {other}" in output(root), process, root)
        wait_for(lambda: count_records(root) >= 1, process, root)
        node.kill()
        node = join()
        nodes.callback(node.kill)
        assert process.wait(1800) == 0, output(root)
        # On one machine, with as many threads.
        local = tmp_path / "local"
        write_grid(local, RUNS)
        assert start_sweep(local, f"--jobs={len(os.sched_getaffinity(0))}").wait(1800) == 0, output(local)
        assert results(root) == results(local)
