"""The state of a run beside the variables of its training step."""

import dataclasses
import datetime
from typing import Any

from kdzoo.runs import machine


class Stopped(Exception):
    """A run was stopped on request; its state is saved."""


def timestamp() -> str:
    """The time now, in UTC, to the second, in ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


@dataclasses.dataclass
class TrainingState:
    """The epoch and step that a run has reached, and its history.

    Attributes:
        epoch: epochs done.
        step: steps done of the epoch under way.
        history: a row of metrics for each epoch done.
        started: when the run began, in ISO 8601.
        seconds: training time so far, over all sessions.
        sessions: one entry for each start of the run, with versions and hardware.
    """

    epoch: int = 0
    step: int = 0
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    started: str = dataclasses.field(default_factory=timestamp)
    seconds: float = 0.0
    sessions: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def begin_session(self, *, cache_folder: str, **parallel: int) -> None:
        """Adds a session that starts now.

        Args:
            cache_folder: of the tables of teacher outputs.
            **parallel: numbers of devices and processes of a data-parallel run.
        """
        self.sessions.append(
            {
                "started": timestamp(),
                "epoch": self.epoch,
                "step": self.step,
                "versions": machine.versions(),
                "hardware": machine.hardware(),
                **parallel,
                "teacher_cache": cache_folder,
            }
        )
