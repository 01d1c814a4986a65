"""How processes are stopped: first with a request to save and end, later by force."""

import signal
import time

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
