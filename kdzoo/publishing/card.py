"""The card of a model to publish: its run's record, and the SavedModel's own error."""

import dataclasses
import datetime
import pathlib
import statistics
from collections.abc import Sequence
from typing import Any

from kdzoo import digests
from kdzoo.data.dataset import Dataset
from kdzoo.distillation import metrics
from kdzoo.hub import artefact, cards
from kdzoo.models import names
from kdzoo.runs import machine
from kdzoo.runs.weights import build
from zoo import InputError

RUN_POINTS = 0.02  # a second evaluation of a run may differ from its record by rounding
OTHER_PRECISION_POINTS = 0.5  # allowed where the run was not in float32, or weights are stored in less
CITATION = (
    "Trained with kdzoo {version}, after Cho & Hariharan, On the Efficacy of Knowledge Distillation, ICCV 2019"
    " (arXiv:1910.01348)."
)


def describe(
    siblings: Sequence[dict[str, Any]],
    dataset: Dataset,
    directory: pathlib.Path,
    name: str,
    *,
    licence: str | None,
    store: str,
    weights: list[dict[str, Any]],
) -> dict[str, Any]:
    """The fields of a card.

    Args:
        siblings: records of the run to publish and of runs that differ from it in the seed.
        dataset: the run's.
        directory: holds the SavedModel, as `1/`.
        name: the published name.
        licence: SPDX identifier, or None.
        store: dtype of the stored weights.
        weights: path, shape, dtype and offset (bytes) of each weight in the SavedModel's data file.

    Raises:
        InputError: if the SavedModel's error is not the record's.
    """
    record = siblings[0]
    measured = _measure(record, dataset, directory, weights)
    _check_error(measured["test_error"], record, store)
    parsed = names.parse_trained(record["name"])
    errors = [sibling["test_error_last"] for sibling in siblings]
    return {
        "name": name,
        "family": parsed.family,
        "depth": parsed.depth,
        "width": parsed.width,
        "schedule": str(parsed.schedule),
        **{key: record[key] for key in ("network", "multiply_adds", "peak_activation_bytes") if key in record},
        "parameters": record["parameters"],
        "dataset": record["dataset"],
        "method": record["method"],
        "teachers": record["teachers"],
        **{key: record[key] for key in ("test_error_last", "test_top5_error_last") if key in record},
        **measured,
        "seed": record["seed"],
        "runs": len(errors),
        "test_error_last_mean": statistics.fmean(errors),
        "test_error_last_std": statistics.stdev(errors) if len(errors) > 1 else None,
        "config": record["config"],
        "trained": {
            key: record[key] for key in ("started", "wall_seconds", "images_per_second", "versions", "hardware")
        },
        "weights": weights,
        "files": {file: digests.file_entry((directory / file).read_bytes()) for file in cards.FILES},
        "versions": machine.versions(),
        "licence": licence,
        "citation": CITATION.format(version=record["versions"]["kdzoo"]),
        "published": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def _check_error(test_error: float, record: dict[str, Any], store: str) -> None:
    """Raises InputError if the SavedModel's test error, in percent, is not the record's."""
    same = record["config"]["dtype_policy"] == store == "float32"
    points = RUN_POINTS if same else OTHER_PRECISION_POINTS
    if not abs(test_error - record["test_error_last"]) <= points + 1e-9:
        raise InputError(
            f"An artefact must have its record's test error, {record['test_error_last']:.2f} %, give or take"
            f" {points}. Received: {test_error:.2f} % in float32, stored as {store}"
        )


def _measure(
    record: dict[str, Any], dataset: Dataset, directory: pathlib.Path, weights: list[dict[str, Any]]
) -> dict[str, float]:
    """Test errors, in percent, and calibration error of the SavedModel's weights in float32."""
    model = build(record)
    artefact.assign_weights(model, weights, (directory / cards.VARIABLES).read_bytes())
    from kdzoo.training.steps import predict  # imports Keras

    mean, std = (tuple(record["dataset"][key]) for key in ("mean", "std"))
    logits = predict(model, dataset.test, dataclasses.replace(dataset, mean=mean, std=std))
    counts = dataset.test.counts
    logits, labels = logits[counts], dataset.test.labels[counts]
    described = metrics.describe(logits, labels)
    return {
        **{f"test_{name}": described[name] for name in ("error", "top5_error") if name in described},
        "test_error_sample": metrics.describe(logits[: cards.SAMPLE], labels[: cards.SAMPLE])["error"],
        "expected_calibration_error": described["ece"],
    }
