"""JSON Schemas of the files that kdzoo reads: one place for the keys, types and ranges of each format."""

import datetime
import functools
import importlib.resources
import json
from collections.abc import Callable
from typing import Any

from zoo import InputError


def validate(value: dict[str, Any], schema: str, *, spec: str, rule: str) -> None:
    """Raises InputError, which names the first key that is wrong and its value, unless a JSON object fits a schema.

    Args:
        value: the object.
        schema: path of the schema's file within the package kdzoo.
        spec: path or address of the object, for the message.
        rule: what the object must be, the first sentence of the message.
    """
    import fastjsonschema

    try:
        _compiled(schema)(value)
    except fastjsonschema.JsonSchemaValueException as error:
        reason = error.message.removeprefix("data").removeprefix(".").strip()[:200]
        if not isinstance(error.value, (dict, list)):
            reason += f", not {json.dumps(error.value)[:100]}"
        raise InputError(f"{rule}. Received: {spec}: {reason}") from None


@functools.cache
def _compiled(schema: str) -> Callable[[Any], Any]:
    """The schema as a Python function. Compiling takes as long as hundreds of validations."""
    import fastjsonschema

    return fastjsonschema.compile(
        _load(schema), handlers={"file": _load}, formats={"date-time": _is_time}, use_default=False
    )


def _is_time(text: str) -> bool:
    """Whether a text is a date and time with its time zone."""
    try:
        return datetime.datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _load(uri: str) -> Any:
    """Returns a schema by its path or, in another schema, its $id."""
    path = uri.removeprefix("file:///")
    return json.loads(importlib.resources.files("kdzoo").joinpath(path).read_text(encoding="utf-8"))
