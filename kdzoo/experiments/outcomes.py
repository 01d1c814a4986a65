"""Trials of a search and their ranking by validation error."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A trial so far.

    Attributes:
        trial: its ID.
        values: its hyperparameters.
        status: KerasTuner's COMPLETED, FAILED or RUNNING.
        val_error: error on the held-out examples in percent; None unless completed.
        epochs: the trial's last epoch.
        message: why it failed.
    """

    trial: str
    values: Mapping[str, Any]
    status: str
    val_error: float | None
    epochs: int
    message: str = ""

    @property
    def origin(self) -> str | None:
        """ID of the trial that it resumed from."""
        return self.values.get("tuner/trial_id")

    @property
    def error(self) -> float:
        """`val_error` of a completed trial.

        Raises:
            ValueError: if it is not completed.
        """
        if self.val_error is None:
            raise ValueError(f"Only a completed trial has an error. Received: trial {self.trial}, {self.status}")
        return self.val_error


def rank(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Returns completed trials, the best first: most epochs first, then lowest error.

    Of a trial and the trial that resumed from it, only the latter is in the list.
    """
    completed = [outcome for outcome in outcomes if outcome.status == "COMPLETED"]
    resumed = {outcome.origin for outcome in completed}
    last = [outcome for outcome in completed if outcome.trial not in resumed]
    return sorted(last, key=lambda outcome: (-outcome.epochs, outcome.error, outcome.trial))


def standard_error(val_error: float, examples: int) -> float:
    """Returns the binomial standard error of an error, both in percent, above 0.

    One error and one hit are added, so that it is never 0.
    """
    share = (val_error / 100 * examples + 1) / (examples + 2)
    return 100 * math.sqrt(share * (1 - share) / examples)


def count_ties(ranked: Sequence[Outcome], examples: int) -> int:
    """Counts trials after the first, with as many epochs, that are within one standard error of the difference."""
    best = ranked[0]

    def chance(other: Outcome) -> float:
        return math.hypot(standard_error(best.error, examples), standard_error(other.error, examples))

    rivals = [other for other in ranked[1:] if other.epochs == best.epochs]
    return sum(other.error - best.error <= chance(other) for other in rivals)
