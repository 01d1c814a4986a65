"""What commands of many runs share: flags, each run's process, how far they are."""

import collections
import shutil
import sys
import time
from collections.abc import Callable, Sequence

from absl import flags

from apps import common
from kdzoo.experiments import sweep
from kdzoo.reports import tables
from kdzoo.runs import records


def define_flags() -> None:
    """Flags of how runs are run."""
    flags.DEFINE_integer("jobs", 1, "Runs at a time.", lower_bound=1)
    flags.DEFINE_float(
        "budget_minutes", None, "Stop by then; no run starts that cannot reach a checkpoint.", lower_bound=0
    )
    flags.DEFINE_float("checkpoint_minutes", 5.0, "Longest time between a run's checkpoints.")
    flags.DEFINE_bool("dry_run", False, "Only print what would run.")
    common.define_cache_flags()


def run_all(runs: Sequence[sweep.Run], finished: Callable[[sweep.Run], None] = lambda run: None) -> int:
    """Runs what is not finished, as the flags say, and prints how each ended. Returns the exit code.

    `finished` is called with each run that is, those of before among them.
    """
    args = flags.FLAGS
    budget = None if args.budget_minutes is None else 60 * args.budget_minutes
    display, told = _Display(budget), set()

    def show(runs: Sequence[sweep.Run]) -> None:
        display(runs)
        for run in runs:
            if run.state == "finished" and run.name not in told:
                told.add(run.name)
                finished(run)

    with common.stop_signals() as received:
        sweep.run_all(
            runs,
            command=command,
            jobs=args.jobs,
            budget_seconds=budget,
            checkpoint_seconds=60 * args.checkpoint_minutes,
            show=show,
            stopping=lambda: bool(received),
        )
    return _summarise(runs)


def command(run: sweep.Run) -> list[str]:
    """The command that makes this run."""
    args = flags.FLAGS
    cache = [f"--{name}={args[name].value}" for name in ("teacher_cache", "cache_gb") if args[name].present]
    return [
        sys.executable,
        "-m",
        *common.command_line(run.config, run.workdir),
        f"--checkpoint_minutes={args.checkpoint_minutes}",
        *(cache if run.config.teachers else ()),
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
        print(f"\n{tables.table([records.read(run.workdir) for run in finished], labels=labels)}\n")
    for run in runs:
        if run.state != "finished":
            print(f"{run.state}: {run.name}" + (f": {run.said}" if run.said else ""))
    counts = collections.Counter(run.state for run in runs)
    print(_counts(counts, len(runs)))
    if counts["failed"]:
        return 1
    return 0 if len(finished) == len(runs) else 75
