"""Learning-rate schedules as pure functions of the epoch, so that a resumed run equals an uninterrupted one."""

import dataclasses
import math
import re
from fractions import Fraction
from typing import Any, ClassVar

from kdzoo.ranges import Range
from zoo import InputError

RULE = (
    "A schedule must be k-N (LR step every k of N epochs, 1 <= k <= N), cos-N or N, for example 20-65 or cos-65, each"
    " with xS to shrink it to a share S of its length, for example 20-65x0.25, and @M to end after M of its epochs"
)
_EPOCH = Range(least=0, example=0)


@dataclasses.dataclass(frozen=True)
class StepSchedule:
    """`lr * decay ** (epoch // step)` over `epochs` epochs: the paper's k/N. Its name is k-N."""

    step: int
    epochs: int
    kind: ClassVar[str] = ""  # in legends; empty for the usual kind

    def __str__(self) -> str:
        return f"{self.step}-{self.epochs}"

    @property
    def paper_form(self) -> str:
        """The schedule as the paper prints it."""
        return f"{self.step}/{self.epochs}"

    def learning_rate(self, epoch: int | Fraction, *, lr: float, decay: float = 0.2) -> float:
        """Returns the learning rate during `epoch`, counted from 0, starting from `lr`."""
        _EPOCH.check("epoch", epoch)
        return lr * decay ** (epoch // self.step)


@dataclasses.dataclass(frozen=True)
class CosineSchedule:
    """`lr / 2 * (1 + cos(pi * epoch / epochs))`, without restarts: Loshchilov & Hutter, ICLR 2017. Named cos-N."""

    epochs: int
    kind: ClassVar[str] = "cosine"

    def __str__(self) -> str:
        return f"cos-{self.epochs}"

    @property
    def paper_form(self) -> str:
        """The schedule as plots print it."""
        return f"cos {self.epochs}"

    def learning_rate(self, epoch: int | Fraction, *, lr: float, decay: float | None = None) -> float:
        """Returns the learning rate during `epoch`, counted from 0, starting from `lr`; ignores `decay`."""
        _EPOCH.check("epoch", epoch)
        return lr / 2 * (1 + math.cos(math.pi * epoch / self.epochs))


@dataclasses.dataclass(frozen=True)
class StoppedSchedule(StepSchedule):
    """The schedule named N, as in `resnet34_50` on ImageNet: 30-90 shrunk to `epochs`, with a step at each third.

    The supplement does not print its ImageNet step size. That the step shrinks with N is an assumption.
    """

    def __init__(self, epochs: int) -> None:
        super().__init__(step=math.ceil(epochs / 3), epochs=epochs)

    def __str__(self) -> str:
        return str(self.epochs)

    @property
    def paper_form(self) -> str:
        """The schedule as the paper prints it."""
        return str(self.epochs)


@dataclasses.dataclass(frozen=True)
class ScaledSchedule:
    """A full schedule compressed into a share of its epochs: the same curve, sampled more coarsely.

    For machines too small for the full schedule. Its name is the full one's with xS, so that the two are not confused.
    """

    full: "Schedule"
    scale: Fraction  # above 0, below 1

    @property
    def epochs(self) -> int:
        """The full schedule's epochs, scaled and rounded (halves up), at least 1."""
        return max(1, math.floor(self.full.epochs * self.scale + Fraction(1, 2)))

    def __str__(self) -> str:
        return f"{self.full}x{float(self.scale)}"

    @property
    def kind(self) -> str:
        """The full schedule's."""
        return self.full.kind

    @property
    def paper_form(self) -> str:
        """The full schedule's."""
        return self.full.paper_form

    def learning_rate(self, epoch: int | Fraction, *, lr: float, decay: float = 0.2) -> float:
        """Returns the learning rate during `epoch`, counted from 0: the full schedule's at `epoch / scale`, exactly."""
        _EPOCH.check("epoch", epoch)
        return self.full.learning_rate(Fraction(epoch) / self.scale, lr=lr, decay=decay)


@dataclasses.dataclass(frozen=True)
class CutSchedule:
    """A full schedule that ends after some of its epochs, at whatever learning rate it has there. Its name is full@M.

    Not to be confused with an early-stopped teacher's, which is shrunk: it takes all steps of the learning rate.
    """

    full: "Schedule"
    epochs: int  # at least 1, fewer than the full schedule's

    def __str__(self) -> str:
        return f"{self.full}@{self.epochs}"

    @property
    def kind(self) -> str:
        """In legends: the full schedule's, cut."""
        return f"{self.full.kind}, cut".removeprefix(", ")

    @property
    def paper_form(self) -> str:
        """The full schedule's, with the number of epochs."""
        return f"{self.full.paper_form}@{self.epochs}"

    def learning_rate(self, epoch: int | Fraction, *, lr: float, decay: float = 0.2) -> float:
        """Returns the learning rate during `epoch`, counted from 0: the full schedule's."""
        return self.full.learning_rate(epoch, lr=lr, decay=decay)


Schedule = StepSchedule | CosineSchedule | ScaledSchedule | CutSchedule


def parse(text: str) -> Schedule:
    """Returns the schedule with this name, for example 20-65, cos-65, 50, 20-65x0.25 or 60-200@65.

    Raises:
        InputError: if the name is not a schedule's.
    """
    name, at, end = text.partition("@")
    if at:
        full = parse(name)
        if re.fullmatch("[1-9][0-9]{0,5}", end) and int(end) < full.epochs:
            return CutSchedule(full, int(end))
    match = re.fullmatch(r"(?:(cos|[1-9][0-9]{0,5})-)?([1-9][0-9]{0,5})(?:x(0\.[0-9]{0,3}[1-9]))?", text)
    if match and match[3]:
        return ScaledSchedule(parse(text.removesuffix(f"x{match[3]}")), Fraction(match[3]))
    if match:
        first, epochs = match[1], int(match[2])
        if first is None:
            return StoppedSchedule(epochs)
        if first == "cos":
            return CosineSchedule(epochs)
        if int(first) <= epochs:
            return StepSchedule(int(first), epochs)
    raise InputError(f"{RULE}. Received: {text}")


def cut(schedule: str, epochs: int) -> str:
    """Returns the name of a schedule that ends after so many of this one's epochs."""
    return f"{schedule.partition('@')[0]}@{epochs}"


def full_epochs(schedule: str) -> int:
    """Returns the number of epochs of the schedule with this name, were it not cut."""
    return parse(schedule.partition("@")[0]).epochs


def warm_up(rate: float, *, epoch: int, step: int, steps: int, epochs: float) -> float:
    """Returns the learning rate of a step while it rises to a schedule's, in proportion to the number of the step.

    Goyal et al., 2017 (arXiv:1706.02677), section 2.2.

    Args:
        rate: the schedule's learning rate during `epoch`.
        epoch, step: from 0.
        steps: number of steps of an epoch.
        epochs: for how long it rises; 0: not at all. The last of these steps has the whole rate, as have all after it.
    """
    return rate * min(1.0, (epoch * steps + step + 1) / (epochs * steps)) if epochs else rate


def callback(schedule: Schedule, *, lr: float, decay: float = 0.2) -> Any:
    """Returns a `keras.callbacks.LearningRateScheduler` for the schedule, starting from `lr`."""
    import keras

    return keras.callbacks.LearningRateScheduler(lambda epoch, _: schedule.learning_rate(epoch, lr=lr, decay=decay))
