"""Executes runs as processes on this machine, each with its share of it."""

import time
from collections.abc import Sequence
from signal import Signals

from kdzoo.experiments import machine_share, process_stop
from kdzoo.experiments.executors import Execution
from kdzoo.experiments.grid import Run
from kdzoo.experiments.logged_process import LOGS, LoggedProcess
from kdzoo.runs import progress


class LocalProcesses:
    """An executor: processes on this machine.

    Args:
        jobs: processes at a time, at least 1. Each has a share of the GPUs, or without a GPU of the cores.
    """

    def __init__(self, jobs: int) -> None:
        self._slots: list[RunProcess | None] = [None] * jobs

    def refresh(self) -> None:
        """Does nothing: a thread of each process takes its news."""

    def has_room(self) -> bool:
        """Whether it takes another run now."""
        return any(_is_free(process) for process in self._slots)

    def start(self, run: Run, command: Sequence[str]) -> "RunProcess":
        """Starts a run in the first free share of the machine: see `executors.Executor`."""
        slot = next(slot for slot, process in enumerate(self._slots) if _is_free(process))
        process = RunProcess(run, command, *machine_share.share(slot, jobs=len(self._slots)))
        self._slots[slot] = process
        return process

    def end(self) -> None:
        """Ends all processes that are still running."""
        process_stop.end([process.logged.process for process in self._slots if process])


class RunProcess(Execution):
    """The process of one run.

    Args:
        run: the run.
        command: its command.
        env: environment of the process.
        cores: cores of the process; None for all of them.
    """

    def __init__(self, run: Run, command: Sequence[str], env: dict[str, str], cores: set[int] | None) -> None:
        super().__init__(run)
        self._started = time.monotonic()
        self._log = run.workdir.parent / LOGS / f"{run.name}.txt"
        run.state, run.detail = "running", "starting"
        self.logged = LoggedProcess(command, log=self._log, env=env, cores=cores, take=self._take)

    def _take(self, line: str) -> bool:
        """Takes progress from a line of output. Returns whether the log keeps the line: all but progress by steps."""
        found = progress.parse(line)
        if found:
            self._note(found, time.monotonic() - self._started)
        return not found or bool(found.row)

    def has_ended(self) -> bool:
        """Whether it has ended; if so, sets the run's state."""
        if not self.logged.has_ended():
            return False
        self._end(self.logged.process.returncode, self.logged.output(), log=self._log)
        return True

    def stop(self, signal: Signals) -> None:
        """Sends a signal that stops the run."""
        self._stop_requested = True
        self.logged.stop(signal)


def _is_free(process: RunProcess | None) -> bool:
    return process is None or process.logged.process.poll() is not None
