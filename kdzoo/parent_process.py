"""Ends a process once the one that started it has ended: one that is killed cannot end its children itself."""

import os
import threading
import time

PARENT = "KDZOO_PARENT"  # process ID of the process that started this one
POLL_SECONDS = 0.5


def environment() -> dict[str, str]:
    """Returns the environment variable for processes that are to end with this one: they call `end_with_parent`."""
    return {PARENT: str(os.getpid())}


def end_with_parent() -> None:
    """Ends this process, as a kill does, soon after the one that started it, if that set `environment`."""
    if parent := os.environ.get(PARENT):
        end_with(int(parent))


def end_with(parent: int) -> None:
    """Ends this process, as a kill does, soon after its parent, whose process ID is given, has ended."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
