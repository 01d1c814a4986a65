"""Ends a command that is one of several processes of a run: at once, with one line that gives the reason.

JAX ends a process by SIGABRT, after many lines, when another one of the run is gone, and a process that exits waits
for the others. Here such a process ends as soon as it has an error, and the lines of JAX become one.
"""

import contextlib
import faulthandler
import os
import re
import sys
import traceback
from collections.abc import Iterator
from typing import NoReturn

from apps import stderr_filter
from zoo import InputError

LOST = 75  # exit code, EX_TEMPFAIL: the same command may succeed
_NATIVE = re.compile(rb"F\d{4} |E\d{4} [\d:.]+ +\d+ coordination_\w+\.\w+:\d+\]")
_FATAL = re.compile(rb"JAX distributed service detected fatal errors")
_SILENT = re.compile(rb"Task (\d+) heartbeat timeout|stopped sending heartbeats\):\s*(\d+)")


@contextlib.contextmanager
def shortened() -> Iterator[None]:
    """Within it, errors end the process as described above if it is one of several processes of a run."""
    from kdzoo.training import processes

    with contextlib.suppress(OSError):  # no stderr, or no more processes: then every line is shown
        stderr_filter.start("process_errors", processes.LOST_RULE)
    faulthandler.disable()  # absl's: it prints the stack of each thread when JAX ends the process
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if not processes.is_joined():
            raise
        if isinstance(error, KeyboardInterrupt):
            _leave(130)
        if isinstance(error, (InputError, processes.ProcessLost)):
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
            _leave(LOST if isinstance(error, processes.ProcessLost) else 2)
        traceback.print_exc()
        _leave(1)


def _leave(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def pass_on(rule: str) -> None:
    """Copies stdin to stderr. Where JAX ends the process for the loss of another one, it prints one line instead."""
    held: list[bytes] = []  # from the first line on that JAX may end the process with
    explained = False
    for line in sys.stdin.buffer:
        if line.startswith(b"error: "):
            explained = True
        elif held or _NATIVE.match(line):
            held.append(line)
            continue
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
    content = b"".join(held)
    if explained:
        return
    if _FATAL.search(content):
        found = _SILENT.search(content)
        lost = f"process {int(found[1] or found[2])} sent no heartbeat" if found else "process 0 cannot be reached"
        content = f"error: {rule} Received: {lost}\n".encode()
    sys.stderr.buffer.write(content)
