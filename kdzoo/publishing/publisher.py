"""Publishes a finished run: checks, then a SavedModel and its card, then the replacement of what was published."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

from packaging import licenses

from kdzoo import files
from kdzoo.data.dataset import Dataset
from kdzoo.hub import cards, folders, models
from kdzoo.publishing import card, export
from kdzoo.publishing.replacement import replacing
from kdzoo.runs import identity, kept_epochs, records
from zoo import InputError


def publish(
    runs: Sequence[str | os.PathLike[str]],
    root: str | os.PathLike[str] | None = None,
    *,
    name: str | None = None,
    dataset: str | None = None,
    licence: str | None = None,
    store: str = "float32",
    replace: bool = False,
) -> pathlib.Path:
    """Publishes the network of a finished run as `root/NAME`, whole or not at all.

    The run is evaluated again first, then the SavedModel. Two publications of a run have the same graph and variables
    to the byte.

    Args:
        runs: the run's directory, or RUN@N for an epoch that it kept; further ones, which differ only in their seeds,
            count in the card's mean error.
        root: folder of the published models; default: $KDZOO_HOME, or the checkout's saved_models/.
        name: default: the model's name, after the data set's and a slash unless that is cifar10.
        dataset: source of the run's data set, see `kdzoo.data.load`; default: the source in its record.
        licence: SPDX expression, for example Apache-2.0; None: the card states no licence.
        store: float32, or float16 for half the size: the graph casts weights back to float32.
        replace: whether to replace a published model of this name.

    Returns:
        The published model's directory.

    Raises:
        InputError: if there is no such run, its error is not its record's, the name is taken or invalid, or there is
            no such licence.
    """
    if store not in export.STORES:
        raise InputError(f"store must be one of {', '.join(export.STORES)}. Received: {store}")
    licence = None if licence is None else _canonical_licence(licence)
    for run in runs or [""]:
        files.check_directory(run, name="run")
    workdirs = list(map(kept_epochs.locate, runs))
    run, siblings = workdirs[0], list(map(records.read, workdirs))
    _check_siblings(siblings)
    name = name or _default_name(siblings[0])
    _check_fits(name, siblings[0])
    directory = folders.publishing_folder(root) / name
    _check_place(directory, replace)
    loaded = _evaluate(run, siblings[0], dataset)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with files.locked(directory.parent, wait=True), replacing(directory) as partial:
            _check_place(directory, replace)  # again: another process may have published it meanwhile
            weights = export.write_in_own_process(run, partial / cards.VERSION, store)
            fields = card.describe(siblings, loaded, partial, name, licence=licence, store=store, weights=weights)
            cards.write_card(partial, fields)
    except OSError as error:
        raise InputError(f"The folder of models must be one that can be written. Received: {error}") from None
    return directory


def _check_place(directory: pathlib.Path, replace: bool) -> None:
    """Raises InputError if something has the directory's name, unless it is a published model to replace."""
    if not directory.exists():
        return
    if not replace:
        raise InputError(f"A model is published once, unless replace is set. Received: {directory}")
    try:
        cards.read_card(directory)
    except InputError as error:
        raise InputError(f"Only a published model is replaced; remove {directory} first. {error}") from None


def _canonical_licence(licence: str) -> str:
    """Returns a licence as SPDX writes it. Raises InputError if it is no expression of SPDX identifiers."""
    try:
        return licenses.canonicalize_license_expression(licence)
    except licenses.InvalidLicenseExpression:
        raise InputError(
            "licence must be an SPDX expression, for example Apache-2.0, or LicenseRef-NAME for one of your own."
            f" Received: {repr(licence)[:100]}"
        ) from None


def _evaluate(run: pathlib.Path, record: dict[str, Any], source: str | None) -> Dataset:
    """Compares the run's error with its record. Returns the run's data set."""
    from kdzoo.training import evaluation  # imports TensorFlow, so only after the quick checks

    dataset = evaluation.own_dataset(record, source)
    evaluated = evaluation.evaluate(models.resolve(run), dataset)["test_error"]
    if not abs(evaluated - record["test_error_last"]) <= card.RUN_POINTS + 1e-9:
        raise InputError(
            f"A run to publish must have its record's test error, {record['test_error_last']:.2f} %, give or take"
            f" {card.RUN_POINTS}. Received: {evaluated:.2f} % from {run}"
        )
    return dataset


def _default_name(record: dict[str, Any]) -> str:
    dataset = record["dataset"]["name"]
    if record["method"] != "none":
        raise InputError(
            "A distilled student must be given a name to publish it under, for example"
            f" {dataset}-{record['method'].replace('+', '-')}/{record['name']}."
            f" Received: none for {record['name']}, distilled from {', '.join(t['name'] for t in record['teachers'])}"
        )
    return record["name"] if dataset == "cifar10" else f"{dataset}/{record['name']}"


def _check_fits(name: str, record: dict[str, Any]) -> None:
    if str(models.check_name(name)) != record["name"]:
        raise InputError(f"A published name must end in the model's own, {record['name']}. Received: {name}")


def _check_siblings(siblings: Sequence[dict[str, Any]]) -> None:
    """Raises InputError if the runs do not differ in their seeds, or their identities differ in anything else."""
    seeds = [record["config"]["seed"] for record in siblings]
    changed = [identity.changes_but_seed(siblings[0], record) for record in siblings]
    if len(set(seeds)) < len(seeds) or any(changed):
        received = "; ".join([f"seeds {seeds}", *dict.fromkeys(change for of_one in changed for change in of_one)])
        raise InputError(f"Runs of one card must differ in their seeds and in nothing else. Received: {received}")
