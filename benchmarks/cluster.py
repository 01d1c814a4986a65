"""How well nodes share the work of a table of teacher outputs, on Ray clusters of 1 to 64 CPUs on this machine.

  python benchmarks/cluster.py --out=benchmarks/cluster.json          # idle machine, 15 minutes

With a real teacher of one thread: on 1 and on 2 CPUs, beside two such processes without Ray, which is what two cores of
this machine can do. With a teacher that sleeps the time just measured for each call: on 1 to 64 CPUs. Each worker's
rows per second, divided by those of one worker alone, is the efficiency. Times are from the moment at which all workers
have opened the teacher to the last shard; the seconds before are reported apart.
"""

import functools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

import numpy as np
from absl import app, flags

from kdzoo.runs.config import RunConfig

OUT = flags.DEFINE_string("out", "benchmarks/cluster.json", "File of the results.")
TEACHER = flags.DEFINE_string("teacher", "wrn16-2", "Architecture of the teacher.")
SECONDS = flags.DEFINE_float("seconds", 60.0, "Least seconds of one measurement.")
SLEEPERS = flags.DEFINE_list("sleepers", ["1", "2", "4", "8", "16", "32", "64"], "Numbers of workers that sleep.")

CALL, PER_SHARD, CLASSES = 128, 1024, 10
MOST = 56  # shards for each of two workers: the table of digits has 115
ENV = {"RAY_worker_register_timeout_seconds": "600", "RAY_USAGE_STATS_ENABLED": "0"}


class Cluster:
    """A cluster of one node with so many CPUs, to which this process is connected in the block."""

    def __init__(self, cpus: int):
        self._cpus = cpus

    def __enter__(self) -> None:
        import ray

        os.environ.update(ENV)
        ray.init(num_cpus=self._cpus, include_dashboard=False, log_to_driver=False, namespace="kdzoo")

    def __exit__(self, *_: object) -> None:
        import ray

        ray.shutdown()


def work_of(teacher: pathlib.Path, cache: pathlib.Path) -> "object":
    from kdzoo.experiments.on_ray import cluster, table_work

    config = RunConfig("wrn10-1", "1-1", dataset="digits", teachers=(str(teacher),), kd_weight=1.0)
    env = tuple({**cluster.shared_environment(), "PYTHONPATH": os.getcwd()}.items())
    return table_work.Work(config, str(cache), 10.0, None, 60.0, 0, os.getcwd(), env, cluster.Resources())


def timed(fill, shards: Sequence[int], workers: int) -> dict[str, float]:
    """Seconds until the first shard of each worker is there, seconds from then on, and rows per second and worker."""
    from kdzoo.experiments.on_ray import shard_tasks
    from kdzoo.experiments.on_ray.cluster import Resources

    began = time.monotonic()
    opening, rest = list(shards[:workers]), list(shards[workers:])
    shard_tasks.fill_all(fill, opening, Resources())
    opened = time.monotonic()
    _, rows = shard_tasks.fill_all(fill, rest, Resources())
    seconds = time.monotonic() - opened
    return {
        "workers": workers,
        "opening_seconds": opened - began,
        "seconds": seconds,
        "rows_per_second_and_worker": rows / seconds / workers,
    }


def sleep(store: str, rows: int, seconds: float, shards: Sequence[int]) -> tuple[int, int, tuple[str, ...]]:
    """Fills shards with any values, sleeping as long as the teacher computes."""
    from kdzoo.stores import open_store
    from kdzoo.teachers import row_format
    from kdzoo.teachers import shards as tables

    row = row_format.RowType((CLASSES,), "float32")
    table = tables.create_table(open_store(store), {"of": "sleep"}, rows, lambda: row)
    added = 0
    for shard in shards:
        own = table.rows_of(shard)
        time.sleep(seconds * -(-len(own) // CALL))
        added += table.add(shard, own, np.zeros((len(own), CLASSES), np.float32))
    return 0, added, (store,)


ALONE = """
import sys, time
sys.path.insert(0, "benchmarks")
import cluster
from kdzoo.experiments.on_ray import table_work
work = cluster.work_of(*map(cluster.pathlib.Path, sys.argv[1:3]))
first, count = int(sys.argv[3]), int(sys.argv[4])
table_work.fill(work, [first])
print("ready", flush=True)
sys.stdin.readline()
began = time.monotonic()
_, rows, _ = table_work.fill(work, range(first + 1, first + count))
print(rows / (time.monotonic() - began))
"""


def rate_without_ray(teacher: pathlib.Path, folder: pathlib.Path, processes: int, count: int) -> float:
    """Rows per second of each of so many processes of one thread, which begin at once."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", ALONE, teacher, folder / f"alone{processes}", str(i * count), str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(processes)
    ]
    for process in started:
        assert process.stdout.readline() == "ready\n"
    for process in started:
        process.stdin.write("\n")
        process.stdin.flush()
    return float(np.mean([float(process.communicate()[0]) for process in started]))


def measure(folder: pathlib.Path) -> Iterator[tuple[str, object]]:
    """Yields each part of the results under its name."""
    from kdzoo.experiments.on_ray import table_work

    teacher = folder / "teacher"
    train = [sys.executable, "-m", "apps.train", f"--model={TEACHER.value}", "--schedule=1-1", "--dataset=digits"]
    subprocess.run([*train, f"--workdir={teacher}"], check=True)
    probe = rate_without_ray(teacher, folder / "probe", 1, 5)
    count = min(MOST, max(8, int(SECONDS.value * probe / PER_SHARD)))
    alone = [rate_without_ray(teacher, folder, processes, count) for processes in (1, 2)]
    yield "without_ray", {"rows_per_second": alone[0], "efficiency_of_two": alone[1] / alone[0]}
    real = []
    for workers in (1, 2):
        with Cluster(workers):
            fill = functools.partial(table_work.fill, work_of(teacher, folder / f"real{workers}"))
            real.append(timed(fill, range(workers * (count + 1)), workers))
    yield "real", with_efficiency(real)
    seconds = CALL / real[0]["rows_per_second_and_worker"]
    yield "seconds_of_a_call", seconds
    slept = []
    shards = max(8, int(SECONDS.value / (seconds * PER_SHARD / CALL)))
    for workers in map(int, SLEEPERS.value):
        with Cluster(workers):
            total = workers * (shards + 1)
            fill = functools.partial(sleep, str(folder / f"sleep{workers}"), total * PER_SHARD, seconds)
            slept.append(timed(fill, range(total), workers))
            print(slept[-1], flush=True)
    yield "sleeping", with_efficiency(slept)


def with_efficiency(results: list[dict[str, float]]) -> list[dict[str, float]]:
    one = results[0]["rows_per_second_and_worker"]
    return [result | {"efficiency": result["rows_per_second_and_worker"] / one} for result in results]


def main(_: list[str]) -> None:
    from kdzoo.runs import machine

    results: dict[str, object] = {"teacher": TEACHER.value, "call": CALL, "rows_per_shard": PER_SHARD}
    with tempfile.TemporaryDirectory() as folder:
        for name, part in measure(pathlib.Path(folder)):
            results[name] = part
            print(name, part, flush=True)
    import keras  # noqa: F401, of which the next line names the version

    results["hardware"] = machine.hardware()
    pathlib.Path(OUT.value).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
