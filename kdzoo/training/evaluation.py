"""Evaluation of a trained network on a test set."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kdzoo.data import sources
from kdzoo.data.config import DataConfig
from kdzoo.data.dataset import Dataset
from kdzoo.distillation import metrics
from kdzoo.distillation.dtype import dtype_policy
from kdzoo.hub import cards, models
from kdzoo.teachers import base
from kdzoo.training.steps import predict
from zoo import InputError

if TYPE_CHECKING:
    import keras


def evaluate_run(
    spec: str | os.PathLike[str], dataset_name: str | None = None, *, examples: int | None = None, workers: int = 0
) -> dict[str, Any]:
    """Evaluates a trained network: a run in the precision it was trained in, a published model in float32.

    Args:
        spec: a run's directory, or a published model's name, address or directory.
        dataset_name: see `kdzoo.data.load`; None: the run's own data set, by its name if its file no longer exists.
        examples: number of test images, from the first; None: all.
        workers: see `kdzoo.data.load`.

    Returns:
        name, dataset, test_examples, test_error in percent, of more than ten classes also test_top5_error, test_ce in
        nats, test_ece from 0 to 1; test_error_recorded, the error in the record or card: on all test images, or on a
        published model's first 1,000 if `examples` is 1,000; and labels and predicted, the true and the predicted
        classes, integers [test_examples].

    Raises:
        InputError: if the network or the data set does not exist, they do not fit together, or the run's own source
            now holds other data.
    """
    trained = models.resolve(spec)
    if dataset_name is None:
        dataset = own_dataset(trained.record, workers=workers)
    else:
        dataset = sources.load(_data_of(trained.record, dataset_name), workers=workers)
    with contextlib.closing(dataset):
        return evaluate(trained, dataset, examples=examples)


def evaluate(trained: models.Trained, dataset: Dataset, *, examples: int | None = None) -> dict[str, Any]:
    """`evaluate_run` of a network that has been resolved, on a data set that has been loaded."""
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
    model = build(trained)
    recorded = "test_error_last"
    if published:
        recorded = "test_error_sample" if examples == cards.SAMPLE else "test_error"
    logits = predict(model, test, dataset)
    logits, labels = logits[test.counts], test.labels[test.counts]
    described = metrics.describe(logits, labels)
    return {
        "name": record["name"],
        "dataset": dataset.name,
        "test_examples": len(labels),
        **{f"test_{name}": value for name, value in described.items()},
        "test_error_recorded": record[recorded],
        "labels": labels,
        "predicted": logits.argmax(-1),
    }


def build(trained: models.Trained) -> "keras.Model":
    """Builds a trained network: a run's in the precision it was trained in, a published model in float32."""
    record = trained.record
    with dtype_policy("float32" if "test_error" in record else record["config"]["dtype_policy"]):
        return trained.build()


def own_dataset(record: Mapping[str, Any], source: str | None = None, *, workers: int = 0) -> Dataset:
    """The data set of a run, by its content.

    Args:
        record: the run's record.
        source: see `kdzoo.data.load`; None: the run's own source.
        workers: see `kdzoo.data.load`.

    Raises:
        InputError: if it cannot be loaded, or the source now holds other data than the run's.
    """
    name, fingerprint = record["dataset"]["name"], record["dataset"]["fingerprint"]
    if source is None:
        source = record["config"]["dataset"]
        path = sources.path_of(source)
        if path is not None and name in sources.NAMES and not pathlib.Path(path).exists():
            source = name
    name = name if sources.path_of(source) is not None else ""
    dataset = sources.load(_data_of(record, source, name), workers=workers)
    if dataset.fingerprint != fingerprint:
        dataset.close()
        raise InputError(
            f"dataset must be the run's own, {name} {fingerprint[:8]}."
            f" Received: {source} {dataset.fingerprint[:8]}, which holds other data"
        )
    return dataset


def _data_of(record: Mapping[str, Any], source: str, name: str = "") -> DataConfig:
    """A data set in the views of a run: with its image size, its background, its share of test pictures."""
    fields = {field.name for field in dataclasses.fields(DataConfig)} & record["config"].keys()
    if source.partition(":")[0] != record["config"]["dataset"].partition(":")[0]:
        fields &= {"augment", "image_size", "background", "memory_gb"}
    given = {field: record["config"][field] for field in fields}
    return DataConfig(**given | {"dataset": source, "dataset_name": name, "unlabelled": ""})
