"""The loop over the epochs and steps of a run."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from kdzoo.distillation import metrics, schedules
from kdzoo.runs.events import NoSummaryWriter
from kdzoo.runs.progress import Progress
from kdzoo.training import divergence
from kdzoo.training.checkpointing import CheckpointWriter
from kdzoo.training.inputs import RunInputs
from kdzoo.training.phases import Phases
from kdzoo.training.record import describe_metrics, write_row
from kdzoo.training.state import Stopped, TrainingState
from kdzoo.training.steps import Steps, call_ends
from zoo import InputError

REPORT_SECONDS = 1.0  # between two reports of progress within an epoch


class TrainingLoop:
    """Runs the epochs that a run has left, and moves its state along.

    Args:
        inputs: of the run.
        phases: of the run.
        state: where it begins; updated after each call of training steps.
        teacher_test_logits: computes the teachers' logits [n, classes] for the test images, None without teachers.
        checkpoints: saves the run.
        keep: keeps the run as it is after an epoch, called for each of its `kept_epochs`.
        events: event file of the run.
        progress: receives reports, see `kdzoo.runs.progress`.
        stopping: whether to stop; called between training steps.
    """

    def __init__(
        self,
        inputs: RunInputs,
        phases: Phases,
        state: TrainingState,
        *,
        teacher_test_logits: Callable[[], np.ndarray | None],
        checkpoints: CheckpointWriter,
        keep: Callable[[], None],
        events: NoSummaryWriter,
        progress: Callable[[Progress], None],
        stopping: Callable[[], bool],
    ):
        self._config, self._phases, self._state = inputs.config, phases, state
        self._schedule = schedules.parse(inputs.config.schedule)
        self._rate = schedules.callback(self._schedule, lr=inputs.config.lr, decay=inputs.config.lr_decay)
        self._evaluated = {name: inputs.splits[name] for name in ("test", "val") if len(inputs.splits[name])}
        self._teacher_test_logits = teacher_test_logits
        self._checkpoints, self._events, self._progress, self._stopping = checkpoints, events, progress, stopping
        self._keep, self._kept_epochs = keep, inputs.config.kept_epochs
        self._began, self._seconds_before = time.monotonic(), state.seconds
        self._reported = self._began

    def run(self) -> None:
        """Trains to the end of the schedule.

        Raises:
            InputError: if training diverges, a teacher does not respond, pictures cannot be read, or a checkpoint
                cannot be written.
            Stopped: once `stopping` returns true; the run is saved.
        """
        state, epochs = self._state, self._schedule.epochs
        self._report()
        while state.epoch < epochs:
            steps = self._phases.steps_at(state.epoch)
            images_per_second = self._train_epoch(steps)
            row = self._evaluate(steps, images_per_second)
            state.history.append(row)
            state.epoch, state.step = state.epoch + 1, 0
            self._count_seconds()
            if state.epoch in self._kept_epochs:
                self._keep()  # before the checkpoint: a run that resumes from it has kept the epoch
            self._checkpoints.after_epoch()
            write_row(self._events, row)
            self._report(row=row)
            if self._stopping() and state.epoch < epochs:
                self._checkpoints.before_stop()
                raise Stopped(f"after epoch {state.epoch} of {epochs}")
        self._check("the cross-entropy on the test set", state.history[-1]["test_ce"], epoch=epochs)

    def _train_epoch(self, steps: Steps) -> float:
        """Runs the steps that the epoch has left. Returns images per second."""
        state = self._state
        self._rate.set_model(steps.model)
        self._rate.on_epoch_begin(state.epoch)
        steps.model.begin_epoch(state.epoch, self._config.planned_kd_epochs)
        if not state.step:
            steps.model.reset_metrics()
        began, first = time.monotonic(), state.step
        for end in call_ends(steps.per_epoch, fused=steps.fused):
            if end <= state.step:
                continue
            with self._saved_on_failure():  # no step was taken without its teacher or its pictures
                steps.run(epoch=state.epoch, begin=state.step, end=end)
            state.step = end
            if end < steps.per_epoch:
                self._between_steps(steps)
        return (state.step - first) * self._config.batch_size / (time.monotonic() - began)

    @contextlib.contextmanager
    def _saved_on_failure(self) -> Iterator[None]:
        """Saves the run if a teacher does not respond, or pictures cannot be read."""
        try:
            yield
        except InputError:
            self._count_seconds()
            self._checkpoints.before_stop()
            raise

    def _between_steps(self, steps: Steps) -> None:
        """Stops, saves or reports, if it is time for it."""
        state = self._state
        self._count_seconds()
        if self._stopping():
            self._checkpoints.before_stop()
            raise Stopped(
                f"in epoch {state.epoch + 1} of {self._schedule.epochs}, step {state.step} of {steps.per_epoch}"
            )
        self._checkpoints.after_steps()
        if time.monotonic() - self._reported > REPORT_SECONDS:
            self._report(logs=self._metrics(steps))

    def _evaluate(self, steps: Steps, images_per_second: float) -> dict[str, float]:
        """The epoch's row of the history: training metrics, and the metrics of the test and validation images."""
        epoch = self._state.epoch
        row = {"epoch": epoch + 1, "lr": steps.learning_rate(epoch, steps.per_epoch - 1)}
        row |= self._metrics(steps)
        row["images_per_second"] = images_per_second
        for name, split in self._evaluated.items():
            with self._saved_on_failure():
                logits = steps.predict(split)
                # After it: on JAX the variables of teachers within the step are in its carry until then.
                teacher_logits = self._teacher_test_logits() if name == "test" else None
            with np.errstate(invalid="ignore"):  # logits may overflow in an epoch and be finite in the next
                counts = split.counts
                if teacher_logits is not None:
                    teacher_logits = teacher_logits[counts]
                described = metrics.describe(logits[counts], split.labels[counts], teacher_logits=teacher_logits)
            row |= {f"{name}_{metric}": value for metric, value in described.items()}
        row["time"] = time.time()
        return row

    def _metrics(self, steps: Steps) -> dict[str, float]:
        """The epoch's training metrics so far. Raises InputError if the loss diverged."""
        logs = steps.metrics()
        self._check("the loss", logs["loss"], epoch=self._state.epoch + 1)
        return describe_metrics(logs)

    def _check(self, name: str, value: float, *, epoch: int) -> None:
        divergence.check({name: value}, epoch=epoch, lr=self._config.lr)

    def _count_seconds(self) -> None:
        self._state.seconds = self._seconds_before + time.monotonic() - self._began

    def _report(self, **details: Any) -> None:
        self._reported = time.monotonic()
        state, steps = self._state, self._phases.steps_at(self._state.epoch)
        self._progress(Progress(state.epoch, self._schedule.epochs, state.step, steps.per_epoch, **details))
