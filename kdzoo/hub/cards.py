"""Cards of published models: read, checked against their own digest, and compared with the model's files."""

import hashlib
import json
import os
import pathlib
from typing import Any

from kdzoo import digests, files, schemas
from kdzoo.models import names
from kdzoo.runs import consistency
from zoo import InputError

CARD = "card.json"
VERSION = "1"
SAVED_MODEL = f"{VERSION}/saved_model.pb"
VARIABLES = f"{VERSION}/variables/variables.data-00000-of-00001"
INDEX = f"{VERSION}/variables/variables.index"
FILES = (SAVED_MODEL, VARIABLES, INDEX)
SAMPLE = 1000  # first test images; a card holds their error too, for a check that takes seconds
CARD_BYTES = 2**20  # a larger file is no card


def read_card(directory: str | os.PathLike[str], name: str | None = None) -> dict[str, Any]:
    """The card of the published model in a directory.

    Args:
        directory: holds card.json.
        name: the model's expected name; None accepts any.

    Raises:
        InputError: if there is no whole, unedited card of that name.
    """
    path = pathlib.Path(directory) / CARD
    try:
        with open(path, "rb") as file:
            return parse_card(file.read(CARD_BYTES + 1), spec=str(path), name=name)
    except OSError as error:
        raise InputError(f"A published model must hold its card. Received: {path}: {error.strerror}") from None


def parse_card(content: bytes, *, spec: str, name: str | None = None) -> dict[str, Any]:
    """A card from its bytes, checked against its own digest, so that its list of files can be trusted.

    Args:
        content: bytes of card.json.
        spec: path or address of the card, for the message of an error.
        name: the model's expected name; None accepts any.

    Raises:
        InputError: if the content is no card, was edited, or is another model's card.
    """
    rule = "A published model must hold its card, as published"
    if len(content) > CARD_BYTES:
        raise InputError(f"{rule}. Received: {spec}: more than {CARD_BYTES} bytes")
    card = files.parse_json(content, spec=spec, rule=rule)
    reason = None
    if card.get("sha256") != digest(card):
        reason = "not a card, or not as it was published"
    else:
        schemas.validate(card, "hub/card.schema.json", spec=spec, rule=rule)
        consistency.check(card, spec=spec, rule=rule)
        consistency.compare(_parts(card), spec=spec, rule=rule)
        if name is not None and card["name"] != name:
            reason = f"the card of {card['name']}"
        elif set(card["files"]) != set(FILES):
            reason = f"files other than {', '.join(FILES)}"
    if reason:
        raise InputError(f"{rule}. Received: {spec}: {reason}")
    return card


def _parts(card: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Returns what a card holds twice: see `consistency.compare`."""
    parsed, one = names.parse_trained(card["name"].rpartition("/")[2]), card["runs"] == 1
    parts = {name: (card[name], getattr(parsed, name)) for name in ("family", "depth", "width")}
    parts |= {"schedule": (card["schedule"], card["config"]["schedule"])}
    if one:
        parts["test_error_last_mean of one run"] = (card["test_error_last_mean"], card["test_error_last"])
    return parts | {"whether test_error_last_std is null": (card["test_error_last_std"] is None, one)}


def write_card(directory: pathlib.Path, card: dict[str, Any]) -> None:
    """Writes a card and its own digest, whole or not at all."""
    card = card | {"sha256": digest(card)}
    files.write_atomically(directory / CARD, f"{json.dumps(card, indent=1)}\n".encode())


def digest(card: dict[str, Any]) -> str:
    """SHA-256 of a card's fields, except this digest itself."""
    fields = {key: value for key, value in card.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def count_bytes(card: dict[str, Any]) -> int:
    """Size of a published model's files, in bytes."""
    return sum(entry["bytes"] for entry in card["files"].values())


def verify(directory: pathlib.Path, card: dict[str, Any], *, version: str = VERSION) -> dict[str, bytes]:
    """Reads every file of a published model and compares it with the card.

    Args:
        directory: of the published model.
        card: names the files.
        version: name of the folder that holds the files.

    Returns:
        The content of each file, by its path in the card.

    Raises:
        InputError: if a file is missing, or differs from the published one.
    """
    contents = {}
    for name, entry in card["files"].items():
        path = directory / version / name.removeprefix(f"{VERSION}/")
        try:
            contents[name] = path.read_bytes()
        except OSError as error:
            raise InputError(
                f"A published model must hold the files of its card. Received: {path}: {error.strerror}"
            ) from None
        check_content(contents[name], entry, spec=str(path))
    return contents


def check_content(content: bytes, expected: dict[str, Any], *, spec: str) -> None:
    """Raises InputError if a file's content does not match its entry in the card.

    Args:
        content: of the file.
        expected: the card's entry, see `kdzoo.digests.file_entry`.
        spec: path or address of the file, for the message.
    """
    digests.check_content(content, expected, rule="A published model's files must match its card", spec=spec)
