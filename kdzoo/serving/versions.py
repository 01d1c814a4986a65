"""The versions of a published model: folders named by a number, in TensorFlow Serving's layout."""

import pathlib
from typing import Any

from kdzoo.hub import cards
from zoo import InputError

FILE = pathlib.PurePath(cards.SAVED_MODEL).name
Contents = tuple[tuple[str, int, int], ...]


def find_versions(directory: pathlib.Path) -> list[int]:
    """Lists the versions in a published model's directory, the newest, which has the highest number, first."""
    try:
        names = [path.parent.name for path in directory.glob(f"*/{FILE}")]
    except OSError:  # the directory is being replaced
        return []
    return sorted((int(name) for name in names if name.isascii() and name.isdecimal() and name[0] != "0"), reverse=True)


def read_definition(directory: pathlib.Path, version: int, card: dict[str, Any]) -> bytes:
    """The content of a version's saved_model.pb. Its files are verified first, if there is a card of them.

    Args:
        directory: of the published model.
        version: number of the folder.
        card: of the model, which describes version 1. A later version may have a card of its own in its folder.

    Raises:
        InputError: if a file is missing or differs from its card.
    """
    folder = directory / str(version)
    if folder.name != cards.VERSION:
        if not (folder / cards.CARD).exists():
            return _read(folder / FILE)
        card = cards.read_card(folder, card["name"])
    return cards.verify(directory, card, version=folder.name)[cards.SAVED_MODEL]


def list_contents(folder: pathlib.Path) -> Contents:
    """Name, size and time of change of each file in a folder: these differ while it is being copied."""
    found = []
    try:
        for path in folder.rglob("*"):
            status = path.stat()
            found.append((path.relative_to(folder).as_posix(), status.st_size, status.st_mtime_ns))
    except OSError:  # it is being removed
        return ()
    return tuple(sorted(found))


def _read(path: pathlib.Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"A version must hold its SavedModel. Received: {path}: {error.strerror}") from None
