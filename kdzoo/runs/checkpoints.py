"""Checkpoints of a run, from which it resumes as if it had never stopped.

A checkpoint is one .npz file named `STEP-SHA256.npz`: the step of the whole run, and the digest of the file. It holds
every variable of a training step under its path, and the rest of the training state as JSON.
"""

import hashlib
import io
import json
import logging
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from kdzoo.files import remove_abandoned, write_atomically
from zoo import InputError

_log = logging.getLogger(__name__)

DIRECTORY = "checkpoints"
KEEP = 2
MINUTES = 5.0  # longest time between two checkpoints, if nothing else is set
_META = "meta"


def save(workdir: pathlib.Path, *, step: int, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
    """Writes a checkpoint, and removes all but the newest `KEEP`.

    Args:
        workdir: the run's directory.
        step: training steps done so far, over all epochs.
        arrays: by name; the name "meta" is reserved.
        meta: the rest of the state; JSON must be able to hold it.

    Raises:
        InputError: if it cannot be written; older checkpoints stay.
    """
    directory = workdir / DIRECTORY
    buffer = io.BytesIO()
    contents: dict[str, Any] = {_META: np.frombuffer(json.dumps(meta).encode(), np.uint8), **arrays}
    np.savez(buffer, **contents)
    content = buffer.getvalue()
    try:
        directory.mkdir(exist_ok=True)
        own = directory / f"{step:09d}-{hashlib.sha256(content).hexdigest()}.npz"
        write_atomically(own, content)
        remove_abandoned(directory)
        # A checkpoint of this step or a later one was damaged: otherwise the run would have resumed from it.
        before = [path for path in _newest_first(workdir) if path.name < own.name[:9]]
        for path in set(_newest_first(workdir)) - {own, *before[: KEEP - 1]}:
            path.unlink(missing_ok=True)  # a process on a node that was thought dead may do the same
    except OSError as error:
        raise InputError(f"workdir must have room for checkpoints. Received: {error}") from None


def load(workdir: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """Returns arrays and meta of the newest undamaged checkpoint; None if the run has no checkpoint.

    Raises:
        InputError: if all checkpoints are damaged.
    """
    damaged = []
    for path in _newest_first(workdir):
        try:
            content = path.read_bytes()
        except OSError as error:
            damaged.append(f"{path}: {error.strerror}")
            continue
        if hashlib.sha256(content).hexdigest() != path.stem.split("-")[1]:
            damaged.append(f"{path}")
            continue
        with np.load(io.BytesIO(content)) as file:
            arrays = dict(file)
        if damaged:
            _log.warning("Damaged, so resuming from %s: %s", path.name[:9], ", ".join(damaged))
        return arrays, json.loads(arrays.pop(_META).tobytes())
    if damaged:
        raise InputError(f"A run resumes from a whole checkpoint; restart begins it anew. Received: {damaged[0]}")
    return None


def _newest_first(workdir: pathlib.Path) -> list[pathlib.Path]:
    paths = [path for path in (workdir / DIRECTORY).glob("*.npz") if re.fullmatch(r"[0-9]{9}-[0-9a-f]{64}", path.stem)]
    return sorted(paths, reverse=True)
