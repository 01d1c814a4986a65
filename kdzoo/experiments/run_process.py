"""The process of one run: its start, its progress and its end."""

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Sequence
from signal import SIGTERM, Signals

from kdzoo.experiments import locks, machine_share
from kdzoo.experiments.grid import Run
from kdzoo.experiments.run_queue import IN_USE
from kdzoo.runs import records

LOGS = "logs"


class RunProcess:
    """Starts a run's process, and keeps the run's `state` and `detail` up to date.

    Args:
        run: the run. The log of the process is LOGS/NAME.txt in the directory of the sweep.
        command: its command, which prints its progress by `kdzoo.runs.progress.json_lines`.
        env: environment of the process.
        cores: cores of the process; None for all of them.

    Attributes:
        first_checkpoint: seconds until the run's first checkpoint; None before.
        process: the process.
    """

    def __init__(self, run: Run, command: Sequence[str], env: dict[str, str], cores: set[int] | None) -> None:
        self.run = run
        self.first_checkpoint: float | None = None
        self._stop_requested = False
        self._started = time.monotonic()
        logs = run.workdir.parent / LOGS
        logs.mkdir(parents=True, exist_ok=True)
        self._log = logs / f"{run.name}.txt"
        self._log_start = self._log.stat().st_size if self._log.exists() else 0
        with open(self._log, "a") as log, machine_share.on_cores(cores):
            # A session of its own: Ctrl-C in the terminal reaches the sweep, which stops the run.
            self.process = subprocess.Popen(
                command, env=env, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
            )
        run.state, run.detail = "running", "starting"
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout  # a pipe, see above
        with open(self._log, "a") as log:
            for line in self.process.stdout:
                if self._is_to_log(line):
                    log.write(line)
                    log.flush()

    def _is_to_log(self, line: str) -> bool:
        """Takes progress from a line of output. Returns whether the log keeps the line: all but progress by steps."""
        try:
            progress = json.loads(line)
            epoch, epochs, row = progress["epoch"], progress["epochs"], progress["row"]
        except (ValueError, TypeError, KeyError):
            return True
        if row:
            self.first_checkpoint = self.first_checkpoint or time.monotonic() - self._started
            self.run.detail = f"epoch {epoch}/{epochs}, test error {row['test_error']:.2f} %"
            return True
        if epoch < epochs:
            self.run.detail = f"epoch {epoch + 1}/{epochs}, step {progress['step']}/{progress['steps']}"
        return False

    def has_ended(self) -> bool:
        """Whether it has ended; if so, sets the run's state."""
        if self.process.poll() is None:
            return False
        self._reader.join()
        run = self.run
        finished = (run.workdir / records.RECORD).exists()
        if finished and not self.process.returncode:
            run.state = "finished"
        elif self._stop_requested or self.process.returncode == 128 + SIGTERM:
            run.state = "stopped"
        else:
            lines = self._log.read_bytes()[self._log_start :].decode().strip().splitlines() or ["no output"]
            run.state = "failed"
            run.detail = f"exit code {self.process.returncode}: {lines[-1]} ({self._log})"
            # Another sweep was first while this one started. Its run may have ended since; it writes into the same log.
            if locks.is_locked(run.workdir) or any(IN_USE in line for line in lines):
                run.state, run.detail = "waiting", IN_USE
        return True

    def stop(self, signal: Signals) -> None:
        """Sends a signal that stops the run."""
        self._stop_requested = True
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal)
