"""A hundred `kill -9` at random moments over the commands that write: each result is equal to an undisturbed one.

KDZOO_KILLS sets their number, KDZOO_KILL_SEED the seed of the moments; a failure names both, to be repeated.
"""

import concurrent.futures
import csv
import dataclasses
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import pytest

from conftest import ROOT
from kdzoo.runs import records

KILLS, SEED = int(os.environ.get("KDZOO_KILLS", "100")), os.environ.get("KDZOO_KILL_SEED", "0")
AT_A_TIME = 2  # commands, as on a machine of two cores
KILLS_OF_ONE = 4  # then the command may end, so that its result is compared
DATA = ("--dataset=digits", "--train_examples=128", "--batch_size=32")
RUN = (*DATA, "--schedule=2-6", "--lr=0.02", "--checkpoint_minutes=1e-6")
GRID = {
    "common": {"dataset": "digits", "train_examples": 128, "batch_size": 32, "lr": 0.02, "schedule": "2-3"},
    "runs": [{"model": "wrn10-1", "seed": [0, 1]}, {"student": "wrn10-1", "teacher": "wrn10-1_2-3_seed0"}],
}
# Each works in {root}, and some with the trained network in {teacher}. What its number of kills is out of a hundred.
COMMANDS = {
    "reproduce": (
        *("--table=7", "--rows=wrn16-2:10/35", "--seeds=1", "--schedule_scale=0.03", *DATA),
        *("--workdir={root}", "--teacher_cache={root}/cache", "--checkpoint_minutes=1e-6"),
    ),
    "sweep": ("--grid={root}/grid.json", "--jobs=2", "--teacher_cache={root}/cache", "--checkpoint_minutes=1e-6"),
    "tune": (
        *("--student=wrn10-1", "--schedule=1-2", *DATA, "--val_examples=32", "--lr=0.02", "--teachers=none,wrn10-1"),
        *("--teacher_schedules=1-1", "--temperatures=1,4", "--search=random", "--max_trials=3"),
        *("--workdir={root}/tune", "--teacher_cache={root}/cache", "--checkpoint_minutes=1e-6"),
    ),
    "distill": (
        *("--student=wrn10-1", "--teacher={teacher}", "--method=at+kd", *RUN),
        *("--workdir={root}/run", "--teacher_cache={root}/cache"),
    ),
    "train": ("--model=wrn10-1", *RUN, "--workdir={root}/run"),
    "publish": ("--run={teacher}", "--models={root}", "--name=digits/wrn10-1_2-6", "--replace"),
    "precompute": (
        *("--teacher={teacher}", *DATA[:2], "--schedule=1-3", "--seeds=0,1,2,3", "--attention"),
        "--teacher_cache={root}/cache",
    ),
}
SHARES = {"reproduce": 10, "sweep": 12, "tune": 10, "distill": 20, "train": 20, "publish": 14, "precompute": 14}
# Keys that depend on the clock, and KerasTuner's set of the trials tried, which it writes in any order.
NOT_COMPARED_KEYS = {*records.TIMING, "minutes", "published", "tried_so_far"}
# Curves, logs, figures, and Markdown that counts minutes: they are there, but what they hold depends on the clock.
NOT_COMPARED = (".png", ".svg", ".txt", ".html", "recommendation.md")


@dataclasses.dataclass
class Undisturbed:
    """An undisturbed result: what its files hold, and the seconds that it took."""

    contents: dict[str, Any]
    seconds: float


def start(name: str, root: pathlib.Path, teacher: pathlib.Path) -> subprocess.Popen:
    """Starts a command in a process group of its own; its output is in ROOT.txt."""
    root.mkdir(exist_ok=True)
    (root / "grid.json").write_text(json.dumps({"workdir": str(root / "runs"), **GRID}))
    args = [word.format(root=root, teacher=teacher) for word in COMMANDS[name]]
    env = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "KERAS_BACKEND": "tensorflow"}
    with open(f"{root}.txt", "a") as output:
        command = [sys.executable, "-m", f"apps.{name}", *args]
        return subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=output, start_new_session=True)


def end(process: subprocess.Popen, seconds: float, root: pathlib.Path) -> bool:
    """Whether a command ends by itself, and well, within so many seconds; else its process group is killed."""
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return False
    assert code == 0, pathlib.Path(f"{root}.txt").read_text()[-3000:]
    return True


def contents(root: pathlib.Path) -> dict[str, Any]:
    """What each file below a directory holds, but for clocks and for the directory's own path."""
    return {path.relative_to(root).as_posix(): read(path, root) for path in root.rglob("*") if path.is_file()}


def read(path: pathlib.Path, root: pathlib.Path) -> Any:
    if path.name.endswith(NOT_COMPARED):
        return None
    if path.suffix == ".json":
        return compared_keys(json.loads(path.read_text().replace(str(root), "ROOT")))
    if path.stem == "compare":
        return without_latencies(path)
    return path.read_bytes().replace(str(root).encode(), b"ROOT")


def without_latencies(path: pathlib.Path) -> list[list[str]]:
    """The cells of a comparison, but for its column of latencies: a clock measured them."""
    lines = path.read_text().splitlines()
    rows = [line.split("|") for line in lines] if path.suffix == ".md" else list(csv.reader(lines))
    (column,) = {i for row in rows for i, cell in enumerate(row) if cell.strip().startswith("latency")}
    return [row[:column] + row[column + 1 :] for row in rows]


def compared_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: compared_keys(item) for key, item in value.items() if key not in NOT_COMPARED_KEYS}
    return [compared_keys(item) for item in value] if isinstance(value, list) else value


def run_undisturbed(name: str, root: pathlib.Path, teacher: pathlib.Path) -> Undisturbed:
    began = time.monotonic()
    assert end(start(name, root, teacher), 600, root)
    seconds = time.monotonic() - began
    return Undisturbed(contents(root), seconds)


def kill_and_compare(
    name: str, expected: Undisturbed, tmp_path: pathlib.Path, teacher: pathlib.Path, *, kills: int
) -> str:
    """Kills a command so many times, and compares each result. Returns a line for the user."""
    moments = random.Random(f"{SEED} {name}")
    killed = results = 0
    seconds = expected.seconds
    while killed < kills:
        root, ended, times = tmp_path / f"{name}-{results}", False, []
        while not ended:
            may_end = len(times) == KILLS_OF_ONE or killed == kills
            # Late moments are likelier: then the files are written that make a result.
            moment = 600.0 if may_end else moments.triangular(0, 1, 1) * seconds
            began = time.monotonic()
            ended = end(start(name, root, teacher), moment, root)
            if ended and not times:
                seconds = min(seconds, time.monotonic() - began)  # the machine is less busy than it was
            if not ended:
                assert not may_end, f"{name} does not end: {root}"
                times.append(round(moment, 2))
                killed += 1
        compare(name, expected.contents, contents(root), times)
        results += 1
        shutil.rmtree(root)
    return f"{name}: {killed} kills over {results} results, {expected.seconds:.1f} s undisturbed"


def compare(name: str, expected: dict[str, Any], received: dict[str, Any], times: Sequence[float]) -> None:
    context = f"{name}, KDZOO_KILL_SEED={SEED}, killed after {times} s"
    one, two = ({key for key in files if not is_curve(key)} for files in (expected, received))
    assert one == two, f"{context}: other files"
    assert sum(map(is_curve, expected)) == sum(map(is_curve, received)), f"{context}: other event files"
    different = [key for key in one if expected[key] != received[key]]
    assert not different, f"{context}: {different}"


def is_curve(file: str) -> bool:
    return "events.out.tfevents" in file


@pytest.mark.slow
def test_a_hundred_kills_leave_every_result_as_it_would_have_been(tmp_path, capsys):
    pytest.importorskip("tensorflow")
    began = time.monotonic()
    # The teacher is the result of the undisturbed training.
    teacher = tmp_path / "train" / "run"
    expected = {"train": run_undisturbed("train", teacher.parent, teacher)}
    left, kills, shares = KILLS, {}, 100
    for name, share in SHARES.items():
        kills[name] = left * share // shares
        left, shares = left - kills[name], shares - share
    with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
        undisturbed = {
            name: pool.submit(run_undisturbed, name, tmp_path / name, teacher)
            for name in COMMANDS
            if name not in expected
        }
        expected |= {name: future.result() for name, future in undisturbed.items()}
        killed = [
            pool.submit(kill_and_compare, name, expected[name], tmp_path, teacher, kills=kills[name])
            for name in COMMANDS
        ]
        results = [future.exception() or future.result() for future in killed]
    with capsys.disabled():
        print(f"\n{sum(kills.values())} kills, KDZOO_KILL_SEED={SEED}, {(time.monotonic() - began) / 60:.1f} minutes")
        print(*results, sep="\n")
    assert not [result for result in results if isinstance(result, BaseException)]
