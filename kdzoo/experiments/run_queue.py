"""Which run of a sweep can start next: it is not finished, its teachers are, and the time suffices."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from kdzoo.experiments import locks
from kdzoo.experiments.grid import Run
from kdzoo.runs import records
from kdzoo.teachers import resolve
from kdzoo.training import finished
from zoo import InputError

# A run is taken to need this time to its first checkpoint, beside the time between two, until one was measured.
START_SECONDS = 60.0
IN_USE = "in use by another process"


class RunQueue:
    """The runs of a sweep in their order. It reads everything from their directories and keeps no file of its own.

    Args:
        runs: the runs; the queue sets `state` and `detail` of those that cannot start.
        budget_seconds: time for the sweep; None for any time.
        checkpoint_seconds: longest time between a run's checkpoints.
    """

    def __init__(self, runs: Sequence[Run], *, budget_seconds: float | None, checkpoint_seconds: float) -> None:
        self._runs = runs
        self._named = {run.name: run for run in runs}
        self._looked_up: set[str] = set()
        self._deadline = None if budget_seconds is None else time.monotonic() + budget_seconds
        self._longest = START_SECONDS + checkpoint_seconds
        self._first_checkpoint: dict[tuple[Any, ...], float] = {}

    def is_over_budget(self) -> bool:
        """Whether the time is over."""
        return self._deadline is not None and time.monotonic() > self._deadline

    def note_first_checkpoint(self, run: Run, seconds: float) -> None:
        """Records how long a run took to its first checkpoint; similar runs are taken to need as long."""
        self._first_checkpoint[_kind(run)] = min(seconds, self._longest)

    def ready(self) -> Iterator[Run]:
        """Yields the runs that can start now, in order; each must be started at once. Marks runs that finished before.

        A run's directory is looked up at first, and again once its teachers are finished: a look may cross a network.
        """
        for run in self._runs:
            if run.state != "waiting":
                continue
            unfinished = [name for name in run.needs if self._named[name].state != "finished"]
            if unfinished and run.name in self._looked_up:
                run.detail = f"needs {', '.join(unfinished)}"
                continue
            self._looked_up.add(run.name)
            seconds = self._first_checkpoint.get(_kind(run), self._longest)
            if (run.workdir / records.RECORD).exists() and not _has_server(run):
                mark_finished(run)
            elif unfinished:
                run.detail = f"needs {', '.join(unfinished)}"
            elif self._deadline is not None and time.monotonic() + seconds > self._deadline:
                run.detail = f"to its first checkpoint it may take {seconds / 60:.1f} minutes"
            elif locks.is_locked(run.workdir):
                run.detail = IN_USE
            else:
                yield run

    def waits_for_others(self) -> bool:
        """Whether another process alone keeps some run from starting."""
        return any(run.state == "waiting" and run.detail == IN_USE for run in self._runs)


def _has_server(run: Run) -> bool:
    """Whether a server teaches the run. Then its own process compares it: that needs the outputs of the teacher."""
    return any(teacher.startswith(resolve.GRPC) for teacher in run.config.teachers)


def _kind(run: Run) -> tuple[Any, ...]:
    """Runs of one kind take about as long."""
    return run.config.model, run.config.teachers, run.config.batch_size, run.config.dtype_policy


def mark_finished(run: Run) -> None:
    """Marks a run as finished if its record has this configuration, else as failed."""
    try:
        record = records.read(run.workdir)
        changed = finished.changes(run.config, record)
        finished.check_kept(run.config, run.workdir, done=len(record["history"]))
    except InputError as error:
        run.state, run.detail = "failed", str(error)
        return
    # The teachers' paths do not matter: the directory of a sweep may have been moved.
    run.state = "failed" if changed else "finished"
    run.detail = f"finished with another configuration: {'; '.join(changed)}" if changed else "finished before"
