"""Progress of a run, and how to show it: a bar, a line per epoch, or JSON for another program."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        epoch: finished epochs.
        epochs: number of epochs of the run.
        step: finished steps of the current epoch.
        steps: number of steps per epoch.
        logs: metrics of the current epoch so far.
        row: row of the history, for an epoch that has just ended.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    logs: Mapping[str, float] | None = None
    row: Mapping[str, float] | None = None


def silent(progress: Progress) -> None:
    """Shows nothing."""


def lines() -> Callable[[Progress], None]:
    """Returns a function that prints a line per epoch."""

    def show(progress: Progress) -> None:
        if progress.row:
            print(_epoch_line(progress, progress.row), flush=True)

    return show


def bar() -> Callable[[Progress], None]:
    """Returns a function that updates Keras's progress bar and prints a line per epoch."""
    import keras

    bars: dict[int, Any] = {}

    def show(progress: Progress) -> None:
        if progress.row:
            print(f"\r{_epoch_line(progress, progress.row)}\x1b[K", flush=True)
        elif progress.epoch < progress.epochs:
            if progress.epoch not in bars:
                bars.clear()
                bars[progress.epoch] = keras.utils.Progbar(progress.steps, stateful_metrics=("loss", "train_error"))
            logs = progress.logs or {}
            values = [(name, logs[name]) for name in ("loss", "train_error") if logs]
            bars[progress.epoch].update(progress.step, values, finalize=False)

    return show


def json_lines() -> Callable[[Progress], None]:
    """Returns a function that prints a JSON object per line, for the program that started this one."""

    def show(progress: Progress) -> None:
        print(json.dumps(dataclasses.asdict(progress)), flush=True)

    return show


def parse(line: str) -> Progress | None:
    """Returns the progress in a line that `json_lines` printed; None for any other line."""
    try:
        return Progress(**json.loads(line))
    except (ValueError, TypeError):
        return None


def _epoch_line(progress: Progress, row: Mapping[str, float]) -> str:
    parts = [f"epoch {progress.epoch}/{progress.epochs}: loss {row['loss']:.4f}"]
    errors = {split: row.get(f"{split}_error") for split in ("train", "val", "test")}
    parts += [f"{split} error {error:.2f} %" for split, error in errors.items() if error is not None]
    return ", ".join([*parts, f"lr {row['lr']:.4g}", f"{row['images_per_second']:.0f} images/s"])
