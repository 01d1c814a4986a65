"""Checkpoints of a run under way: written beside its steps, and resumed from."""

import concurrent.futures
import dataclasses
import logging
import pathlib
import time

from kdzoo.runs import checkpoints, machine
from kdzoo.runs.identity import changes, of_checkpoint
from kdzoo.training import divergence
from kdzoo.training.inputs import RunInputs
from kdzoo.training.phases import Phases
from kdzoo.training.state import TrainingState
from zoo import InputError

_log = logging.getLogger(__name__)


class CheckpointWriter:
    """Saves a run. A thread writes to the disk while the next steps run.

    Args:
        workdir: the run's directory.
        phases: of the run.
        state: of the run; read at each checkpoint.
        inputs: of the run; only the first of its processes writes.
        seconds: longest time between two checkpoints.
    """

    def __init__(
        self,
        workdir: pathlib.Path,
        phases: Phases,
        state: TrainingState,
        inputs: RunInputs,
        *,
        seconds: float,
    ):
        self._workdir, self._phases, self._state, self._identity = workdir, phases, state, inputs.identity
        self._seconds, self._saved = seconds, time.monotonic()
        self._lr, self._writes = inputs.config.lr, inputs.processes.is_first
        self._saved_at: tuple[int, int] | None = None  # epoch and step
        self._pool = concurrent.futures.ThreadPoolExecutor(1)
        self._pending: concurrent.futures.Future[None] | None = None

    def after_steps(self) -> None:
        """Saves the run if the last checkpoint is too long ago."""
        if time.monotonic() - self._saved > self._seconds:
            self._save()

    def after_epoch(self) -> None:
        """Saves the run."""
        self._save()

    def before_stop(self) -> None:
        """Saves the run, unless its newest checkpoint holds this very step."""
        if self._saved_at != (self._state.epoch, self._state.step):
            self._save()

    def _save(self) -> None:
        """Saves the run as it is now.

        Raises:
            InputError: if the checkpoint before this one could not be written, or the weights diverged.
        """
        self._wait()
        steps = self._phases.steps_at(self._state.epoch)
        arrays = steps.state()
        divergence.check_weights(arrays, epoch=self._state.epoch + bool(self._state.step), lr=self._lr)
        if self._writes:
            self._pending = self._pool.submit(
                checkpoints.save,
                self._workdir,
                step=self._state.epoch * steps.per_epoch + self._state.step,
                arrays=arrays,
                meta={"place": dataclasses.asdict(self._state), "identity": self._identity},
            )
        self._saved, self._saved_at = time.monotonic(), (self._state.epoch, self._state.step)

    def __enter__(self) -> "CheckpointWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        self._wait()

    def _wait(self) -> None:
        if self._pending:
            self._pending.result()


def resume(workdir: pathlib.Path, phases: Phases, inputs: RunInputs) -> TrainingState | None:
    """Restores the newest checkpoint of a run; None if there is none.

    Args:
        workdir: the run's directory.
        phases: whose variables are restored.
        inputs: of the run.

    Raises:
        InputError: if the checkpoint belongs to a run of another configuration, or is damaged.
    """
    found = inputs.processes.from_first(lambda: checkpoints.load(workdir))
    if found is None:
        return None
    arrays, meta = found
    if changed := changes(of_checkpoint(meta["identity"]), inputs.identity):
        raise InputError(
            "workdir must not hold an unfinished run of another configuration, unless restart is set."
            f" Received: {workdir}: {'; '.join(changed)}"
        )
    state = TrainingState(**meta["place"])
    phases.steps_at(state.epoch).restore(arrays)
    last = state.sessions[-1]
    now = {"versions": machine.versions(), "hardware": machine.hardware(), **inputs.processes.describe()}
    for what in now:
        if last.get(what) != now[what] and inputs.processes.is_first:
            _log.warning("Resuming with other %s, so maybe not to the bit: %s, now %s", what, last.get(what), now[what])
    return state
