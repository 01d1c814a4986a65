"""Event files for TensorBoard, written by TensorBoard's own library: no TensorFlow, so the same on every backend."""

import datetime
import importlib.util
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from kdzoo.runs.events import EVENTS, METRICS, SummaryWriter, hparams_of, scalars_of
from zoo import InputError

REBUILT = ".rebuilt"  # ends the names of event files that `rebuild` wrote, and so may remove
COMPARISON = "comparison"  # the run that holds the plots
# TensorBoard's table shows, unless told to show more, only five hyperparameters: of those that differ the most telling.
SHOWN = ("teacher", "method", "kd_until", "temperature", "seed", "model", "schedule", "dataset", "lr", "batch_size")
_OF_TEACHER = {"test_error_last": "teacher/test_error", "test_ece_last": "teacher/test_calibration_error"}


def rebuild(
    logdir: str | os.PathLike,
    runs: Mapping[str, Mapping[str, Any]],
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
        InputError: where TensorBoard is not installed, or a run's own event files lie where one is to be written.
    """
    if not importlib.util.find_spec("tensorboard"):
        raise InputError("tensorboard needs the package tensorboard: pip install tensorboard. Received: none")
    root = pathlib.Path(logdir)
    places = {label: root / label for label in (*runs, COMPARISON)}
    for label, place in places.items():
        if COMPARISON in runs or not place.resolve().is_relative_to(root.resolve()):
            raise InputError(f"A run's label must be a path below the others', not {COMPARISON}. Received: {label}")
        if any(path for path in place.glob(EVENTS) if not path.name.endswith(REBUILT)):
            raise InputError(f"tensorboard must not be where runs write event files themselves. Received: {place}")
    _remove_rebuilt(root)
    try:
        for place in places.values():
            place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"tensorboard must be a directory that can be written. Received: {error}") from None
    # TensorBoard lists runs in the order in which they began.
    writer = SummaryWriter(str(places[COMPARISON]), suffix=REBUILT)
    hparams = [hparams_of(record) for record in runs.values()]
    differing = [key for key in SHOWN if len({each.get(key) for each in hparams}) > 1]
    writer.experiment(dict.fromkeys(key for each in hparams for key in each), metrics=METRICS, first=differing[:5])
    for tag, png in (images or {}).items():
        writer.image(tag, png)
    for tag, text in (texts or {}).items():
        writer.text(tag, text)
    writer.layout(
        {
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
    )
    writer.close(finished=None)
    for label, record in runs.items():
        _write_run(places[label], label, record)


def _remove_rebuilt(root: pathlib.Path) -> None:
    """Removes event files of an earlier call, and directories that are empty then."""
    folders = set()
    for path in root.rglob(f"{EVENTS}{REBUILT}"):
        path.unlink()
        folders |= {folder for folder in path.parents if folder.is_relative_to(root) and folder != root}
    for folder in sorted(folders, key=lambda folder: -len(folder.parts)):
        if not any(folder.iterdir()):
            folder.rmdir()


def _write_run(place: pathlib.Path, label: str, record: Mapping[str, Any]) -> None:
    writer = SummaryWriter(str(place), suffix=REBUILT)
    writer.trial(hparams_of(record), name=label)
    several = len(record["teachers"]) > 1
    of_teachers = {
        f"{tag}_{i + 1}" if several else tag: teacher[key]
        for i, teacher in enumerate(record["teachers"])
        for key, tag in _OF_TEACHER.items()
        if teacher.get(key) is not None
    }
    history = record["history"]
    # Records of 0.1.0 do not say when an epoch ended.
    started = datetime.datetime.fromisoformat(record["started"]).timestamp()
    seconds = record["wall_seconds"] / max(1, len(history))
    for row in history:
        time = row.get("time", started + seconds * row["epoch"])
        writer.scalars(scalars_of(row) | of_teachers, step=row["epoch"], time=time)
    writer.close(finished=True)
