"""SIGTERM and Ctrl-C as requests to stop, so that a command can save its work first."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collects the numbers of SIGTERM and SIGINT (Ctrl-C) as they arrive; a second one interrupts at once.

    Raises KeyboardInterrupt in the main thread at the second signal.
    """
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
