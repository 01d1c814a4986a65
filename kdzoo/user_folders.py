"""Folders on this machine that environment variables name."""

import os
import pathlib
import sys

from kdzoo import files
from zoo import InputError


def cache_folder() -> pathlib.Path:
    """Folder of downloads, teacher outputs and indices of pictures: $KDZOO_CACHE, or kdzoo in the user's cache folder.

    Raises:
        InputError: if no folder can have the path in KDZOO_CACHE.
    """
    if home := folder_in("KDZOO_CACHE"):
        return home
    default = pathlib.Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or default) / "kdzoo"


def folder_in(variable: str) -> pathlib.Path | None:
    """Returns the folder that an environment variable names, or None. ~ and ~USER stand for home directories.

    Raises:
        InputError: if no folder can have this path.
    """
    text = os.environ.get(variable)
    if not text:
        return None
    files.check_directory(text, name=variable)
    try:
        return pathlib.Path(text).expanduser()
    except RuntimeError as error:  # of an unknown user
        raise InputError(f"{variable} must name a folder, for example ~/models. Received: {text}: {error}") from None
