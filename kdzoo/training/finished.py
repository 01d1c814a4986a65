"""Whether a directory holds a finished run, and whether that is the run which a configuration describes."""

import functools
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from kdzoo.data import sources
from kdzoo.hub import cards
from kdzoo.models.specs import is_network
from kdzoo.runs import identity, kept_epochs, records, weights
from kdzoo.runs.config import RunConfig
from kdzoo.teachers import resolve
from kdzoo.teachers.onnx_files import ONNX
from zoo import InputError


def find(workdir: pathlib.Path, ours: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the record of the finished run in a directory; None if there is none.

    Args:
        workdir: the directory.
        ours: identity of the run, with its data and teachers known.

    Raises:
        InputError: if it is the record of another run, or the weights beside it are not those that the run wrote.
    """
    if not (workdir / records.RECORD).exists():
        return None
    record = records.read(workdir)
    if changed := identity.changes(identity.of_record(record), ours):
        raise InputError(
            "workdir must not hold a finished run of another configuration, unless restart is set."
            f" Received: {workdir}: {'; '.join(changed)}"
        )
    if (workdir / weights.WEIGHTS).exists():
        weights.verify(workdir, record)
    return record


def check_kept(config: RunConfig, workdir: pathlib.Path, *, done: int) -> None:
    """Raises InputError if an epoch that a run is to keep has passed, and it did not keep it.

    Args:
        config: of the run.
        workdir: its directory.
        done: number of epochs that the run has done.
    """
    for epoch in config.kept_epochs:
        if epoch <= done and not (kept_epochs.directory(workdir, epoch) / records.RECORD).exists():
            raise InputError(
                "keep_epochs must be epochs that are still to come, or were kept, unless restart is set."
                f" Received: {epoch}, but {workdir} has done {done} epochs and not kept it"
            )


def is_finished(config: RunConfig, workdir: pathlib.Path) -> bool:
    """Whether a directory holds this run, finished, as far as that shows without its data: see `changes`."""
    return (workdir / records.RECORD).exists() and not changes(config, records.read(workdir))


def changes(config: RunConfig, record: Mapping[str, Any]) -> list[str]:
    """Returns how a planned run differs from the record of a finished one: see `identity.changes`.

    Compares the contents of local teachers, and of a data set in an .npz file. A teacher that is not there any more is
    compared by name, and one behind a server by address: its content shows in its outputs only.
    """
    theirs = identity.of_record(record)
    specs = record["config"].get("teachers", ())
    teachers: list[Any] = [_describe_teacher(spec) for spec in config.teachers]
    if len(specs) == len(teachers):
        for i, (own, spec) in enumerate(zip(config.teachers, specs, strict=True)):
            if not teachers[i]:
                teachers[i] = theirs["teachers"][i] if _name(own) == _name(spec) else {"name": own}
    ours = identity.identify(
        vars(config),
        dataset=config.data.name,
        fingerprint=_fingerprint(config.dataset, config.dataset_name),
        teachers=teachers,
    )
    return identity.changes(theirs, ours)


def _name(spec: str) -> str:
    """A teacher's name, wherever its directory is; a remote one's whole address."""
    return spec if "://" in spec else pathlib.Path(spec.removeprefix(ONNX)).name


def _describe_teacher(spec: str) -> dict[str, Any]:
    """Returns a local teacher's entry as in a record; empty if it is not there."""
    if "://" in spec:
        return {}
    at = kept_epochs.locate(spec)
    paths = [path for name in ("", records.RECORD, cards.CARD) if os.path.exists(path := os.path.join(at, name))]
    try:
        if spec.startswith(ONNX) or is_network(spec):  # not kept: weights may change in another file
            return resolve.describe(spec)
        return _read_teacher(spec, tuple(os.stat(path).st_mtime_ns for path in paths))
    except (OSError, InputError):
        return {}


@functools.cache  # a sweep has many students of one teacher
def _read_teacher(spec: str, changed_ns: tuple[int, ...]) -> dict[str, Any]:
    return resolve.describe(spec)


def _fingerprint(source: str, name: str) -> str:
    """Returns the fingerprint of a data set in a file; "" if it is in no file, or cannot be read."""
    try:
        changed_ns = os.stat(source.removeprefix("npz:")).st_mtime_ns if source.startswith("npz:") else None
        return _fingerprint_of_file(source, name, changed_ns) if changed_ns else ""
    except (OSError, InputError):
        return ""


@functools.cache
def _fingerprint_of_file(source: str, name: str, changed_ns: int) -> str:
    return sources.load(source, name).fingerprint
