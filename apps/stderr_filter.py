"""Leads file descriptor 2 through a process of its own, which passes on or replaces what native code writes there."""

import os
import pathlib
import subprocess
import sys

_PASS_ON = "import sys; sys.path.insert(0, sys.argv[1]); from apps import {module}; {module}.pass_on(*sys.argv[2:])"


def start(module: str, *words: str) -> subprocess.Popen[bytes]:
    """Has `apps.MODULE.pass_on(*words)` of a new process copy to stderr what is written to descriptor 2 from now on.

    The process ends with the last writer: with this process, even if that is killed, or once descriptor 2 is another.

    Raises:
        OSError: if there is no stderr, or no process can be started.
    """
    process = subprocess.Popen(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            _PASS_ON.format(module=module),
            str(pathlib.Path(__file__).parents[1]),
            *words,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # signals to the process group do not end it
    )
    assert process.stdin  # a pipe, see above
    os.dup2(process.stdin.fileno(), 2)
    process.stdin.close()
    return process
