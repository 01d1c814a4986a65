"""The term of a student's loss that a method adds, with all that the method keeps between batches."""

from typing import Any

import keras
from keras import ops

from kdzoo.distillation import replicas
from kdzoo.distillation.method import FEATURES, INDEX, LAST_MAP, STAGES, Method, Outputs, Shapes, Training
from zoo import InputError


class EpochBegin(keras.callbacks.Callback):
    """Announces each epoch to the `Distiller`."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Sets the epoch's factors."""
        self.model.begin_epoch(epoch, self.params["epochs"])


class MethodTerm(keras.layers.Layer):
    """A method's term: its adapters, and the factors of the epoch.

    Args:
        method: the method.
        weight: of the term.
        student, teacher: shapes of their outputs, those of the teacher None without one.
        training: see `Method.make_adapters`.
        num_teachers: number of teachers.

    Raises:
        InputError: if the adapters do not fit the networks.
    """

    def __init__(
        self,
        method: Method,
        weight: float,
        *,
        student: Shapes,
        teacher: Shapes | None,
        training: Training | None,
        num_teachers: int,
    ) -> None:
        super().__init__(name="method", dtype="float32")
        self.method, self.weight = method, weight
        self.adapters: dict[str, Any] = {}
        if method.needs:
            if teacher is None:
                raise InputError("A method that compares more than logits needs teacher_shapes with outputs_given.")
            self.adapters = method.make_adapters(student, teacher, training)
            for name in method.pretrained:
                self.adapters[name].trainable = False
        if self.adapters and num_teachers > 1:
            raise InputError(f"A method with adapters needs one teacher. Received: {num_teachers} teachers")
        # Of this term, and of all others.
        self.factors = self.add_weight(shape=(2,), initializer="ones", trainable=False, name="factors")

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Sets the factors of an epoch, see `Method.factors`."""
        self.factors.assign(self.method.factors(epoch, epochs))

    def add_to(self, others: Any, y: Any, y_pred: Any) -> Any:
        """Returns the sum [n] of all terms, from that of the others."""
        return self.factors[1] * others + self.factors[0] * self.weight * self.loss(y, y_pred)

    def loss(self, y: Any, y_pred: Any) -> Any:
        """Computes the method's loss [n], without its weight.

        Once for each batch, since adapters have a state: `y_pred`, if it is a dict, keeps it.

        Args:
            y: labels, with the teacher outputs.
            y_pred: what the student computed.
        """
        predicted = y_pred if isinstance(y_pred, dict) else {"logits": y_pred}
        if "method_loss" not in predicted:
            predicted["method_loss"] = self._compute(y if isinstance(y, dict) else {"label": y}, predicted)
        return predicted["method_loss"]

    def _compute(self, y: dict[str, Any], predicted: dict[str, Any]) -> Any:
        of_student = predicted.get(STAGES, ()), predicted.get(FEATURES), predicted.get(LAST_MAP), y.get(INDEX)
        student, labels = Outputs(predicted["logits"], *of_student), y["label"]
        teachers = teachers_of(y)
        if self.method.is_relation:
            student, teachers, labels = replicas.gather((student, teachers, labels))
        losses = [self.method.compute(student, teacher, labels=labels, adapters=self.adapters) for teacher in teachers]
        loss = ops.cast(sum(losses) / len(losses), "float32")
        if self.method.is_relation:  # of the whole batch: each replica has its mean
            loss = ops.mean(loss)
        return loss if len(loss.shape) else ops.broadcast_to(loss, (ops.shape(predicted["logits"])[0],))


def teachers_of(y: dict[str, Any]) -> list[Any]:
    """What each teacher computed of a batch; all have their mean logits in common. [None] without a teacher."""
    if "teacher_logits" not in y:
        return [None]
    of_each = {name: y.get(f"teacher_{name}", ()) for name in (STAGES, FEATURES, LAST_MAP)}
    count = max(1, *map(len, of_each.values()))
    return [
        Outputs(y["teacher_logits"], **{name: outputs[i] for name, outputs in of_each.items() if outputs})
        for i in range(count)
    ]
