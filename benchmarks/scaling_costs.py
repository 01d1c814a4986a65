"""Measures what the scaling study needs and no other record holds: scheduler, records, processes, rows, Ray's head.

  python benchmarks/scaling_costs.py --out=benchmarks/scaling_costs.json      # on an idle machine, five minutes

Each cost is a median over rounds. Nothing is trained but one small run on the digits.
"""

import argparse
import contextlib
import copy
import functools
import io
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = pathlib.Path(__file__).parents[1]
RECORD = ROOT / "results/cifar10/wrn16-1_10-35_kd_wrn16-2_5-16_seed0"
SMALL_RUN = (
    *("-m", "apps.train", "--model=wrn10-1", "--schedule=1-2", "--dataset=digits"),
    *("--train_examples=300", "--batch_size=50", "--progress=json"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default=",".join(PARTS), help="what to measure")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", default="", help="JSON file; parts that it holds already are replaced")
    args = parser.parse_args()
    out = pathlib.Path(args.out) if args.out else None
    costs = json.loads(out.read_text()) if out and out.exists() else {}
    for part in args.parts.split(","):
        costs[part] = PARTS[part](args.rounds)
        print(part, json.dumps(costs[part], indent=1), flush=True)
        if out:
            costs["load_average"] = os.getloadavg()
            out.write_text(json.dumps(costs, indent=1) + "\n")


def median_seconds(call, rounds: int, clock=time.process_time) -> float:
    """The median processor time of a call, or time by another clock, over rounds."""
    seconds = []
    for _ in range(rounds):
        began = clock()
        call()
        seconds.append(clock() - began)
    return statistics.median(seconds)


def measure_scheduler(rounds: int) -> dict:
    """Seconds to find the next run and to show the state, by the number of runs and how many are finished."""
    from apps import runs_display
    from kdzoo.experiments.grid import Run
    from kdzoo.experiments.run_queue import RunQueue
    from kdzoo.runs.config import RunConfig

    config = RunConfig("wrn16-1", "10-35", teachers=("wrn16-2_5-16",))
    result = {}
    for number in (1_000, 10_000, 100_000):
        runs = [
            Run(f"wrn16-1_10-35_kd_seed{i}", pathlib.Path("/nonexistent/runs") / f"run{i}", config)
            for i in range(number)
        ]
        queue = RunQueue(runs, budget_seconds=None, checkpoint_seconds=300.0)

        def find(queue=queue) -> None:
            next(queue.ready(), None)

        of_number = {}
        for share in (0.0, 0.5, 0.99):
            for i, run in enumerate(runs):
                run.state = "finished" if i < share * number else "waiting"
            of_number[f"find, {share:.0%} finished"] = median_seconds(find, rounds)
        with contextlib.redirect_stdout(io.StringIO()):
            show = functools.partial(runs_display.Display(None), runs)
            show()
            of_number["show"] = median_seconds(show, rounds)
        for run in runs[1:]:
            run.state, run.needs = "waiting", (runs[0].name,)
        runs[0].state = "running"
        find()  # looks up their directories
        of_number["find, all wait for a teacher"] = median_seconds(find, rounds)
        result[str(number)] = of_number
    return result


def measure_records(rounds: int) -> dict:
    """Seconds to write a record of 35 epochs, to read it, and to compare it with a configuration; its bytes."""
    from kdzoo.experiments import run_queue
    from kdzoo.experiments.grid import Run
    from kdzoo.runs import records
    from kdzoo.runs.config import RunConfig

    record = records.read(RECORD)
    config = RunConfig("wrn16-1", "10-35", teachers=("wrn16-2_5-16",), kd_weight=0.9, ce_weight=0.1)
    run = Run("run", RECORD, config)
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        path = pathlib.Path(folder)
        return {
            "bytes": (RECORD / records.RECORD).stat().st_size,
            "write": median_seconds(lambda: records.write(path, record), 20 * rounds, time.perf_counter),
            "read": median_seconds(lambda: records.read(RECORD), 20 * rounds),
            "mark finished": median_seconds(lambda: run_queue.mark_finished(copy.copy(run)), 20 * rounds),
        }


def measure_messages(rounds: int) -> dict:
    """The driver's processor seconds for a line of progress of a run's process."""
    from kdzoo.experiments.grid import Run
    from kdzoo.experiments.local_processes import RunProcess
    from kdzoo.runs.config import RunConfig

    lines = 20_000
    code = (
        f"import json\nfor i in range({lines}): print(json.dumps({{'epoch': 1, 'epochs': 35, 'step': i, 'steps': 390,"
        " 'logs': {'loss': 1.234567, 'train_error': 12.345678, 'kd': 2.345678}, 'row': None}))"
    )
    seconds = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            run = Run("run", pathlib.Path(folder) / "run", RunConfig("wrn10-1", "1-1"))
            began = time.process_time()
            process = RunProcess(run, [sys.executable, "-c", code], dict(os.environ), None)
            process.logged.process.wait()
            process.has_ended()
            seconds.append((time.process_time() - began) / lines)
    return {"line": statistics.median(seconds)}


def measure_processes(rounds: int) -> dict:
    """Seconds and processor seconds of a small run on the digits, and of the start of a process that does nothing."""
    result = {}
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for name, words in (("small run", SMALL_RUN), ("python", ("-c", "pass")), ("help", ("-m", "apps.train", "--help"))):
        wall, work = [], []
        for i in range(rounds):
            with tempfile.TemporaryDirectory() as folder:
                workdir = [f"--workdir={folder}/run{i}"] if name == "small run" else []
                before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
                subprocess.run(
                    [sys.executable, *words, *workdir], stdout=subprocess.DEVNULL, env=environment, check=name != "help"
                )
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
            wall.append(time.perf_counter() - began)
            work.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        result[name] = {"seconds": statistics.median(wall), "processor seconds": statistics.median(work)}
    return result


def measure_rows(rounds: int) -> dict:
    """Seconds of one row of a table beside its teacher: the image's view, the checksum, the write; and its reading."""
    import numpy as np

    from kdzoo.data import sources
    from kdzoo.runs.config import RunConfig
    from kdzoo.teachers import cached_teacher, output_cache
    from kdzoo.teachers.base import Teacher

    class Still(Teacher):
        """A teacher that takes no time."""

        spec, digest, record = "still", "0" * 64, {}

        def __init__(self, classes: int):
            self.logits = np.zeros((cached_teacher.CALL_IMAGES, classes), np.float32)

        def check(self, dataset) -> None:
            """It fits any data set."""

        def compute(self, images):
            """Its outputs are zeros."""
            return {"logits": self.logits, "maps": []}

    draw = np.random.default_rng(0)
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        images = draw.integers(0, 256, (5_000, 32, 32, 3), dtype=np.uint8)
        labels = np.arange(5_000) % 10
        np.savez(path / "images.npz", x_train=images, y_train=labels, x_test=images[:100], y_test=labels[:100])
        config = RunConfig("wrn10-1", "1-1", dataset=f"npz:{path}/images.npz", augment="crop_flip")
        with contextlib.closing(sources.load(config.data)) as dataset:
            for classes in (10, 1_000):
                cache = output_cache.Cache(path / f"cache{classes}", required=True)
                with contextlib.closing(
                    cached_teacher.CachedTeacher(Still(classes), dataset, config, cache)
                ) as teacher:
                    calls = iter(range(10**6))

                    def compute(teacher=teacher, calls=calls):
                        first = 128 * next(calls)
                        teacher.compute(np.arange(first, first + 128))

                    count = 40 * rounds
                    filled = median_seconds(compute, count) / 128
                    shuffled = draw.permutation(128 * count)[:12_800].reshape(-1, 128)
                    rows = iter(np.tile(shuffled, (10, 1)))
                    read = median_seconds(lambda teacher=teacher, rows=rows: teacher.look_up(next(rows)), count)
                    result[f"{classes} classes"] = {"fill": filled, "read": read / 128}
    return result


def measure_ray(rounds: int) -> dict:
    """Processor seconds of Ray's processes for a task, by the number of nodes; and of a worker's start."""
    from scaling_ray import measure

    return measure(rounds)


PARTS = {
    "scheduler": measure_scheduler,
    "records": measure_records,
    "messages": measure_messages,
    "processes": measure_processes,
    "rows": measure_rows,
    "ray": measure_ray,
}

if __name__ == "__main__":
    main()
