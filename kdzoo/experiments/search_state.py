"""A search before it starts: completes it from its data, and compares it with the one in its directory."""

import dataclasses
import json
import pathlib
from typing import Any

from kdzoo import files
from kdzoo.data import sampling, sources
from kdzoo.data.dataset import Dataset
from kdzoo.experiments import search_directory
from kdzoo.experiments.search_space import Search
from kdzoo.runs import names, records
from kdzoo.runs.config import RunConfig
from zoo import InputError


def prepare(search: Search, workdir: pathlib.Path) -> tuple[Search, dict[str, Any]]:
    """Checks that the search is possible in this directory. Writes nothing.

    Returns:
        The search with its number of held-out examples, and its description for `search_directory.DESCRIPTION`.

    Raises:
        InputError: if it is impossible, or the directory holds another search.
    """
    search.check()
    files.check_directory(workdir, name="workdir")
    dataset = sources.load(search.student.dataset, search.student.dataset_name)
    prepared = dataclasses.replace(search, student=_hold_out(search.student, dataset))
    description = describe_search(prepared, dataset.fingerprint)
    path = workdir / search_directory.STATE / search_directory.DESCRIPTION
    if path.exists():
        _check_same(path, workdir, description)
    elif (workdir / records.RECORD).exists() or (workdir.exists() and not workdir.is_dir()):
        raise InputError(f"workdir must be a directory for a search alone. Received: {workdir}")
    else:
        for model in (search.student.model, *search.architectures):  # raises InputError for an impossible depth
            names.build(model, num_classes=dataset.num_classes, input_shape=dataset.image_shape)
    return prepared, description


def _hold_out(student: RunConfig, dataset: Dataset) -> RunConfig:
    """Returns the student's run with a tenth of the examples held out, unless it holds out its own number."""
    if not student.val_examples:
        tenth = (student.train_examples or len(dataset.train)) // 10
        student = dataclasses.replace(student, val_examples=max(1, tenth))
    train, _ = sampling.split_train(
        dataset.train, train_examples=student.train_examples, val_examples=student.val_examples
    )
    if len(train) < student.batch_size:
        raise InputError(
            f"batch_size must be at most the {len(train)} training examples. Received: {student.batch_size}"
        )
    return student


def _check_same(path: pathlib.Path, workdir: pathlib.Path, description: dict[str, Any]) -> None:
    theirs = search_directory.read_json(path)
    changed = [
        f"{key} {theirs.get(key)}, now {value}" for key, value in description.items() if theirs.get(key) != value
    ]
    if changed:
        raise InputError(
            "workdir must hold no search, or this one, with the same space, data and seed."
            f" Received: {workdir}: {'; '.join(changed)}"
        )


def describe_search(search: Search, fingerprint: str) -> dict[str, Any]:
    """Returns all that trials, their order and their results depend on, as JSON.

    `max_trials` is not part of it, so that it can be raised later.
    """
    description = dataclasses.asdict(search)
    description |= {f"student {name}": value for name, value in description.pop("student").items()}
    for name in ("max_trials", "student dataset", "student teachers"):
        description.pop(name)
    return json.loads(json.dumps(description | {"student data set's fingerprint": fingerprint}))
