"""A process whose output goes to a log, but for the lines that are for the program that started it."""

import contextlib
import os
import pathlib
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from signal import Signals

from kdzoo.experiments import machine_share

LOGS = "logs"  # folder of the logs, in the directory of a sweep


class LoggedProcess:
    """Starts a process and logs its output.

    Args:
        command: its command.
        log: file that its output is appended to; the directory is created.
        env: environment of the process.
        cores: cores of the process; None for all of them.
        take: called in a thread with each line of standard output; returns whether the log keeps the line.
        cwd: directory of the process; None for this process's own.

    Attributes:
        process: the process.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: pathlib.Path,
        env: Mapping[str, str],
        cores: set[int] | None,
        take: Callable[[str], bool],
        cwd: str | os.PathLike[str] | None = None,
    ) -> None:
        self._log, self._take = log, take
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log_start = log.stat().st_size if log.exists() else 0
        with open(log, "a") as file, machine_share.on_cores(cores):
            # A session of its own: Ctrl-C in the terminal reaches the scheduler, which stops the run.
            self.process = subprocess.Popen(
                command, env=env, cwd=cwd, stdout=subprocess.PIPE, stderr=file, text=True, start_new_session=True
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout  # a pipe, see above
        with open(self._log, "a") as log:
            for line in self.process.stdout:
                if self._take(line):
                    log.write(line)
                    log.flush()

    def has_ended(self) -> bool:
        """Whether it has ended, and all its output is logged."""
        if self.process.poll() is None:
            return False
        self._reader.join()
        return True

    def output(self) -> list[str]:
        """Returns the lines that the log holds from its start on."""
        return self._log.read_bytes()[self._log_start :].decode().strip().splitlines()

    def stop(self, signal: Signals) -> None:
        """Sends it a signal."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal)
