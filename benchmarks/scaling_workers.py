"""Measures real workers that sleep a measured time: a grid on processes of this machine or on Ray, a table on Ray."""

import contextlib
import functools
import os
import pathlib
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator

import process_tree

HERE = pathlib.Path(__file__).parent
RECORD = HERE.parent / "results/paper/cifar10_x0.05/wrn16-1_60-200x0.05_seed0/record.json"
IDLE_SECONDS = 10.0
IMAGES, VIEWS = 12_900, 162  # of the table that is filled in part


def measure_grid(kind: str, workers: int, runs: int, seconds: float) -> dict:
    """Makes a grid of runs that sleep, and measures it.

    Args:
        kind: processes or ray.
        workers: runs at a time.
        runs: number of runs.
        seconds: that each sleeps.

    Returns:
        Its time, and the processor seconds of the driver and of all other processes.
    """
    from apps import runs_display
    from kdzoo.experiments import scheduler
    from kdzoo.experiments.grid import Run
    from kdzoo.runs.config import RunConfig

    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        grid = [
            Run(f"run{i:03d}", pathlib.Path(folder) / f"run{i:03d}", RunConfig("wrn16-1", "1-1", seed=i))
            for i in range(runs)
        ]

        def command(run: Run) -> list[str]:
            return [sys.executable, str(HERE / "sleeping_run.py"), str(run.workdir), str(RECORD), str(seconds)]

        with _ray(workers) if kind == "ray" else contextlib.nullcontext(0.0) as idle:
            executor = None
            if kind == "ray":
                from kdzoo.experiments.on_ray import cluster
                from kdzoo.experiments.on_ray.executor import RayTasks

                executor = RayTasks(pathlib.Path(folder), cluster.Resources(1))
                executor.refresh()  # its mailbox has started
            with _measured(idle) as measured, open(os.devnull, "w") as out, contextlib.redirect_stdout(out):
                show = runs_display.Display(None)
                scheduler.run_all(grid, command=command, jobs=workers, executor=executor, show=show)
        assert all(run.state == "finished" for run in grid), [run.detail for run in grid if run.state != "finished"]
    return {"workers": workers, "units": runs, "sleep": seconds, **measured}


def measure_table(workers: int, calls: int, seconds: float) -> dict:
    """Fills a table by tasks on Ray with a teacher that sleeps, and measures it.

    Args:
        workers: tasks at a time.
        calls: about how many calls of the teacher each worker makes.
        seconds: that each call sleeps.
    """
    import sleeping_teacher

    from kdzoo.experiments.on_ray import cluster, shard_tasks
    from kdzoo.teachers.cached_teacher import CALL_IMAGES

    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        # Always as many images, so that a worker always has as much to read.
        sleeping_teacher.write_images(pathlib.Path(folder), IMAGES)
        work = sleeping_teacher.Work(folder, seconds)
        _, table = sleeping_teacher.open_teacher(work)
        shards = range(round(workers * calls * CALL_IMAGES / table.per_shard))
        rows = len(shards) * table.per_shard
        assert rows <= IMAGES * VIEWS, "the workers would fill more than the table has"
        with _ray(workers) as idle, _measured(idle) as measured:
            fill = functools.partial(sleeping_teacher.fill, work)
            done = shard_tasks.fill_all(fill, shards, cluster.Resources(1))
        assert done == (0, rows)
    sizes = {"units": len(shards), "rows": rows, "shard": table.per_shard, "call": CALL_IMAGES}
    return {"workers": workers, **sizes, "sleep": seconds, **measured}


@contextlib.contextmanager
def _measured(idle: float) -> Iterator[dict]:
    """Yields what is measured once the block has ended: its time, and processor seconds of the driver and of others."""
    result: dict = {}
    before, began, own = process_tree.processor_seconds(), time.perf_counter(), time.process_time()
    yield result
    elapsed, own = time.perf_counter() - began, time.process_time() - own
    total = sum(process_tree.between(before, process_tree.processor_seconds()).values())
    result |= {"seconds": elapsed, "driver": own, "others": total - own - idle * elapsed, "idle": idle}


@contextlib.contextmanager
def _ray(workers: int) -> Iterator[float]:
    """Starts Ray with so many CPUs, whatever this machine has. Yields its processor seconds a second when idle."""
    import ray

    from kdzoo.experiments.on_ray import cluster

    scratch = tempfile.mkdtemp(prefix="ray")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(
        address="local",
        num_cpus=workers,
        include_dashboard=False,
        log_to_driver=False,
        namespace=cluster.NAMESPACE,
        _temp_dir=scratch,
        _system_config={"prestart_worker_first_driver": False},  # each worker starts while it is measured
    )
    try:
        time.sleep(IDLE_SECONDS)  # until the first workers have started
        before = process_tree.processor_seconds()
        time.sleep(IDLE_SECONDS)
        idle = process_tree.between(before, process_tree.processor_seconds())
        yield sum(idle.values()) / IDLE_SECONDS
    finally:
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)
