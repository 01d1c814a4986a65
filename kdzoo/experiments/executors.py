"""What a scheduler needs of the machines that execute its runs: this one, or those of a cluster."""

import pathlib
from collections.abc import Sequence
from signal import SIGTERM, Signals
from typing import Protocol

from kdzoo.experiments import locks
from kdzoo.experiments.grid import Run
from kdzoo.experiments.run_queue import IN_USE
from kdzoo.runs import records
from kdzoo.runs.progress import Progress


class Execution:
    """One run under way. It keeps the run's `state` and `detail` up to date.

    Args:
        run: the run.

    Attributes:
        first_checkpoint: seconds until the run's first checkpoint; None before.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.first_checkpoint: float | None = None
        self._stop_requested = False

    def has_ended(self) -> bool:
        """Whether it has ended; if so, sets the run's state."""
        raise NotImplementedError

    def stop(self, signal: Signals) -> None:
        """Requests that the run saves and ends: SIGTERM; or ends it: SIGKILL."""
        raise NotImplementedError

    def _note(self, progress: Progress, seconds: float) -> None:
        """Takes progress that the run reported so many seconds after its start."""
        if progress.row:
            self.first_checkpoint = self.first_checkpoint or seconds
            self.run.detail = f"epoch {progress.epoch}/{progress.epochs}, test error {progress.row['test_error']:.2f} %"
        elif progress.epoch < progress.epochs:
            self.run.detail = f"epoch {progress.epoch + 1}/{progress.epochs}, step {progress.step}/{progress.steps}"

    def _end(self, code: int, output: Sequence[str], *, log: pathlib.Path) -> None:
        """Sets the state of a run whose process has ended.

        Args:
            code: its exit code.
            output: lines of its log.
            log: path of the log.
        """
        run = self.run
        if (run.workdir / records.RECORD).exists() and not code:
            run.state = "finished"
        elif self._stop_requested or code == 128 + SIGTERM:
            run.state = "stopped"
        elif locks.is_locked(run.workdir) or any(IN_USE in line for line in output):
            # Another sweep was first while this one started. Its run may have ended since; it writes into the same log.
            run.state, run.detail = "waiting", IN_USE
        else:
            run.state = "failed"
            run.detail = f"exit code {code}: {output[-1] if output else 'no output'} ({log})"


class Executor(Protocol):
    """Executes runs, several at a time."""

    def refresh(self) -> None:
        """Takes news of the runs under way; called often."""

    def has_room(self) -> bool:
        """Whether it takes another run now."""

    def start(self, run: Run, command: Sequence[str]) -> Execution:
        """Starts a run.

        Args:
            run: the run. Its log is logs/NAME.txt in the directory of the sweep.
            command: of the run. It prints `kdzoo.runs.progress.json_lines`, resumes, and saves on SIGTERM.
        """

    def end(self) -> None:
        """Ends all runs that are still under way, and waits for them: they save before."""
