"""Evaluates command lines of one command, each in a process forked from this one, as far as a backend is needed.

It reads one JSON list of words a line, and writes one JSON list a line: exit code, standard output, standard error. The
exit code is 99 once the command imports Keras or Matplotlib: then it has accepted its flags.
"""

import importlib
import importlib.abc
import json
import os
import pathlib
import resource
import signal
import sys
import traceback
from typing import Any, NoReturn

NEEDS_A_BACKEND = 99
SECONDS = 60
BACKENDS = ("keras", "tensorflow", "jax", "keras_tuner", "matplotlib")


class _Stop(importlib.abc.MetaPathFinder):
    """Ends the process at the import of a backend."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:
        if fullname in BACKENDS:
            _end(NEEDS_A_BACKEND)


def _end(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _run(module: Any, words: list[str]) -> NoReturn:
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), number)
    signal.alarm(SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))
    sys.meta_path.insert(0, _Stop())
    sys.argv = [str(module.__file__), *words]
    code: Any = 1
    try:
        module.command.run(module.main)
    except SystemExit as exit_:
        code = exit_.code
    except BaseException:
        traceback.print_exc()
    _end(code if isinstance(code, int) else 0 if code is None else 1)


def main() -> None:
    module = importlib.import_module(f"apps.{sys.argv[1]}")
    for warm in sys.argv[2:]:  # modules that the command imports when it runs
        importlib.import_module(warm)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _run(module, json.loads(line))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        texts = [pathlib.Path(name).read_text(errors="backslashreplace") for name in ("stdout", "stderr")]
        print(json.dumps([code, *texts]), flush=True)


if __name__ == "__main__":
    main()
