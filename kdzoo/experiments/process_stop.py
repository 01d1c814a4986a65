"""How processes are stopped: first with a request to save and end, later by force."""

import contextlib
import signal
import subprocess
import time
from collections.abc import Sequence
from typing import Any

KILL_SECONDS = 120.0  # from the request to the kill


class StopSignals:
    """The signals for a group of processes that must stop: SIGTERM once, SIGKILL after `KILL_SECONDS`."""

    def __init__(self) -> None:
        self._requested: float | None = None

    def next(self) -> signal.Signals | None:
        """Returns the signal to send to every process now, or None."""
        if self._requested is None:
            self._requested = time.monotonic()
            return signal.SIGTERM
        return signal.SIGKILL if time.monotonic() - self._requested > KILL_SECONDS else None


def end(processes: Sequence[subprocess.Popen[Any]], *, kill_seconds: float = KILL_SECONDS) -> None:
    """Ends processes and waits for them: with SIGTERM; with SIGKILL after `kill_seconds`, or if this is interrupted."""
    try:
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + kill_seconds
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()
