"""Shows how far many runs are: a block on a terminal, lines elsewhere; and how each ended."""

import collections
import shutil
import sys
import time
from collections.abc import Mapping, Sequence

from kdzoo.experiments.grid import Run
from kdzoo.reports import tables
from kdzoo.runs import records


class Display:
    """Prints the state of runs whenever it is called with them.

    On a terminal it redraws one block, at most once a second unless a state changed. Elsewhere it prints a line for
    each change, and a summary every minute.
    """

    def __init__(self, budget_seconds: float | None):
        self._began, self._budget = time.monotonic(), budget_seconds
        self._states: dict[str, str] = {}
        self._drawn, self._last = 0, 0.0

    def __call__(self, runs: Sequence[Run]) -> None:
        now, terminal = time.monotonic(), sys.stdout.isatty()
        changed = [run for run in runs if self._states.get(run.name, "waiting") != run.state]
        self._states = {run.name: run.state for run in runs}
        if not changed and now - self._last < (1 if terminal else 60):
            return
        self._last = now
        lines = [f"{run.state:8} {run.name}" + (f": {run.detail}" if run.detail else "") for run in changed]
        running = [f"  {run.name}: {run.detail}" for run in runs if run.state == "running"]
        if terminal:
            erase = f"\x1b[{self._drawn}A\x1b[J" if self._drawn else ""
            block = [self._total(runs, now), *running]
            width = shutil.get_terminal_size().columns - 1
            print(erase + "\n".join([*lines, *(line[:width] for line in block)]), flush=True)
            self._drawn = len(block)
        else:
            print("\n".join([*lines, *([] if changed else [self._total(runs, now), *running])]), flush=True)

    def _total(self, runs: Sequence[Run], now: float) -> str:
        counts = collections.Counter(run.state for run in runs)
        minutes = (now - self._began) / 60
        left = "" if self._budget is None else f", {max(0.0, self._budget / 60 - minutes):.1f} of the budget left"
        return f"{_counts(counts, len(runs))}; {minutes:.1f} minutes{left}"


def summarise(runs: Sequence[Run]) -> int:
    """Prints how each run ended. Returns the exit code: 0 if all are finished, 1 if some failed, 75 otherwise."""
    finished = [run for run in runs if run.state == "finished"]
    if finished:
        labels = [run.name for run in finished]
        print(f"\n{tables.run_table([records.read(run.workdir) for run in finished], labels=labels)}\n")
    for run in runs:
        if run.state != "finished":
            print(f"{run.state}: {run.name}" + (f": {run.detail}" if run.detail else ""))
    counts = collections.Counter(run.state for run in runs)
    print(_counts(counts, len(runs)))
    if counts["failed"]:
        return 1
    return 0 if len(finished) == len(runs) else 75


def _counts(counts: Mapping[str, int], total: int) -> str:
    states = [
        f"{counts[state]} {state}" for state in ("running", "queued", "waiting", "stopped", "failed") if counts[state]
    ]
    return ", ".join([f"{counts['finished']} of {total} runs finished", *states])
