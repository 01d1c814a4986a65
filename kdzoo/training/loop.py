"""The loop over epochs and steps, and what it saves."""

import concurrent.futures
import dataclasses
import datetime
import math
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from kdzoo.data.dataset import Split
from kdzoo.distillation import metrics, schedules
from kdzoo.runs import checkpoints, events
from kdzoo.runs.config import RunConfig
from kdzoo.runs.events import NoSummaryWriter
from kdzoo.runs.progress import Progress
from kdzoo.training.steps import Steps, call_ends
from zoo import InputError


class Stopped(Exception):
    """A run was asked to stop, and saved where it was."""


def timestamp() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


@dataclasses.dataclass
class TrainingState:
    """How far a run has come, and what it remembers beside the variables of a training step."""

    epoch: int = 0
    step: int = 0  # within the epoch
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    started: str = dataclasses.field(default_factory=timestamp)
    seconds: float = 0.0
    sessions: list[dict[str, Any]] = dataclasses.field(default_factory=list)


def run_epochs(
    steps_of: Callable[[int], Steps],
    config: RunConfig,
    held_out: dict[str, Split],
    place: TrainingState,
    *,
    taught_logits: Callable[[], np.ndarray | None],
    save: "Saver",
    checkpoint_seconds: float,
    writer: NoSummaryWriter,
    progress: Callable[[Progress], None],
    stopping: Callable[[], bool],
) -> None:
    """Runs what is left of the epochs, moving `place` along."""
    schedule = schedules.parse(config.schedule)
    rate = schedules.callback(schedule, lr=config.lr, decay=config.lr_decay)
    began, before = time.monotonic(), place.seconds
    saved = reported = began

    def report(**what) -> None:
        nonlocal reported
        reported = time.monotonic()
        progress(Progress(place.epoch, schedule.epochs, place.step, steps_of(place.epoch).per_epoch, **what))

    report()
    while place.epoch < schedule.epochs:
        steps = steps_of(place.epoch)
        rate.set_model(steps.model)
        rate.on_epoch_begin(place.epoch)
        if not place.step:
            steps.model.reset_metrics()
        epoch_began, epoch_first = time.monotonic(), place.step
        for end in call_ends(steps.per_epoch, fused=steps.fused):
            if end <= place.step:
                continue
            try:
                steps.run(epoch=place.epoch, begin=place.step, end=end)
            except InputError:  # a teacher did not answer: no step was taken without it
                place.seconds = before + time.monotonic() - began
                save()
                raise
            place.step = end
            if end == steps.per_epoch:
                break
            place.seconds = before + time.monotonic() - began
            if stopping():
                save()
                raise Stopped(f"in epoch {place.epoch + 1} of {schedule.epochs}, step {end} of {steps.per_epoch}")
            if time.monotonic() - saved > checkpoint_seconds:
                save()
                saved = time.monotonic()
            if time.monotonic() - reported > 1:
                report(logs=_describe(steps.metrics()))
        row = {"epoch": place.epoch + 1, "lr": schedule.learning_rate(place.epoch, lr=config.lr, decay=config.lr_decay)}
        row |= _describe(steps.metrics())
        images = (place.step - epoch_first) * config.batch_size
        row["images_per_second"] = images / (time.monotonic() - epoch_began)
        if not math.isfinite(row["loss"]):
            raise InputError(
                f"Training diverged in epoch {place.epoch + 1}; a smaller lr may pass. Received: lr {config.lr}"
            )
        for name, split in held_out.items():
            said = taught_logits() if name == "test" else None
            described = metrics.describe(steps.predict(split), split.labels, teacher_logits=said)
            row |= {f"{name}_{what}": value for what, value in described.items()}
        row["time"] = time.time()
        place.history.append(row)
        place.epoch, place.step = place.epoch + 1, 0
        place.seconds = before + time.monotonic() - began
        save()
        saved = time.monotonic()
        write_row(writer, row)
        report(row=row)
        if stopping() and place.epoch < schedule.epochs:
            raise Stopped(f"after epoch {place.epoch} of {schedule.epochs}")


def summary(place: TrainingState) -> dict[str, Any]:
    """What the epochs add to the record."""
    history = place.history
    errors = [row["test_error"] for row in history]
    result = {
        "history": history,
        "test_error_last": errors[-1],
        "test_error_best": min(errors),
        "test_error_best_epoch": 1 + errors.index(min(errors)),
        **{f"{what}_last": history[-1][what] for what in ("test_ece", "test_agreement") if what in history[-1]},
        # The first epoch compiles.
        "images_per_second": statistics.median(row["images_per_second"] for row in history[1:] or history),
        "wall_seconds": place.seconds,
    }
    if "val_error" in history[0]:
        chosen = min(history, key=lambda row: row["val_error"])
        result |= {"test_error_val_chosen": chosen["test_error"], "val_chosen_epoch": chosen["epoch"]}
    return result


class Saver:
    """Saves a run's place; the writing to disk goes on beside the steps that follow."""

    def __init__(
        self,
        workdir: pathlib.Path,
        steps_of: Callable[[int], Steps],
        place: TrainingState,
        identity: dict[str, Any],
    ):
        self._workdir, self._steps_of, self._place, self._identity = workdir, steps_of, place, identity
        self._pool = concurrent.futures.ThreadPoolExecutor(1)
        self._pending = concurrent.futures.Future()
        self._pending.set_result(None)

    def __call__(self) -> None:
        self._pending.result()
        steps = self._steps_of(self._place.epoch)
        self._pending = self._pool.submit(
            checkpoints.save,
            self._workdir,
            step=self._place.epoch * steps.per_epoch + self._place.step,
            arrays=steps.state(),
            meta={"place": dataclasses.asdict(self._place), "identity": self._identity},
        )

    def __enter__(self) -> "Saver":
        return self

    def __exit__(self, *_) -> None:
        self._pool.shutdown()
        self._pending.result()


def write_row(writer: NoSummaryWriter, row: dict[str, float]) -> None:
    writer.scalars(events.scalars_of(row), step=row["epoch"], time=row["time"])


def _describe(logs: dict[str, float]) -> dict[str, float]:
    """What the record keeps of an epoch's metrics."""
    row = {"train_error": 100 * (1 - logs["accuracy"])}
    row |= {name: logs[name] for name in ("loss", "ce", "kd", "at", "teacher_kl") if name in logs}
    if "agreement" in logs:
        row["agreement"] = 100 * logs["agreement"]
    return row
