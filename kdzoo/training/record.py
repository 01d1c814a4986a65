"""The record of a run: the part that is known before the first step, and the part that its epochs add."""

import contextlib
import dataclasses
import logging
import pathlib
import statistics
from collections.abc import Iterator, Mapping
from typing import Any

from kdzoo.data.dataset import Dataset
from kdzoo.distillation.distiller import Distiller
from kdzoo.distillation.method import Method
from kdzoo.models import cost, specs
from kdzoo.runs import consistency, events, identity, weights
from kdzoo.training.inputs import RunInputs
from kdzoo.training.state import Stopped, TrainingState

_log = logging.getLogger(__name__)


def describe_run(inputs: RunInputs, model: Distiller, *, started: str) -> dict[str, Any]:
    """The part of the record that is known before the first step."""
    config, dataset = inputs.config, inputs.dataset
    return {
        "name": f"{config.architecture}_{config.schedule}",
        "method": config.method,
        "config": dataclasses.asdict(config),
        "dataset": {
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "num_classes": dataset.num_classes,
            **({"class_names": list(dataset.class_names)} if dataset.class_names else {}),
            "image_shape": list(dataset.image_shape),
            "mean": list(dataset.mean),
            "std": list(dataset.std),
            **({"preparation": dict(dataset.preparation)} if dataset.preparation else {}),
            **{f"{name}_examples": len(split) for name, split in inputs.splits.items()},
            **({identity.UNLABELLED: dataset.unlabelled_fingerprint} if dataset.unlabelled else {}),
        },
        **({"network": network} if (network := describe_network(inputs, model)) else {}),
        "parameters": weights.count_parameters(model.student),
        **cost.describe(model.student),
        "teachers": [teacher.record for teacher in inputs.ensemble.teachers],
        "seed": config.seed,
        "started": started,
    }


def extends_student(method: Method | None) -> bool:
    """Whether a method adds layers to the student."""
    return method is not None and type(method).make_student is not Method.make_student


def describe_network(inputs: RunInputs, model: Distiller) -> dict[str, Any]:
    """What a record keeps of a model that is no new zoo model. A file's layers are part of it: the file may go."""
    described = dict(inputs.network)
    if inputs.config.spec.kind == specs.FILE or extends_student(inputs.config.own_method):
        described["architecture"] = model.student.to_json()
    return described


def describe_contents(dataset: Dataset) -> dict[str, Any]:
    """What reading the pictures of a data set showed, for its entry in the record, and how many test pictures count."""
    described = dataset.contents
    if "left_out" in described:
        described["test_examples"] = int(dataset.test.counts.sum())
    if "duplicates" in described:
        _log.warning("%d test pictures are training pictures too, to the byte", described["duplicates"])
    return described


def summarise(state: TrainingState) -> dict[str, Any]:
    """The part of the record that the epochs add. Errors are in percent; `images_per_second` is a median."""
    history = state.history
    return {
        "history": history,
        **consistency.summarise(history),
        # Without the first epoch, which compiles.
        "images_per_second": statistics.median(row["images_per_second"] for row in history[1:] or history),
        "wall_seconds": state.seconds,
    }


def describe_metrics(logs: Mapping[str, float]) -> dict[str, float]:
    """An epoch's training metrics as the history keeps them: errors and agreement in percent."""
    row = {"train_error": 100 * (1 - logs["accuracy"])}
    row |= {name: value for name, value in logs.items() if name not in ("accuracy", "agreement")}
    if "agreement" in logs:
        row["agreement"] = 100 * logs["agreement"]
    return row


@contextlib.contextmanager
def event_file(
    workdir: pathlib.Path, record: Mapping[str, Any], state: TrainingState, *, writes: bool = True
) -> Iterator[events.NoSummaryWriter]:
    """An event file of the whole run, which replaces that of an interrupted session; without `writes`, none."""
    if not writes:
        yield events.NoSummaryWriter()
        return
    for path in workdir.glob(events.EVENTS):
        path.unlink()
    writer = events.summary_writer(str(workdir))
    finished: bool | None = False
    try:
        writer.hparams(events.hparams_of(record), metrics=events.metrics_of(record))
        for row in state.history:
            write_row(writer, row)
        yield writer
        finished = True
    except Stopped:
        finished = None
        raise
    finally:
        writer.close(finished=finished)


def write_row(writer: events.NoSummaryWriter, row: Mapping[str, float]) -> None:
    """Adds a row of the history to the event file."""
    writer.scalars(events.scalars_of(row), step=int(row["epoch"]), time=row["time"])
