"""Methods on logits as losses of Keras's own distiller, `keras.distillation.Distiller`."""

from typing import Any

import keras
from keras import ops

from kdzoo.distillation import registry
from kdzoo.distillation.method import Outputs
from zoo import InputError


class MethodLoss(keras.distillation.DistillationLoss):
    """A method's loss for `keras.distillation.Distiller`, whose teacher and student return logits [n, classes].

    Keras's distiller hands no labels to its losses, and has no place for stages and adapters: methods that need them
    take `kdzoo.Distiller`.

    Args:
        method: name of the method: see `kdzoo.distillation.registry.names`.
        **arguments: of the method.

    Raises:
        InputError: if there is no such method, it has no such argument, or needs more than logits.
    """

    def __init__(self, method: str, **arguments: Any) -> None:
        kind = registry.load(method)
        self._name, self._method = method, registry.make(method, arguments)
        if self._method.required or kind.has_labels or not kind.has_teacher:
            raise InputError(f"A loss of Keras's distiller compares logits alone, for example dist. Received: {method}")

    def compute_loss(self, teacher_outputs: Any, student_outputs: Any, **_: Any) -> Any:
        """Computes the loss, averaged over the batch: a scalar."""
        student, teacher = Outputs(student_outputs), Outputs(teacher_outputs)
        return ops.mean(self._method.compute(student, teacher, labels=None, adapters={}))

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {"method": self._name, **self._method.arguments}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "MethodLoss":
        """Makes one from its arguments."""
        return cls(**config)
