"""A sweep whose nodes share no folder: runs work in scratch and publish into a bucket. A node dies meanwhile."""

import pytest

pytest.importorskip("ray", reason="needs the extra cluster")
pytest.importorskip("tensorflow")

from cluster_nodes import Nodes, count_records, output, results, start_sweep, wait_for, write_grid
from kdzoo.experiments.logged_process import LOGS
from kdzoo.runs import records, weights
from kdzoo.stores import directories, open_store

SEQUENCE = [
    {"model": "wrn10-1", "schedule": "2-4", "seed": [0, 1]},
    {"student": "wrn10-1", "schedule": "2-4", "teacher": "wrn10-1_2-4_seed0"},
]
STUDENT = "wrn10-1_2-4_kd_wrn10-1_2-4_seed0_seed0"
pytestmark = pytest.mark.slow


def test_runs_from_a_bucket_are_those_of_a_folder(bucket, tmp_path):
    shared, stored = tmp_path / "shared", tmp_path / "stored"
    for root in (shared, stored):
        write_grid(root, SEQUENCE)
    nodes = Nodes()
    try:
        flags = [f"--ray={nodes.address}", f"--store={bucket}"]
        process = start_sweep(stored, *flags)
        wait_for(lambda: count_records(stored) >= 1, process, stored)
        nodes.kill()
        nodes.add()
        assert process.wait(1800) == 0, output(stored)
        assert start_sweep(shared, f"--ray={nodes.address}").wait(1800) == 0, output(shared)
        assert results(stored) == results(shared)
        store = open_store(bucket)
        assert {records.RECORD, weights.WEIGHTS} <= directories.list_files(store, STUDENT).keys()
        assert f"{STUDENT}.txt" in directories.list_files(store, f"{LOGS}/{STUDENT}")
        # Another machine finds the runs finished.
        other = tmp_path / "other"
        write_grid(other, SEQUENCE)
        assert start_sweep(other, *flags).wait(600) == 0, output(other)
        assert output(other).count("finished before") == 3
        assert results(other) == results(stored)
    finally:
        nodes.close()
