"""The record of a finished run: record.json in its directory."""

import json
import math
import os
import pathlib
from typing import Any

from kdzoo import files, schemas
from kdzoo.runs import consistency

RECORD = "record.json"
LATENCY = "latency_ms"
TIMING = ("started", "sessions", "wall_seconds", "images_per_second", LATENCY, "time")
_RULE = "A trained model is the directory of a finished run"


def read(workdir: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads the record of a finished run.

    Raises:
        InputError: if the directory has no record, or it does not fit `record.schema.json` or contradicts itself.
    """
    path = pathlib.Path(workdir) / RECORD
    record = files.read_json(path, rule=_RULE)
    schemas.validate(record, "runs/record.schema.json", spec=str(path), rule=_RULE)
    consistency.check(record, spec=str(path), rule=_RULE)
    return record


def write(workdir: pathlib.Path, record: dict[str, Any]) -> None:
    """Writes the record atomically. A run is finished once it has a record."""
    text = json.dumps(_finite(record), indent=1, allow_nan=False)
    files.write_atomically(workdir / RECORD, f"{text}\n".encode())


def result(record: dict[str, Any]) -> dict[str, Any]:
    """Returns the record without times and speeds: an interrupted run has the same as an uninterrupted one."""
    record = {key: value for key, value in record.items() if key not in TIMING}
    return record | {"history": [{k: v for k, v in row.items() if k not in TIMING} for row in record["history"]]}


def _finite(value: Any) -> Any:
    """Replaces infinities and NaN, which JSON lacks, by None: an overflown cross-entropy must not lose the record."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
