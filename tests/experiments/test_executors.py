"""What the scheduler and the executors of runs share, without a cluster."""

import os
import pathlib

import pytest

from conftest import run_python
from kdzoo.experiments import grid, locks, scheduler, stored_records
from kdzoo.experiments.executors import Execution
from kdzoo.experiments.grid import Run
from kdzoo.experiments.on_ray import cores
from kdzoo.runs import records
from kdzoo.runs.config import RunConfig
from kdzoo.runs.progress import Progress
from kdzoo.stores import directories, open_store
from zoo import InputError


class Finished(Execution):
    """A run that ends at the second look."""

    looks = 0

    def has_ended(self) -> bool:
        self.looks += 1
        if self.looks == 1:
            self._note(Progress(1, 2, 3, 3, row={"test_error": 50.0}), seconds=1.0)
            return False
        self.run.workdir.mkdir(parents=True)
        (self.run.workdir / records.RECORD).write_text("{}")
        self._end(0, [], log=self.run.workdir)
        return True


class TwoAtATime:
    """An executor with room for two runs."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.most = 0
        self._started: list[Finished] = []

    def _under_way(self) -> int:
        return sum(execution.run.state == "running" for execution in self._started)

    def refresh(self) -> None:
        self.most = max(self.most, self._under_way())

    def has_room(self) -> bool:
        return self._under_way() < 2

    def start(self, run, command) -> Finished:
        assert command == ["make", run.name]
        run.state = "running"
        self.order.append(run.name)
        self._started.append(Finished(run))
        return self._started[-1]

    def end(self) -> None:
        self.order.append("end")


def test_any_executor_gets_a_run_after_its_teachers(tmp_path):
    config = RunConfig("wrn10-1", "1-1")
    runs = [Run(name, tmp_path / name, config, needs) for name, needs in (("c", ("a",)), ("a", ()), ("b", ()))]
    executor = TwoAtATime()
    scheduler.run_all(runs, command=lambda run: ["make", run.name], executor=executor, poll_seconds=0)
    assert executor.order == ["a", "b", "c", "end"]
    assert executor.most == 2
    assert {run.state for run in runs} == {"finished"}
    assert runs[1].detail == "epoch 1/2, test error 50.00 %"


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no processor affinity on this system")
def test_tasks_of_a_node_have_cores_of_their_own_as_long_as_there_are_any(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    every = os.sched_getaffinity(0)
    with cores.claimed(1) as one:
        assert len(one) == 1
        with cores.claimed(len(every)) as shared:
            assert shared == every
        if len(every) > 1:
            with cores.claimed(len(every) - 1) as others:
                assert not one & others
    with cores.claimed(len(every)) as again:
        assert again == every
    with pytest.raises(InputError, match="ray_cpus must be at most the cores of a node"), cores.claimed(len(every) + 1):
        pass


def test_a_run_of_a_store_has_the_paths_of_any_machine():
    config = RunConfig("wrn10-1", "1-1", teachers=("/data/x/t", "elsewhere"), kd_weight=0.9, ce_weight=0.1)
    run = grid.relocate(Run("s", pathlib.Path("/data/x/s"), config, ("t",)), pathlib.Path("runs"))
    assert run.workdir == pathlib.Path("runs/s")
    assert run.config.teachers == ("runs/t", "elsewhere")


def test_records_come_from_a_store(tmp_path):
    finished, begun = tmp_path / "finished", tmp_path / "begun"
    for directory, file in ((finished, records.RECORD), (finished, "weights.h5"), (begun, "events")):
        directory.mkdir(exist_ok=True)
        (directory / file).write_text("{}")
    store = open_store(tmp_path / "store")
    for directory in (finished, begun):
        directories.upload(store, directory.name, directory)
    config = RunConfig("wrn10-1", "1-1")
    runs = [Run(name, tmp_path / "here" / name, config) for name in ("finished", "begun", "new")]
    stored_records.fetch(store.uri, runs)
    assert [path.relative_to(tmp_path) for path in (tmp_path / "here").rglob("*.*")] == [
        pathlib.Path("here/finished", records.RECORD)
    ]


def test_the_lock_of_a_trial_is_a_file(tmp_path):
    """The lock of a directory is known on one machine only where the file system is NFS."""
    assert not locks.is_held(tmp_path / "0000")
    with locks.exclusive(tmp_path / "0000", lambda: False):
        assert locks.is_held(tmp_path / "0000")
        assert not locks.is_locked(tmp_path / "0000")
    assert not locks.is_held(tmp_path / "0000")


WITHOUT_RAY = """
import sys, runpy
sys.modules["ray"] = None
sys.argv[0] = "apps.sweep"
runpy.run_module("apps.sweep", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--ray=auto"], "error: ray needs the extra cluster, for example pip install 'kdzoo[cluster]'."),
        (["--ray=auto", "--ray_gpus=1.5"], "error: ray_gpus must be whole, or a share below 1, for example 0.5."),
        (["--store=s3://bucket"], "error: store is for the nodes of --ray, for example --ray=auto."),
    ],
)
def test_an_impossible_cluster_is_one_line(flags, message, tmp_path):
    (tmp_path / "grid.json").write_text('{"runs": [{"model": "wrn10-1", "schedule": "1-1"}]}')
    done = run_python("-c", WITHOUT_RAY, f"--grid={tmp_path / 'grid.json'}", *flags)
    assert done.returncode == 2
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1
