"""The folders in which published models lie on this machine."""

import os
import pathlib
from typing import TYPE_CHECKING

from zoo import InputError

if TYPE_CHECKING:
    pass

CHECKOUT = pathlib.Path(__file__).parents[2] / "saved_models"


def home(path: str | os.PathLike | None = None) -> pathlib.Path:
    """Folder to publish in: `path`, or else the first that `load` looks in.

    Raises:
        InputError: if there is none.
    """
    if roots := folders_of_models(path):
        return roots[0]
    raise InputError("A folder of models must be given, or be named by KDZOO_HOME, outside a checkout. Received: none")


def folders_of_models(path: str | os.PathLike | None) -> list[pathlib.Path]:
    """Folders of models on this machine."""
    if path is not None:
        return [pathlib.Path(path)]
    named = os.environ.get("KDZOO_HOME")
    in_checkout = CHECKOUT.with_name("setup.py").exists()
    return [*([pathlib.Path(named).expanduser()] if named else []), *([CHECKOUT] if in_checkout else [])]
