"""A log directory for TensorBoard, built from records by TensorBoard's own library: no TensorFlow, on every backend."""

import datetime
import importlib.util
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from kdzoo import files
from kdzoo.reports.groups import Record
from kdzoo.runs.events import EVENTS, METRICS, TOP5_METRICS, SummaryWriter, hparams_of, scalars_of
from zoo import InputError

REBUILT = ".rebuilt"  # suffix of the event files that `rebuild` writes, and so may remove
COMPARISON = "comparison"  # the run that holds the plots
# TensorBoard's table shows only five hyperparameters by default: the first five of these that differ.
SHOWN = ("teacher", "method", "kd_until", "temperature", "seed", "model", "schedule", "dataset", "lr", "batch_size")
_OF_TEACHER = {"test_error_last": "teacher/test_error", "test_ece_last": "teacher/test_calibration_error"}
# category -> chart -> tags, on the custom-scalars page
_LAYOUT: dict[str, dict[str, list[str]]] = {
    "errors": {
        "test error": ["error/test"],
        "student and teacher": ["error/test", "teacher/test_error"],
        "training error": ["error/train"],
    },
    "what is learnt from the teacher": {
        "KD term": ["loss/kd"],
        "cross-entropy": ["cross_entropy/train", "cross_entropy/test"],
        "agreement": ["agreement/test", "teacher/agreement"],
    },
}


def rebuild(
    logdir: str | os.PathLike[str],
    runs: Mapping[str, Record],
    *,
    images: Mapping[str, bytes] | None = None,
    texts: Mapping[str, str] | None = None,
) -> None:
    """Builds a log directory from records alone, in place of what an earlier call built there; touches nothing else.

    Each run has a directory named by its label, with the curves and HParams that training writes and, as flat lines,
    its teacher's own test error and calibration error; `comparison` has images, texts, and the layout of the
    custom-scalars page.

    Args:
        logdir: a directory, made if need be.
        runs: label -> record. A label is a relative path.
        images: tag -> PNG.
        texts: tag -> Markdown.

    Raises:
        InputError: if TensorBoard is not installed, or a directory to write already holds a run's own event files.
    """
    if not importlib.util.find_spec("tensorboard"):
        raise InputError("tensorboard needs the package tensorboard: pip install tensorboard. Received: none")
    root = pathlib.Path(logdir)
    folders = {label: root / label for label in (*runs, COMPARISON)}
    for label, folder in folders.items():
        if COMPARISON in runs or not folder.resolve().is_relative_to(root.resolve()):
            raise InputError(f"A run's label must be a path below the others', not {COMPARISON}. Received: {label}")
        if any(path for path in folder.glob(EVENTS) if not path.name.endswith(REBUILT)):
            raise InputError(f"tensorboard must not be where runs write event files themselves. Received: {folder}")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with files.locked(root, wait=True):  # several processes may build it
            _remove_rebuilt(root)
            for folder in folders.values():
                folder.mkdir(parents=True, exist_ok=True)
            # TensorBoard lists runs in the order in which they began.
            _write_comparison(folders[COMPARISON], runs, images or {}, texts or {})
            for label, record in runs.items():
                _write_run(folders[label], label, record)
    except OSError as error:
        raise InputError(f"tensorboard must be a directory that can be written. Received: {error}") from None


def _remove_rebuilt(root: pathlib.Path) -> None:
    """Removes event files of an earlier call, and directories that are empty then."""
    folders = set()
    for path in root.rglob(f"{EVENTS}{REBUILT}"):
        path.unlink()
        folders |= {folder for folder in path.parents if folder.is_relative_to(root) and folder != root}
    for folder in sorted(folders, key=lambda folder: -len(folder.parts)):
        if not any(folder.iterdir()):
            folder.rmdir()


def _write_comparison(
    folder: pathlib.Path, runs: Mapping[str, Record], images: Mapping[str, bytes], texts: Mapping[str, str]
) -> None:
    """Writes what belongs to no single run: the columns of the HParams table, images, texts, the layout."""
    writer = SummaryWriter(str(folder), suffix=REBUILT)
    hparams = [hparams_of(record) for record in runs.values()]
    differing = [key for key in SHOWN if len({each.get(key) for each in hparams}) > 1]
    top5 = any("test_top5_error_last" in record for record in runs.values())
    metrics = TOP5_METRICS if top5 else METRICS
    writer.experiment(dict.fromkeys(key for each in hparams for key in each), metrics=metrics, first=differing[:5])
    for tag, png in images.items():
        writer.image(tag, png)
    for tag, text in texts.items():
        writer.text(tag, text)
    charts = _LAYOUT["errors"] | ({"test top-5 error": ["error/test_top5"]} if top5 else {})
    writer.layout(_LAYOUT | {"errors": charts})
    writer.close(finished=None)


def _write_run(folder: pathlib.Path, label: str, record: Record) -> None:
    writer = SummaryWriter(str(folder), suffix=REBUILT)
    writer.trial(hparams_of(record), name=label)
    of_teachers = _teacher_scalars(record)
    history = record["history"]
    # In records of 0.1.0 the history has no times: the epochs share the run's time evenly.
    started = datetime.datetime.fromisoformat(record["started"]).timestamp()
    seconds = record["wall_seconds"] / max(1, len(history))
    for row in history:
        time = row.get("time", started + seconds * row["epoch"])
        writer.scalars(scalars_of(row) | of_teachers, step=row["epoch"], time=time)
    writer.close(finished=True)


def _teacher_scalars(record: Record) -> dict[str, Any]:
    """Returns tag -> value of the teachers' own errors; the tags of several teachers are numbered from 1."""
    several = len(record["teachers"]) > 1
    return {
        f"{tag}_{i + 1}" if several else tag: teacher[key]
        for i, teacher in enumerate(record["teachers"])
        for key, tag in _OF_TEACHER.items()
        if teacher.get(key) is not None
    }
