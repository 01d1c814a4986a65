"""Drops the lines that TensorFlow prints about the machine when it starts. All its other lines pass.

They come from native code, some of them before any log level counts. So while TensorFlow is imported and finds its
devices, file descriptor 2 leads through a process of its own, `pass_on`. What TensorFlow writes is shown even if the
importing process is killed meanwhile.
"""

import contextlib
import importlib.abc
import importlib.machinery
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType

from apps import stderr_filter

LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"  # 0: all, 1: no information, 2: no warnings, 3: no errors
FLUSH_SECONDS = 5.0  # a child that was started meanwhile may hold the descriptor for longer
_MESSAGES = (
    rb"oneDNN custom operations are on\.",
    rb"Could not find cuda drivers on your machine, GPU will not be used\.",
    rb"failed call to cuInit: .*(?:\bCUDA_ERROR_NO_DEVICE\b|UNKNOWN ERROR \(303\))",  # 303: no driver
    rb"This TensorFlow binary is optimized to use available CPU instructions",
    rb"Unable to register cu(?:FFT|DNN|BLAS) factory: Attempting to register factory for plugin",
    rb"computation placer already registered\.",
    rb"TF-TRT Warning: Could not find TensorRT",
)
STARTUP_LINE = re.compile(
    rb"(?:WARNING: All log messages before absl::InitializeLog\(\) is called are written to STDERR"
    rb"|To enable the following instructions: .* rebuild TensorFlow with the appropriate compiler flags\."
    rb"|(?:[IWE]\d{4} |\d{4}-\d\d-\d\d [\d:.]+: [IWE] )[^\]\n]*\] (?:" + rb"|".join(_MESSAGES) + rb").*)\n?"
)


def drop_startup_lines() -> None:
    """Sets TensorFlow's log level to 1 if it is not set, and filters its import, whenever that comes.

    With the log level 0, every line is shown.
    """
    if os.environ.setdefault(LOG_LEVEL, "1") != "0":
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != "tensorflow":
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):  # no stderr, or no more processes: then every line is shown
                stack.enter_context(_filtered_stderr())
            super().exec_module(module)
            module.config.list_physical_devices()


@contextlib.contextmanager
def _filtered_stderr() -> Iterator[None]:
    stderr = os.dup(2)
    try:
        process = stderr_filter.start("tensorflow_log")
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(FLUSH_SECONDS)
    finally:
        os.close(stderr)


def pass_on() -> None:
    """Copies stdin to stderr, line by line, but for the start-up lines."""
    for line in sys.stdin.buffer:
        sys.stderr.buffer.write(STARTUP_LINE.sub(b"", line))  # what the line began with is of another writer
        sys.stderr.buffer.flush()
