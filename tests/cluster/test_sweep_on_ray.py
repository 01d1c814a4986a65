"""A sweep on a cluster of two nodes: its records are those of the local scheduler, whatever becomes of the nodes."""

import json
import os
import signal

import pytest

pytest.importorskip("ray", reason="needs the extra cluster")
pytest.importorskip("tensorflow")

from cluster_nodes import Nodes, count_records, output, results, start_sweep, wait_for, write_grid
from conftest import assert_no_command_with, run_python
from kdzoo.runs import records

CORES = len(os.sched_getaffinity(0))
TWELVE = [
    {"model": "wrn10-1", "schedule": "2-4", "seed": [0, 1, 2, 3]},
    {
        "student": "wrn10-1",
        "schedule": "2-4",
        "seed": [0, 1, 2, 3],
        "teacher": [f"wrn10-1_2-4_seed{i}" for i in (0, 1)],
    },
]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def nodes():
    nodes = Nodes()
    yield nodes
    nodes.close()


def test_twelve_runs_while_a_node_is_removed_and_one_added(nodes, tmp_path):
    local, on_ray = tmp_path / "local", tmp_path / "ray"
    for root in (local, on_ray):
        write_grid(root, TWELVE)
    process = start_sweep(on_ray, f"--ray={nodes.address}")
    wait_for(lambda: count_records(on_ray) >= 2, process, on_ray)
    nodes.kill()
    nodes.add()
    assert process.wait(1800) == 0, output(on_ray)
    assert "12 of 12 runs finished" in output(on_ray)
    # As many threads: each run of the local scheduler has one core too.
    assert start_sweep(local, f"--jobs={CORES}").wait(1800) == 0, output(local)
    assert results(on_ray) == results(local)
    record = records.read(on_ray / "runs" / "wrn10-1_2-4_seed0")
    assert record["hardware"]["cores"] == 1
    starts = "".join(path.read_text() for path in (on_ray / "runs" / "logs").iterdir()).count("on 1")
    assert starts > 12  # the run on the node that was removed began again


def test_ctrl_c_saves_all_and_the_same_command_resumes(nodes, tmp_path):
    root = tmp_path / "sweep"
    write_grid(root, [{"model": "wrn10-1", "schedule": "50-150", "seed": [0, 1]}])
    process = start_sweep(root, f"--ray={nodes.address}")
    wait_for(lambda: len({path.parent for path in root.glob("runs/*/checkpoints/*.npz")}) == 2, process, root)
    process.send_signal(signal.SIGINT)
    assert process.wait(300) == 75, output(root)
    assert "0 of 2 runs finished, 2 stopped" in output(root)
    assert_no_command_with(root, seconds=5)
    process = start_sweep(root, f"--ray={nodes.address}")
    assert process.wait(1800) == 0, output(root)
    assert [len(records.read(path)["sessions"]) for path in root.glob("runs/wrn*")] == [2, 2]


def test_two_commands_do_not_share_a_directory(nodes, tmp_path):
    root = tmp_path / "sweep"
    write_grid(root, [{"model": "wrn10-1", "schedule": "50-150"}])
    first = start_sweep(root, f"--ray={nodes.address}")
    wait_for(lambda: (root / "runs" / "logs").exists(), first, root)
    second = run_python("-m", "apps.sweep", f"--grid={root / 'grid.json'}", f"--ray={nodes.address}")
    first.kill()
    first.wait()
    assert second.returncode == 2
    assert second.stderr.count("\n") == 1, second.stderr
    assert "workdir must not be in use by another command on this cluster" in second.stderr
    assert_no_command_with(root / "runs", seconds=60)


def test_an_address_without_a_cluster_is_one_line(tmp_path):
    grid = write_grid(tmp_path, [{"model": "wrn10-1", "schedule": "1-1"}])
    done = run_python("-m", "apps.sweep", grid, "--ray=127.0.0.1:9")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ray must be auto or the HOST:PORT of a running cluster")
    assert done.stderr.count("\n") == 1


def test_a_failed_run_is_one_line_and_the_others_continue(nodes, tmp_path):
    root = tmp_path / "sweep"
    write_grid(root, [{"model": "wrn10-1", "schedule": "1-1", "lr": [1e30, 0.02]}])
    process = start_sweep(root, f"--ray={nodes.address}")
    assert process.wait(600) == 1, output(root)
    (failure,) = [line for line in output(root).splitlines() if line.startswith("failed:")]
    assert "Training diverged in epoch 1" in failure
    assert json.loads((root / "runs" / "wrn10-1_1-1_lr0.02_seed0" / records.RECORD).read_text())
