"""The folders on this machine that hold published models and downloads."""

import os
import pathlib
import sys

from kdzoo import files
from zoo import InputError

CHECKOUT = pathlib.Path(__file__).parents[2] / "saved_models"


def publishing_folder(path: str | os.PathLike[str] | None = None) -> pathlib.Path:
    """Folder to publish in: `path`, or else the first that `load` searches.

    Raises:
        InputError: if there is none.
    """
    if roots := model_folders(path):
        return roots[0]
    raise InputError("A folder of models must be given, or be named by KDZOO_HOME, outside a checkout. Received: none")


def model_folders(path: str | os.PathLike[str] | None) -> list[pathlib.Path]:
    """Folders to search for models: `path` alone, or else $KDZOO_HOME and the checkout's saved_models/.

    Raises:
        InputError: if no folder can have the path in KDZOO_HOME.
    """
    if path is not None:
        return [pathlib.Path(path)]
    home = _named_by("KDZOO_HOME")
    in_checkout = CHECKOUT.with_name("setup.py").exists()
    return [*([home] if home else []), *([CHECKOUT] if in_checkout else [])]


def cache_folder() -> pathlib.Path:
    """Folder of downloads and teacher outputs: $KDZOO_CACHE, or kdzoo in the user's cache folder.

    Raises:
        InputError: if no folder can have the path in KDZOO_CACHE.
    """
    if home := _named_by("KDZOO_CACHE"):
        return home
    default = pathlib.Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or default) / "kdzoo"


def _named_by(variable: str) -> pathlib.Path | None:
    """Returns the folder that an environment variable names, or None. ~ and ~USER stand for home directories."""
    text = os.environ.get(variable)
    if not text:
        return None
    files.check_directory(text, name=variable)
    try:
        return pathlib.Path(text).expanduser()
    except RuntimeError as error:  # of an unknown user
        raise InputError(f"{variable} must name a folder, for example ~/models. Received: {text}: {error}") from None
