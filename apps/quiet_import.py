"""Imports modules that need TensorFlow without the lines that TensorFlow prints about the machine at start-up."""

import contextlib
import importlib
import os
import tempfile
from collections.abc import Iterator
from types import ModuleType

from kdzoo.runs import machine

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported: having no GPU is no error


def import_quietly(module: str) -> ModuleType:
    """Returns the module of this name; what native code prints meanwhile is shown only if the import fails.

    Raises:
        InputError: if Keras would run on a backend that is not supported.
    """
    machine.check_backend()
    with _quiet_stderr():
        return importlib.import_module(module)


def import_training() -> ModuleType:
    """Returns `kdzoo.training`; its functions need Keras and a backend, which this call imports."""
    import_quietly("kdzoo.training.train")
    from kdzoo import training

    return training


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Holds back file descriptor 2, which no log level of Python reaches, and prints it if an exception passes."""
    with tempfile.TemporaryFile() as kept:
        stderr = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(stderr, kept.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
