"""The training of a method's own networks before the student's: of FT's paraphraser."""

from typing import Any

import keras
from keras import ops

from kdzoo.distillation.distiller import Distiller
from kdzoo.distillation.method_term import MethodTerm, teachers_of


class Pretraining(Distiller):
    """Trains the adapters that a method trains first. The student stays as it is.

    Args:
        distiller: of the method; its teachers and its term are shared.
    """

    def __init__(self, distiller: Distiller) -> None:
        super().__init__(distiller.student, ce_weight=1.0, kd_weight=0.0)
        self.share_teachers(distiller)
        self.kept_term = distiller.term

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Computes the student's logits, which no BatchNorm notices."""
        return self.student(inputs, training=False)

    @property
    def _trained(self) -> MethodTerm:
        assert self.kept_term
        return self.kept_term

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """The weights of the method's networks."""
        term = self._trained
        return [variable for name in term.method.pretrained for variable in term.adapters[name].variables]

    @property
    def trainable_weights(self) -> list[keras.Variable]:
        """The same."""
        return self.trainable_variables

    @property
    def non_trainable_variables(self) -> list[keras.Variable]:
        """All others."""
        trained = {id(variable) for variable in self.trainable_variables}
        return [variable for variable in self.variables if id(variable) not in trained]

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Computes the method's loss of its own networks: a scalar."""
        (teacher,), term = teachers_of(y), self._trained
        loss = term.method.pretrain(teacher, adapters=term.adapters)
        loss = ops.broadcast_to(ops.cast(loss, "float32"), (ops.shape(y_pred)[0],))
        return self._batch_mean(loss, loss, sample_weight)
