"""SHA-256 of files: recorded when a file is written, compared when it is read."""

import hashlib
from collections.abc import Mapping
from typing import Any

from zoo import InputError


def file_entry(content: bytes) -> dict[str, Any]:
    """What a record or card keeps of a file with this content: "bytes", its size, and "sha256"."""
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def check_content(content: bytes, expected: Mapping[str, Any], *, rule: str, spec: str) -> None:
    """Raises InputError if a file's content is not the one that was written.

    Args:
        content: of the file.
        expected: its `file_entry`, or a part of that, from when it was written.
        rule: the beginning of the message.
        spec: path or address of the file, for the message.
    """
    received = file_entry(content)
    if any(received[key] != value for key, value in expected.items()):
        raise InputError(f"{rule}: {_describe(expected)}. Received: {spec}: {_describe(received)}")


def _describe(entry: Mapping[str, Any]) -> str:
    size = f"{entry['bytes']} bytes of " if "bytes" in entry else ""
    return f"{size}SHA-256 {str(entry['sha256'])[:12]}"
