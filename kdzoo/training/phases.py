"""The phases of a run: distillation, before it what a method trains first, after `kd_until` fine-tuning on labels."""

import abc

from kdzoo.distillation import run_method, schedules
from kdzoo.distillation.distiller import Distiller
from kdzoo.runs.config import RunConfig
from kdzoo.training import backends, build
from kdzoo.training.delivery import Delivery
from kdzoo.training.inputs import RunInputs
from kdzoo.training.steps import Steps


class Phase(abc.ABC):
    """Epochs whose training steps are all of one kind.

    Args:
        epochs: numbers of the epochs, from 0.
        model: the run's `Distiller`.
        inputs: of the run.
        delivery: how teacher outputs reach a step.
    """

    def __init__(self, epochs: range, model: Distiller, inputs: RunInputs, delivery: Delivery):
        self.epochs, self._model, self._inputs, self._delivery = epochs, model, inputs, delivery

    @abc.abstractmethod
    def make_steps(self) -> Steps:
        """The training steps of this phase, ready to run."""


class Pretraining(Phase):
    """Networks of the method learn from the teachers; the student stays as it is."""

    def make_steps(self) -> Steps:
        inputs = self._inputs
        model = build.build_pretraining(self._model, inputs.config)
        return backends.make(model, inputs.dataset, inputs.splits["train"], inputs.config, self._delivery.step_outputs)


class Distillation(Phase):
    """The student learns from labels and teachers. (A run without teachers has this phase alone, on labels.)"""

    def make_steps(self) -> Steps:
        inputs = self._inputs
        outputs = self._delivery.step_outputs
        return backends.make(self._model, inputs.dataset, inputs.splits["train"], inputs.config, outputs)


class FineTuning(Phase):
    """The student learns from labels alone: the end of early-stopped distillation (ESKD)."""

    def make_steps(self) -> Steps:
        inputs = self._inputs
        model = build.build_label_model(self._model, inputs.config)
        return backends.make(model, inputs.dataset, inputs.splits["train"], inputs.config)


class Phases:
    """All phases of a run. One at a time holds its steps in memory."""

    def __init__(self, model: Distiller, inputs: RunInputs, delivery: Delivery):
        kinds: tuple[type[Phase], ...] = (Pretraining, Distillation, FineTuning)
        parts = zip(kinds, split_epochs(inputs.config), strict=True)
        self._phases: list[Phase] = [kind(epochs, model, inputs, delivery) for kind, epochs in parts if epochs]
        self._current: tuple[Phase, Steps] | None = None

    def steps_at(self, epoch: int) -> Steps:
        """The training steps of this epoch (from 0); past the last epoch, those of the last phase."""
        phase = next((phase for phase in self._phases if epoch in phase.epochs), self._phases[-1])
        if self._current is None or self._current[0] is not phase:
            self._current = None  # before the next steps take their memory
            self._current = phase, phase.make_steps()
        return self._current[1]


def split_epochs(config: RunConfig) -> tuple[range, range, range]:
    """Epochs of what the method trains first, of distillation, and of fine-tuning on labels."""
    epochs = schedules.parse(config.schedule).epochs
    first = run_method.pretraining_epochs(config.own_method, config.planned_kd_epochs)
    return range(first), range(first, config.kd_epochs), range(config.kd_epochs, epochs)
