"""How far a run has come, told as its reader likes it: not at all, by a bar, a line an epoch, or JSON for a program."""

import dataclasses
import json
from collections.abc import Callable, Mapping


@dataclasses.dataclass(frozen=True)
class Progress:
    """A moment of a run.

    Attributes:
        epoch: epochs done.
        epochs: of the whole run.
        step: steps done of the epoch under way.
        steps: of an epoch.
        logs: metrics of the epoch under way so far.
        row: the history's row of the epoch that has just ended.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    logs: Mapping[str, float] | None = None
    row: Mapping[str, float] | None = None


def silent(progress: Progress) -> None:
    """Tells nothing."""


def lines() -> Callable[[Progress], None]:
    """A line an epoch."""

    def show(progress: Progress) -> None:
        if progress.row:
            print(_epoch_line(progress), flush=True)

    return show


def bar() -> Callable[[Progress], None]:
    """Keras's progress bar, and a line an epoch."""
    import keras

    bars = {}

    def show(progress: Progress) -> None:
        if progress.row:
            print(f"\r{_epoch_line(progress)}\x1b[K", flush=True)
        elif progress.epoch < progress.epochs:
            if progress.epoch not in bars:
                bars.clear()
                bars[progress.epoch] = keras.utils.Progbar(progress.steps, stateful_metrics=("loss", "train_error"))
            values = [(name, progress.logs[name]) for name in ("loss", "train_error") if progress.logs]
            bars[progress.epoch].update(progress.step, values, finalize=False)

    return show


def json_lines() -> Callable[[Progress], None]:
    """A JSON object a line, for the program that started this one."""

    def show(progress: Progress) -> None:
        print(json.dumps(dataclasses.asdict(progress)), flush=True)

    return show


def _epoch_line(progress: Progress) -> str:
    row = progress.row
    said = [f"epoch {progress.epoch}/{progress.epochs}: loss {row['loss']:.4f}"]
    errors = {split: row.get(f"{split}_error") for split in ("train", "val", "test")}
    said += [f"{split} error {error:.2f} %" for split, error in errors.items() if error is not None]
    return ", ".join([*said, f"lr {row['lr']:.4g}", f"{row['images_per_second']:.0f} images/s"])
