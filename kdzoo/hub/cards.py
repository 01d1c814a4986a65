"""Cards of published models: read, checked against their own digest, and the files checked against them."""

import hashlib
import json
import os
import pathlib
import re
from typing import TYPE_CHECKING, Any

from zoo import InputError

if TYPE_CHECKING:
    pass

CARD = "card.json"
VERSION = "1"
SAVED_MODEL = f"{VERSION}/saved_model.pb"
VARIABLES = f"{VERSION}/variables/variables.data-00000-of-00001"
INDEX = f"{VERSION}/variables/variables.index"
FILES = (SAVED_MODEL, VARIABLES, INDEX)
SAMPLE = 1000  # first test images, whose error alone a card holds too: a check that takes seconds
CARD_BYTES = 2**20  # more is no card


def read_card(directory: str | os.PathLike, name: str | None = None) -> dict[str, Any]:
    """The card of the published model in a directory.

    Args:
        directory: that holds card.json.
        name: what the model must be named; None: whatever its card says.

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
    """A card's content, checked against its own digest, so that what it says of the files can be relied on.

    Raises:
        InputError: if it is none, was edited, or is another model's.
    """
    reason = None
    try:
        card = json.loads(content) if len(content) <= CARD_BYTES else None
        if not isinstance(card, dict) or card.get("sha256") != digest(card):
            reason = "not a card, or not as it was published"
        elif name is not None and card["name"] != name:
            reason = f"the card of {card['name']}"
        elif set(card["files"]) != set(FILES):
            reason = f"files other than {', '.join(FILES)}"
        elif not all(_is_expectation(expected) for expected in card["files"].values()):
            reason = "files without size and SHA-256"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"not a card: {error}"
    if reason:
        raise InputError(f"A published model must hold its card, as published. Received: {spec}: {reason}")
    return card


def _is_expectation(expected: Any) -> bool:
    """Whether this is what `expect` gives, so that it may be counted with and be part of a file's name."""
    return (
        expected.keys() == {"bytes", "sha256"}
        and type(expected["bytes"]) is int
        and expected["bytes"] >= 0
        and bool(re.fullmatch("[0-9a-f]{64}", expected["sha256"]))
    )


def digest(card: dict[str, Any]) -> str:
    """SHA-256 of what a card says, but for this digest itself."""
    said = {key: value for key, value in card.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def count_bytes(card: dict[str, Any]) -> int:
    """Size of a published model's files."""
    return sum(expected["bytes"] for expected in card["files"].values())


def verify(directory: pathlib.Path, card: dict[str, Any]) -> dict[str, bytes]:
    """The content of every file of a published model, each as its card says.

    Raises:
        InputError: if one is missing, or not what was published.
    """
    contents = {}
    for name, expected in card["files"].items():
        try:
            contents[name] = (directory / name).read_bytes()
        except OSError as error:
            raise InputError(
                f"A published model must hold the files of its card. Received: {directory / name}: {error.strerror}"
            ) from None
        check_content(contents[name], expected, spec=str(directory / name))
    return contents


def expect(content: bytes) -> dict[str, Any]:
    """What a card says of a file with this content."""
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def check_content(content: bytes, expected: dict[str, Any], *, spec: str) -> None:
    """Raises InputError unless this is the content a card expects of a file."""
    received = expect(content)
    if received != expected:
        raise InputError(
            f"A published model's files must be as its card says: {expected['bytes']} bytes of SHA-256"
            f" {expected['sha256'][:12]}. Received: {spec}: {received['bytes']} bytes of {received['sha256'][:12]}"
        )
