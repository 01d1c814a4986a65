"""A search before it starts: completes it from its data, and compares it with the one in its directory."""

import dataclasses
import json
import pathlib
from typing import Any

import keras

from kdzoo.data import sampling, sources
from kdzoo.data.dataset import Dataset
from kdzoo.experiments import search_directory, student_limits
from kdzoo.experiments.search_directory import FIGURES, description_path
from kdzoo.experiments.search_space import LIMITS, NONE, Search
from kdzoo.experiments.trial_configs import student_config
from kdzoo.hub import models
from kdzoo.models import networks, specs
from kdzoo.runs import identity, records
from kdzoo.runs.config import RunConfig
from kdzoo.teachers import base, resolve
from kdzoo.training import workdirs
from zoo import InputError

_DIGEST = "digest of teacher "  # with the spec: a key of the description
_OPTIONAL = ("students", "teacher_init", *LIMITS)  # keys that a description lacks where they are not set


def prepare(search: Search, workdir: pathlib.Path, *, deadline: float = base.DEADLINE) -> tuple[Search, dict[str, Any]]:
    """Checks that the search is possible in this directory. Writes nothing.

    Args:
        search: the search.
        workdir: its directory.
        deadline: seconds within which a teacher behind a server must respond.

    Returns:
        The search with its number of held-out examples, and its description for `search_directory.DESCRIPTION`. A
        search that compares students or limits their cost has all students yet, and their figures in its description.

    Raises:
        InputError: if it is impossible, two teachers are one under two paths, or the directory holds another search.
    """
    search.check()
    workdirs.check(workdir)
    dataset = sources.load(dataclasses.replace(search.student.data, unlabelled=""))
    prepared = dataclasses.replace(search, student=_hold_out(search.student, dataset))
    description = describe_search(prepared, dataset, deadline=deadline)
    figures: dict[str, dict[str, float]] = {}
    if description_path(workdir).exists():
        check_same(workdir, description)
        if search.students or search.has_limits:
            figures = search_directory.read_figures(workdir)
            student_limits.check_known(search, figures, spec=str(description_path(workdir)))
    elif (workdir / records.RECORD).exists() or (workdir.exists() and not workdir.is_dir()):
        raise InputError(f"workdir must be a directory for a search alone. Received: {workdir}")
    else:
        # Not where a search resumes: one that an earlier version began may compare a teacher with itself.
        identity.check_teachers_differ((spec, description.get(_DIGEST + spec, spec)) for spec in search.teachers)
        shapes: dict[str, Any] = {"num_classes": dataset.num_classes, "input_shape": dataset.image_shape}
        students = [dataclasses.replace(search.student, model=model).spec for model in search.models]
        for spec in (*students, *map(specs.parse, search.architectures)):
            networks.build(spec, pretrained=False, **shapes)  # raises InputError for an impossible depth
        if search.students or search.has_limits:
            figures = student_limits.measure(search, dataset)
    return prepared, description | ({FIGURES: figures} if figures else {})


def _hold_out(student: RunConfig, dataset: Dataset) -> RunConfig:
    """Returns the student's run with a tenth of the examples held out, unless it holds out its own number."""
    if not student.val_examples:
        tenth = (student.train_examples or len(dataset.train)) // 10
        student = dataclasses.replace(student, val_examples=max(1, tenth))
    train, _ = sampling.split_positions(
        dataset.train.labels, train_examples=student.train_examples, val_examples=student.val_examples
    )
    if len(train) < student.labelled_per_batch:
        raise InputError(
            f"batch_size must be at most the {len(train)} training examples. Received: {student.labelled_per_batch}"
        )
    return student


def check_same(workdir: pathlib.Path, description: dict[str, Any]) -> None:
    """Raises InputError if the directory holds another search than the one described.

    A search begun by version 0.4 knows neither its backend nor its teachers' contents: then these are not compared.
    """
    theirs = search_directory.read_json(description_path(workdir))
    unset: dict[str, Any] = dict.fromkeys(_OPTIONAL)
    defaults = {f"student {field.name}": field.default for field in dataclasses.fields(RunConfig)} | unset
    changed = []
    for key, value in (unset | description).items():
        before = theirs.get(key, defaults.get(key, value))
        if before != value and key != FIGURES:  # latencies differ from one process to the next
            changed.append(f"{key} {before}, now {value}")
    if changed:
        raise InputError(
            "workdir must hold no search, or this one, with the same space, data, teachers, seed and backend."
            f" Received: {workdir}: {'; '.join(changed)}"
        )


def describe_search(search: Search, dataset: Dataset, *, deadline: float = base.DEADLINE) -> dict[str, Any]:
    """Returns all that trials, their order and their results depend on, as JSON: the identity of the search.

    `max_trials` is not part of it, so that it can be raised later.

    Raises:
        InputError: if a teacher behind a server does not respond within `deadline` seconds, or does not fit the data.
    """
    description = dataclasses.asdict(search)
    description |= {f"student {name}": value for name, value in description.pop("student").items()}
    for name in ("max_trials", "student dataset", "student teachers"):
        description.pop(name)
    for name in _OPTIONAL:
        if not description[name]:
            description.pop(name)
    description |= {"student data set's fingerprint": dataset.fingerprint, "backend": keras.backend.backend()}
    for spec in search.teachers:
        if spec != NONE and spec not in search.architectures:
            description[_DIGEST + spec] = _digest(spec, search, dataset, deadline)
    for of, init in (("student", search.student.init), ("teacher", search.teacher_init)):
        if init:
            description[f"{of} init's digest"] = models.resolve(init).digest()
    return json.loads(json.dumps(description))


def _digest(spec: str, search: Search, dataset: Dataset, deadline: float) -> str:
    """Returns the digest of a trained teacher; of one behind a server, the digest of its outputs."""
    if not spec.startswith(resolve.GRPC):
        return resolve.describe(spec)["digest"]
    config = student_config(search, {"teacher": spec, "method": search.methods[0]}, spec)
    ensemble = resolve.Ensemble(config, dataset, deadline=deadline)
    ensemble.check(dataset)
    return ensemble.teachers[0].digest
