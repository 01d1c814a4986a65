"""Evaluation of a trained network on a test set."""

import dataclasses
import os
import pathlib
from typing import Any

import numpy as np

from kdzoo.data import sources
from kdzoo.data.dataset import Dataset
from kdzoo.distillation import metrics
from kdzoo.distillation.dtype import dtype_policy
from kdzoo.hub import cards, models
from kdzoo.teachers import base
from kdzoo.training.steps import predict
from zoo import InputError


def evaluate_run(
    spec: str | os.PathLike, dataset_name: str | None = None, *, examples: int | None = None
) -> dict[str, Any]:
    """Evaluates a trained network on a test set: a run's in the precision it was trained in, a published in float32.

    Args:
        where: a run's directory, a published model's name, address or directory.
        dataset_name: see `kdzoo.data.load`; None: the run's own, by its name where the file it came from is gone.
        examples: only the first so many test images.

    Returns:
        name, dataset, test_examples, test_error in percent, test_ce in nats, test_ece from 0 to 1, and
        test_error_recorded, the error that record or card tell: of all test images, or of a published model's first
        1,000 where only those are evaluated.

    Raises:
        InputError: if the network or the data set is not there, or they do not fit together.
    """
    trained = models.resolve(spec)
    dataset = own_dataset(trained.record) if dataset_name is None else sources.load(dataset_name)
    return evaluate(trained, dataset, examples=examples)


def evaluate(trained: models.Trained, dataset: Dataset, *, examples: int | None = None) -> dict[str, Any]:
    """`evaluate_run` of a network that has been found, on a data set that has been loaded."""
    record = trained.record
    published = "test_error" in record
    base.check_fits(trained.spec, record, dataset)
    # The network's own standardisation, whatever this data set's is.
    dataset = dataclasses.replace(dataset, mean=tuple(record["dataset"]["mean"]), std=tuple(record["dataset"]["std"]))
    test = dataset.test
    if examples is not None:
        if not 1 <= examples <= len(test):
            raise InputError(f"examples must be from 1 to {len(test)}. Received: {examples}")
        test = test.take(np.arange(examples))
    with dtype_policy("float32" if published else record["config"]["dtype_policy"]):
        model = trained.build()
    recorded = "test_error_last"
    if published:
        recorded = "test_error_sample" if examples == cards.SAMPLE else "test_error"
    described = metrics.describe(predict(model, test, dataset), test.labels)
    return {
        "name": record["name"],
        "dataset": dataset.name,
        "test_examples": len(test),
        "test_error": described["error"],
        "test_ce": described["ce"],
        "test_ece": described["ece"],
        "test_error_recorded": record[recorded],
    }


def own_dataset(record: dict[str, Any], source: str | None = None) -> Dataset:
    """The data set of a run, from `source` (see `kdzoo.data.load`) or else from where the run had it.

    Raises:
        InputError: if it cannot be had, or `source` is another data set.
    """
    if source is not None:
        dataset = sources.load(source, record["dataset"]["name"] if source.startswith("npz:") else "")
        if dataset.fingerprint != record["dataset"]["fingerprint"]:
            raise InputError(f"dataset must be the run's own, {record['dataset']['name']}. Received: {source}")
        return dataset
    source, name = record["config"]["dataset"], record["dataset"]["name"]
    if source != name and name in sources.NAMES and not pathlib.Path(source.removeprefix("npz:")).exists():
        source = name
    return sources.load(source, name)
