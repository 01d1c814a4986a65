"""The simulation of many nodes: against times that are known, and against what was measured."""

import json
import subprocess
import sys

import pytest

from conftest import ROOT

pytest.importorskip("simpy", reason="needs the extra test-cluster")
sys.path.append(str(ROOT / "benchmarks"))
import scaling_model
import scaling_validation
import scaling_world
from scaling_model import Driver, Run, Table, simulate_grid, simulate_table
from scaling_world import Cluster

from kdzoo.runs import records

SECOND = Run(1, 1.0)


def test_nodes_that_share_nothing_divide_the_time():
    outcome = simulate_grid(Cluster(4), Driver(), SECOND, SECOND, runs=20, teachers=0)
    assert (outcome.seconds, outcome.efficiency) == (5.0, 1.0)


def test_a_faster_node_trains_faster_and_starts_as_before():
    run = Run(3, 10.0, start=2.0)
    assert simulate_grid(Cluster(1, speed=10), Driver(), run, run, runs=2, teachers=0).seconds == pytest.approx(10.0)


def test_students_wait_for_their_own_teacher():
    outcome = simulate_grid(Cluster(8), Driver(), Run(1, 10.0), SECOND, runs=6, teachers=2)
    assert outcome.seconds == 11.0
    late = simulate_grid(Cluster(1), Driver(), Run(1, 10.0), SECOND, runs=6, teachers=2)
    assert late.seconds == 24.0


def test_a_driver_that_starts_runs_slower_than_they_end_limits():
    outcome = simulate_grid(Cluster(1_000), Driver(start=0.5, find=0.005), SECOND, SECOND, runs=100, teachers=0)
    assert outcome.seconds == pytest.approx(0.005 * 100 + 100 * 0.5 + 1)
    assert outcome.busiest == "driver"


def test_a_free_node_waits_for_the_next_look():
    outcome = simulate_grid(Cluster(1), Driver(poll=0.3), SECOND, SECOND, runs=3, teachers=0)
    assert outcome.seconds == pytest.approx(1.2 + 1.2 + 1.0)


def test_queued_runs_start_without_the_driver():
    outcome = simulate_grid(Cluster(1), Driver(poll=0.3, queued=10), SECOND, SECOND, runs=3, teachers=0)
    assert outcome.seconds == 3.0


def test_nodes_that_are_there_slow_the_head_down():
    driver = Driver(task=0.25, idle_nodes=0.05)
    outcome = simulate_grid(Cluster(10), driver, Run(1, 0.0), Run(1, 0.0), runs=100, teachers=0)
    assert outcome.seconds == pytest.approx(100 * 0.25 / 0.5)
    assert outcome.busy["head"] == pytest.approx(1.0)


def test_transfers_share_the_bandwidth():
    world = scaling_world.World(Cluster(1, bandwidth=10.0))
    ends = {}

    def move(size: float, start: float):
        yield world.env.timeout(start)
        yield from world.transfer(size)
        ends[size] = world.env.now

    for size, start in ((100.0, 0.0), (50.0, 0.0), (10.0, 4.0)):
        world.env.process(move(size, start))
    world.env.run()
    # Each has 5 bytes a second, from 4 s on 10/3, from 7 s on 5 again, and the last 10.
    assert ends == pytest.approx({10.0: 7.0, 50.0: 11.0, 100.0: 16.0})


def test_a_link_limits_one_transfer():
    run = Run(1, 0.0, read=100.0, reads=1)
    cluster = Cluster(2, bandwidth=100.0, link=10.0)
    assert simulate_grid(cluster, Driver(), run, run, runs=2, teachers=0).seconds == pytest.approx(10.0)


def test_storage_that_serves_requests_slower_than_they_come_limits():
    run = Run(5, 1.0, row_reads=100.0)
    outcome = simulate_grid(Cluster(10, requests=500.0), Driver(), run, run, runs=10, teachers=0)
    assert outcome.seconds == pytest.approx(10 * 5 * 100 / 500)
    assert outcome.busy["storage requests"] == pytest.approx(1.0)


def test_a_checkpoint_is_written_beside_the_next_steps():
    run = Run(4, 1.0, checkpoint=5.0, writes=1)
    cluster = Cluster(1, bandwidth=10.0)
    assert simulate_grid(cluster, Driver(), run, run, runs=1, teachers=0).seconds == pytest.approx(4.5)


def test_all_workers_on_one_host_share_its_cores():
    run = Run(1, 1.0, start=1.0)
    outcome = simulate_grid(Cluster(8, cores=2), Driver(), run, run, runs=8, teachers=0)
    assert outcome.seconds == 5.0


@pytest.mark.parametrize("commit", ["own", "one"])
def test_a_table_is_filled(commit):
    table = Table(1_000, 1.0, 0.01, 100, commit=commit)
    outcome = simulate_table(Cluster(5), Driver(), table)
    assert outcome.seconds == pytest.approx(2.0, abs=0.02)  # the pauses after conflicts are random


def test_one_manifest_makes_writers_repeat_their_commits_and_own_manifests_do_not():
    conflicts = {}
    for commit in ("own", "one"):
        table = Table(100_000, 1.0, 0.01, 100, commit=commit)
        outcome = simulate_table(Cluster(100, latency=0.1), Driver(), table)
        conflicts[commit] = outcome.conflicts
    assert conflicts["own"] == 0
    assert conflicts["one"] > 1


@pytest.mark.parametrize("kind", ["processes", "ray", "table"])
def test_the_fit_finds_the_costs_that_measurements_were_simulated_with(kind):
    true = {"driver": 0.02, "look": 0.0, "core": 0.3, "first": 0.5, "wait": 0.1, "first wait": 1.0, "free": 0.9}
    per_worker = {1: 3, 2: 6, 64: 4}
    measured = []
    for workers, each in per_worker.items():
        units = workers * each
        one = {"workers": workers, "units": units, "sleep": 2.0, "idle": 0.2}
        one |= {"rows": 1024 * units, "shard": 1024, "call": 128}
        one |= {"driver": units * true["driver"], "others": units * true["core"] + workers * true["first"]}
        measured.append(one | {"seconds": scaling_validation.predict(kind, true, one, 2).seconds})
    *known, unseen = measured
    costs = scaling_validation.fit(kind, known, 2)
    assert scaling_validation.predict(kind, costs, unseen, 2).seconds == pytest.approx(unseen["seconds"], rel=0.03)


def test_a_sleeping_run_leaves_its_record(tmp_path):
    record = next((ROOT / "results/paper").rglob("record.json"))
    words = [ROOT / "benchmarks/sleeping_run.py", tmp_path / "run", record, "0.1"]
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, check=True)
    assert records.read(tmp_path / "run")["history"]
    assert all("epoch" in json.loads(line) for line in done.stdout.splitlines())


def test_a_limit_is_found_between_two_sizes():
    import scaling

    def outcome(efficiency: float, busy: float) -> dict:
        return {"seconds": 1.0, "efficiency": efficiency, "busy": {"driver": 0.1, "head": busy}, "conflicts": 0.0}

    assert scaling.saturation({"10": outcome(1.0, 0.25), "100": outcome(0.4, 1.0)}) == (40, "head")
    assert scaling.saturation({"10": outcome(1.0, 0.05), "100": outcome(1.0, 0.4)}) == (None, "head")


def test_merged_epochs_cost_as_much():
    import scaling

    run = Run(35, 10.0, checkpoint=7.0, checkpoint_seconds=20.0, writes=4, row_reads=3.0, row_bytes=5.0)
    merged = scaling.merge(run, 7)
    for name in ("epoch", "row_reads", "row_bytes"):
        assert merged.epochs * getattr(merged, name) == pytest.approx(run.epochs * getattr(run, name))
    assert merged.epochs * merged.checkpoint == pytest.approx(run.epochs * run.checkpoint / 2)
    assert scaling_model.simulate_grid(Cluster(1), Driver(), merged, merged, runs=1, teachers=0).seconds == 350.0
