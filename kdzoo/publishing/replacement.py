"""A directory replaced by a new one, whole or not at all."""

import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterator


@contextlib.contextmanager
def replacing(directory: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a new, empty directory, which becomes `directory` at the end if nothing was raised.

    Until then its name begins with a dot, so that neither `load` nor a server finds it if the process is killed.
    """
    partial, aside = (directory.with_name(f".{directory.name}.{suffix}") for suffix in ("partial", "replaced"))
    if aside.exists() and not directory.exists():  # killed between the two renames below
        os.replace(aside, directory)
    for left in (partial, aside):
        shutil.rmtree(left, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        if directory.exists():
            os.replace(directory, aside)
        os.replace(partial, directory)
    finally:
        for left in (partial, aside):
            shutil.rmtree(left, ignore_errors=True)
