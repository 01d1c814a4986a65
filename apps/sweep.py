"""Runs every run of a grid, several at a time, each in a process of its own; the same command goes on where it stopped.

  python -m apps.sweep --grid=apps/grids/digits.json --jobs=2 --budget_minutes=30

A grid is a JSON file of flags; a list of values stands for a run with each, and a run may be taught by another:

  {"workdir": "runs/example", "common": {"dataset": "cifar10", "schedule": "10-35"},
   "runs": [{"model": "wrn16-2"},
            {"student": "wrn16-1", "teacher": "wrn16-2_10-35_seed0", "seed": [0, 1, 2]}]}

Exit code: 0 once all are finished, 1 if some failed, 75 if the budget or a signal left some to be gone on with.
"""

import collections
import dataclasses
import shutil
import sys
import time

from absl import flags

from apps import common
from kdzoo import records, report, sweep
from kdzoo.config import METHODS, RunConfig

flags.DEFINE_string("grid", None, "JSON file of the runs.", required=True)
flags.DEFINE_integer("jobs", 1, "Runs at a time.", lower_bound=1)
flags.DEFINE_float("budget_minutes", None, "Stop by then; no run starts that cannot reach a checkpoint.", lower_bound=0)
flags.DEFINE_float("checkpoint_minutes", 5.0, "Longest time between a run's checkpoints.")
common.define_cache_flags()
flags.adopt_module_key_flags(common)
flags.DEFINE_bool("dry_run", False, "Only print the runs' commands.")


def main() -> int:
    args = flags.FLAGS
    runs = sweep.read_grid(args.grid)
    if args.dry_run:
        print("\n".join(" ".join(_command(run)[1:]) for run in runs))
        return 0
    budget = None if args.budget_minutes is None else 60 * args.budget_minutes
    with common.stop_signals() as received:
        sweep.run_all(
            runs,
            command=_command,
            jobs=args.jobs,
            budget_seconds=budget,
            checkpoint_seconds=60 * args.checkpoint_minutes,
            show=_Display(budget),
            stopping=lambda: bool(received),
        )
    return _summarise(runs)


def _command(run: sweep.Run) -> list[str]:
    """The command line that makes this run: flags that differ from their defaults."""
    app, model = ("distill", "student") if run.config.teachers else ("train", "model")
    cache = [
        f"--{name}={flags.FLAGS[name].value}" for name in ("teacher_cache", "cache_gb") if flags.FLAGS[name].present
    ]
    command = [sys.executable, "-m", f"apps.{app}", f"--{model}={run.config.model}"]
    for field in dataclasses.fields(RunConfig):
        value = getattr(run.config, field.name)
        if field.name == "teachers" and value:
            command.append(f"--teacher={','.join(value)}")
        elif field.name != "model" and (value != field.default or (app == "distill" and field.name in METHODS["none"])):
            command.append(f"--{field.name}={value}")
    return [
        *command,
        f"--workdir={run.workdir}",
        f"--checkpoint_minutes={flags.FLAGS.checkpoint_minutes}",
        *(cache if app == "distill" else ()),
        "--progress=json",
    ]


class _Display:
    """On a terminal, a block that is drawn over and over; elsewhere a line for each change, and each minute."""

    def __init__(self, budget_seconds: float | None):
        self._began, self._budget = time.monotonic(), budget_seconds
        self._states, self._drawn, self._last = {}, 0, 0.0

    def __call__(self, runs) -> None:
        now, terminal = time.monotonic(), sys.stdout.isatty()
        changed = [run for run in runs if self._states.get(run.name, "waiting") != run.state]
        self._states = {run.name: run.state for run in runs}
        if not changed and now - self._last < (1 if terminal else 60):
            return
        self._last = now
        lines = [f"{run.state:8} {run.name}" + (f": {run.said}" if run.said else "") for run in changed]
        running = [f"  {run.name}: {run.said}" for run in runs if run.state == "running"]
        if terminal:
            erase = f"\x1b[{self._drawn}A\x1b[J" if self._drawn else ""
            block = [self._total(runs, now), *running]
            width = shutil.get_terminal_size().columns - 1
            print(erase + "\n".join([*lines, *(line[:width] for line in block)]), flush=True)
            self._drawn = len(block)
        else:
            print("\n".join([*lines, *([] if changed else [self._total(runs, now), *running])]), flush=True)

    def _total(self, runs, now: float) -> str:
        counts = collections.Counter(run.state for run in runs)
        minutes = (now - self._began) / 60
        left = "" if self._budget is None else f", {max(0.0, self._budget / 60 - minutes):.1f} of the budget left"
        return f"{_counts(counts, len(runs))}; {minutes:.1f} minutes{left}"


def _counts(counts, total: int) -> str:
    states = [f"{counts[state]} {state}" for state in ("running", "waiting", "stopped", "failed") if counts[state]]
    return ", ".join([f"{counts['finished']} of {total} runs finished", *states])


def _summarise(runs) -> int:
    """Prints how each run ended. Returns the exit code."""
    finished = [run for run in runs if run.state == "finished"]
    if finished:
        labels = [run.name for run in finished]
        print(f"\n{report.table([records.read(run.workdir) for run in finished], labels=labels)}\n")
    for run in runs:
        if run.state != "finished":
            print(f"{run.state}: {run.name}" + (f": {run.said}" if run.said else ""))
    counts = collections.Counter(run.state for run in runs)
    print(_counts(counts, len(runs)))
    if counts["failed"]:
        return 1
    return 0 if len(finished) == len(runs) else 75


if __name__ == "__main__":
    common.run(main)
