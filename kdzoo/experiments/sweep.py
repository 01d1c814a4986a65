"""Many runs on one machine: a grid in, each run a process of its own, several at a time, until all are done.

Nothing is remembered but the runs' own directories, so a sweep that was killed goes on by the same command, and several
sweeps may work on one grid.
"""

import collections
import contextlib
import dataclasses
import itertools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kdzoo import files
from kdzoo.runs import records
from kdzoo.runs.config import METHODS, RunConfig
from kdzoo.teachers import resolve as teachers_of
from zoo import InputError

LOGS = "logs"
# What a run is taken to need to its first checkpoint, beside the time between two, until one has been seen.
START_SECONDS = 60.0
KILL_SECONDS = 120.0  # from the request to stop to the end
IN_USE = "in use by another process"
_RULE = (
    'A grid must be {"workdir": DIRECTORY, "common": {FLAG: VALUE}, "runs": [{FLAG: VALUE or [VALUES]}]}, each with a'
    ' schedule and either model or student, for example {"student": "wrn16-1", "schedule": "60-200", "seed": [0, 1]}'
)
_FIELDS = {field.name for field in dataclasses.fields(RunConfig)} - {"teachers"}
_NAMED_IF_SET = ("kd_until",)  # two runs that differ in it are two methods
_NAMED = ("model", "student", "schedule", "teacher", "method", "seed")


@dataclasses.dataclass
class Run:
    """One run of a sweep.

    Attributes:
        name: its directory's, within the sweep's.
        workdir: its directory.
        config: what to train.
        needs: runs of the sweep that must be finished first, its teachers.
        state: waiting, running, finished, failed or stopped.
        said: how far it is, or what went wrong.
    """

    name: str
    workdir: pathlib.Path
    config: RunConfig
    needs: tuple[str, ...] = ()
    state: str = "waiting"
    said: str = ""


# What there is to run.


def read_grid(path: str | os.PathLike) -> list[Run]:
    """The runs of a grid file (JSON), in its order: see `expand`.

    Raises:
        InputError: if it cannot be read, or is no grid.
    """
    try:
        grid = json.loads(pathlib.Path(path).read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{_RULE}. Received: {path}: {error}") from None
    return expand(grid)


def expand(grid: Mapping[str, Any]) -> list[Run]:
    """Every run of a grid.

    "common" and each entry of "runs" hold flags of `apps.train` (with "model") or `apps.distill` (with "student"); a
    list stands for a run with each of its values. A "teacher" is a run named earlier in the grid, or any other teacher;
    several that teach together are separated by commas. A run is named after its model, schedule, method and teacher,
    kd_until where it is given, what other flags its entry varies, and its seed.

    Raises:
        InputError: if it is no grid, or a run of it is impossible by itself.
    """
    kinds = {"workdir": str, "common": dict, "runs": list}
    if not isinstance(grid, dict) or "runs" not in grid or any(type(grid[key]) is not kinds.get(key) for key in grid):
        raise InputError(f"{_RULE}. Received: {str(grid)[:200]}")
    root = pathlib.Path(grid.get("workdir", "runs"))
    runs: dict[str, Run] = {}
    for entry in grid["runs"]:
        if not isinstance(entry, dict):
            raise InputError(f"{_RULE}. Received: {entry}")
        flags = entry | {flag: value for flag, value in grid.get("common", {}).items() if flag not in entry}
        choices = [value if isinstance(value, list) else [value] for value in flags.values()]
        varied = [flag for flag, values in zip(flags, choices, strict=True) if len(values) > 1 and flag not in _NAMED]
        for values in itertools.product(*choices):
            run = make_run(dict(zip(flags, values, strict=True)), root, runs, varied)
            if run.name in runs:
                raise InputError(f"The runs of a grid must differ in what names them. Received: two {run.name}")
            runs[run.name] = run
    return list(runs.values())


def make_run(
    flags: Mapping[str, Any], root: pathlib.Path, earlier: Mapping[str, Run], varied: Sequence[str] = ()
) -> Run:
    """The run of one choice of flags: see `expand`. `earlier` are those that may teach it, `varied` what names it too.

    Raises:
        InputError: if they are no run's.
    """
    flags = dict(flags)
    unknown = flags.keys() - _FIELDS - {"student", "teacher", "method"}
    if unknown or ("model" in flags) == ("student" in flags) or "schedule" not in flags:
        raise InputError(f"{_RULE}. Received: {json.dumps(flags)}")
    named = [*varied, *(flag for flag in _NAMED_IF_SET if flag in flags and flag not in varied)]
    extra = [f"{flag}{str(flags[flag]).replace('/', '-')}" for flag in named]
    teachers = [teacher for teacher in str(flags.pop("teacher", "")).split(",") if teacher]
    method = flags.pop("method", "kd" if teachers else "none")
    if method not in METHODS or (method != "none") != bool(teachers):
        raise InputError(f"method must be one of {', '.join(METHODS)}, none without a teacher. Received: {method}")
    model = flags.pop("student", None) or flags.pop("model")
    needs = tuple(teacher for teacher in teachers if teacher in earlier)
    paths = tuple(str(root / teacher) if teacher in earlier else teacher for teacher in teachers)
    for path, teacher in zip(paths, teachers, strict=True):
        if teacher not in earlier:
            try:
                teachers_of.check_exists(path)
            except InputError as error:
                raise InputError(f"A teacher must be an earlier run of the grid, or else be there. {error}") from None
    try:
        config = RunConfig(model=model, teachers=paths, **{**METHODS[method], **flags})
        config.check()
    except TypeError as error:
        raise InputError(f"A run's flags must be those of apps.train. Received: {flags}: {error}") from None
    parts = [f"{model}_{config.schedule}", *([method] if teachers else []), *(pathlib.Path(t).name for t in teachers)]
    name = "_".join([*parts, *extra, f"seed{config.seed}"])
    return Run(name, root / name, config, needs)


# Running it.


def run_all(
    runs: Sequence[Run],
    *,
    command: Callable[[Run], list[str]],
    jobs: int = 1,
    budget_seconds: float | None = None,
    checkpoint_seconds: float = 300.0,
    show: Callable[[Sequence[Run]], None] = lambda runs: None,
    stopping: Callable[[], bool] = lambda: False,
    poll_seconds: float = 0.2,
) -> None:
    """Runs what is not finished, in order, `jobs` at a time, a run after its teachers; sets each one's state.

    A run that does not end well is marked as failed, those it teaches stay waiting, and the others go on. Where the
    budget ends, or `stopping` says so, the runs under way are told to stop (SIGTERM), which saves them first.

    Args:
        runs: see `expand`.
        command: of a run; it prints `kdzoo.progress.json_lines`, goes on where it stopped, and saves on SIGTERM.
        jobs: processes at a time, at least 1. Without a GPU, each gets its share of the cores; with one, of its memory.
        budget_seconds: None: as long as it takes. No run starts that is not expected to reach a checkpoint in time.
        checkpoint_seconds: longest time between a run's checkpoints.
        show: called with the runs every `poll_seconds`.
        stopping: whether to stop.
        poll_seconds: between two looks at the processes.
    """
    deadline = None if budget_seconds is None else time.monotonic() + budget_seconds
    slots: list[_Process | None] = [None] * jobs
    first_checkpoint: dict[tuple, float] = collections.defaultdict(lambda: START_SECONDS + checkpoint_seconds)
    told = None
    while True:
        for slot, process in enumerate(slots):
            if process and process.ended():
                slots[slot] = None
            if process and process.first_checkpoint:
                first_checkpoint[_kind(process.run)] = min(process.first_checkpoint, START_SECONDS + checkpoint_seconds)
        late = stopping() or (deadline is not None and time.monotonic() > deadline)
        for slot in range(jobs):
            ready = None if late or slots[slot] else _next_ready(runs, deadline, first_checkpoint)
            if ready:
                slots[slot] = _Process(ready, command(ready), *share(slot, jobs=jobs))
        running = [process for process in slots if process]
        if late and running:
            for process in running:
                if told is None:
                    process.send(signal.SIGTERM)
                elif time.monotonic() - told > KILL_SECONDS:
                    process.send(signal.SIGKILL)
            told = told or time.monotonic()
        show(runs)
        # What only another process keeps from starting is worth waiting for.
        if not running and (late or not any(run.state == "waiting" and run.said == IN_USE for run in runs)):
            return
        time.sleep(poll_seconds)


def _kind(run: Run) -> tuple:
    """Runs of one kind take about as long."""
    return run.config.model, run.config.teachers, run.config.batch_size, run.config.dtype_policy


def _next_ready(runs: Sequence[Run], deadline: float | None, first_checkpoint: Mapping[tuple, float]) -> Run | None:
    """The first run that can start now."""
    states = {run.name: run.state for run in runs}
    for run in runs:
        if run.state != "waiting":
            continue
        if (run.workdir / records.RECORD).exists():
            _check_finished(run)
            states[run.name] = run.state
        elif unfinished := [name for name in run.needs if states[name] != "finished"]:
            run.said = f"needs {', '.join(unfinished)}"
        elif deadline is not None and time.monotonic() + first_checkpoint[_kind(run)] > deadline:
            run.said = f"to its first checkpoint it may take {first_checkpoint[_kind(run)] / 60:.1f} minutes"
        elif _in_use(run.workdir):
            run.said = IN_USE
        else:
            return run
    return None


def _in_use(workdir: pathlib.Path) -> bool:
    if not workdir.exists():
        return False
    try:
        with files.locked(workdir):
            return False
    except InputError:
        return True


def _check_finished(run: Run) -> None:
    """A finished run counts if it is the one that is asked for."""
    try:
        theirs = records.read(run.workdir)["config"]
    except InputError as error:
        run.state, run.said = "failed", str(error)
        return
    # Where teachers lie does not matter: a sweep's directory may have been moved.
    theirs = theirs | {"teachers": [pathlib.Path(teacher).name for teacher in theirs["teachers"]]}
    ours = dataclasses.asdict(run.config) | {
        "teachers": [pathlib.Path(teacher).name for teacher in run.config.teachers]
    }
    ours = {key: value for key, value in ours.items() if key not in ("augment", "dtype_policy") or value != "auto"}
    changed = [f"{key} {theirs[key]}, now {value}" for key, value in ours.items() if theirs.get(key, value) != value]
    run.state = "failed" if changed else "finished"
    run.said = f"finished with another configuration: {'; '.join(changed)}" if changed else "finished before"


class _Process:
    """A run's process, and what it says."""

    def __init__(self, run: Run, command: Sequence[str], env: dict[str, str], cores: set[int] | None):
        self.run, self.first_checkpoint, self._told = run, None, False
        self._started = time.monotonic()
        logs = run.workdir.parent / LOGS
        logs.mkdir(parents=True, exist_ok=True)
        self._log = logs / f"{run.name}.txt"
        with open(self._log, "a") as log, on_cores(cores):
            # A session of its own: Ctrl-C in the terminal is for the sweep, which passes it on.
            self._process = subprocess.Popen(
                command, env=env, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
            )
        run.state, run.said = "running", "starting"
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with open(self._log, "a") as log:
            for line in self._process.stdout:
                try:
                    progress = json.loads(line)
                    epoch, row = progress["epoch"], progress["row"]
                except (ValueError, TypeError, KeyError):
                    log.write(line)
                    log.flush()
                    continue
                if row:
                    self.first_checkpoint = self.first_checkpoint or time.monotonic() - self._started
                    log.write(line)
                    log.flush()
                    self.run.said = f"epoch {epoch}/{progress['epochs']}, test error {row['test_error']:.2f} %"
                elif epoch < progress["epochs"]:
                    self.run.said = (
                        f"epoch {epoch + 1}/{progress['epochs']}, step {progress['step']}/{progress['steps']}"
                    )

    def ended(self) -> bool:
        """Whether it has ended; if so, the run's state says how."""
        if self._process.poll() is None:
            return False
        self._reader.join()
        run = self.run
        finished = (run.workdir / records.RECORD).exists()
        if finished and not self._process.returncode:
            run.state = "finished"
        elif self._told or self._process.returncode == 128 + signal.SIGTERM:
            run.state = "stopped"
        elif finished or _in_use(run.workdir):  # another sweep was first while this one started
            run.state, run.said = "waiting", IN_USE
        else:
            lines = self._log.read_text().strip().splitlines()
            run.state = "failed"
            run.said = f"exit code {self._process.returncode}: {lines[-1] if lines else 'no output'} ({self._log})"
        return True

    def send(self, signal_number: int) -> None:
        """Tells it to stop."""
        self._told = True
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal_number)


# What each process gets of the machine.


def gpus() -> list[str]:
    """The NVIDIA GPUs that processes may use, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name and name != "-1"]
    if not shutil.which("nvidia-smi"):
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    return [str(i) for i, line in enumerate(line for line in listed.splitlines() if line.startswith("GPU "))]


def share(slot: int, *, jobs: int, devices: Sequence[str] | None = None) -> tuple[dict[str, str], set[int] | None]:
    """Environment and cores of the process in this slot: a GPU and a share of its memory, or a share of the cores."""
    devices = gpus() if devices is None else devices
    env, cores = dict(os.environ), None
    if devices:
        sharing = -(-jobs // len(devices))
        env["CUDA_VISIBLE_DEVICES"] = devices[slot % len(devices)]
        env.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.9 / sharing:.3f}")
        env.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    elif hasattr(os, "sched_getaffinity"):
        every = sorted(os.sched_getaffinity(0))
        count = max(1, len(every) // jobs)
        cores = {every[(slot * count + i) % len(every)] for i in range(count)}
    return env, cores


@contextlib.contextmanager
def on_cores(cores: set[int] | None):
    """What is started inside may use these cores only: else each run's threads get in the way of all others."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
