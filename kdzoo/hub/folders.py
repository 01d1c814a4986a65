"""The folders on this machine that hold published models and downloads."""

import os
import pathlib

from kdzoo.user_folders import cache_folder as cache_folder
from kdzoo.user_folders import folder_in
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
    home = folder_in("KDZOO_HOME")
    in_checkout = CHECKOUT.with_name("setup.py").exists()
    return [*([home] if home else []), *([CHECKOUT] if in_checkout else [])]
