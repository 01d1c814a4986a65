"""The state of a search on disk, and the part that each of several processes has in it."""

import dataclasses
import json
import os
import pathlib
from typing import Any

from kdzoo.data import sampling, sources
from kdzoo.experiments.search_space import Search
from kdzoo.experiments.trials import STATE
from kdzoo.runs import names, records
from zoo import InputError

DESCRIPTION = "search.json"
# KerasTuner's environment variables, of each process of several.
ENV = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")


# The search itself.


def role() -> str:
    """What KerasTuner's environment variables make of this process: chief, worker, or single where there are none.

    Raises:
        InputError: if only some are set.
    """
    given = [name for name in ENV if os.environ.get(name)]
    if not given:
        return "single"
    if len(given) < len(ENV):
        raise InputError(f"{', '.join(ENV)} must be set together, or not at all. Received: {', '.join(given)}")
    return "chief" if "chief" in os.environ[ENV[0]] else "worker"


def prepare(search: Search, workdir: pathlib.Path) -> tuple[Search, dict[str, Any]]:
    """The search with what its data tell, and its description, if it can be made in this directory. Writes nothing.

    Raises:
        InputError: if it cannot, or the directory holds another one.
    """
    search.check()
    student = search.student
    dataset = sources.load(student.dataset, student.dataset_name)
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
    prepared = dataclasses.replace(search, student=student)
    path = workdir / STATE / DESCRIPTION
    described = describe_search(prepared, dataset.fingerprint)
    if path.exists():
        theirs = read_json(path)
        changed = [
            f"{key} {theirs.get(key)}, now {value}" for key, value in described.items() if theirs.get(key) != value
        ]
        if changed:
            raise InputError(
                "workdir must hold no search, or this one, with the same space, data and seed."
                f" Received: {workdir}: {'; '.join(changed)}"
            )
    elif (workdir / records.RECORD).exists() or (workdir.exists() and not workdir.is_dir()):
        raise InputError(f"workdir must be a directory for a search alone. Received: {workdir}")
    else:
        for model in (student.model, *search.architectures):  # a depth that there is none of is told now
            names.build(model, num_classes=dataset.num_classes, input_shape=dataset.image_shape)
    return prepared, described


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """What a search has written, whole, of itself.

    Raises:
        InputError: if it is damaged.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"A search's state must be as it was written. Received: {path}: {error}") from None


def describe_search(search: Search, fingerprint: str) -> dict[str, Any]:
    """All that trials, their order and their results depend on, as JSON: max_trials, so, may be raised later."""
    described = dataclasses.asdict(search)
    described |= {f"student {name}": value for name, value in described.pop("student").items()}
    for name in ("max_trials", "student dataset", "student teachers"):
        described.pop(name)
    return json.loads(json.dumps(described | {"student data set's fingerprint": fingerprint}))
