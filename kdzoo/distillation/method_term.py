"""The term of a student's loss that a method adds, with all that the method keeps between batches."""

import dataclasses
from typing import Any

import keras
from keras import ops

from kdzoo.distillation import replicas
from kdzoo.distillation.method import (
    FEATURES,
    INDEX,
    LAST_MAP,
    STAGES,
    STRONG,
    Method,
    Outputs,
    Shapes,
    Training,
)
from kdzoo.distillation.strong_view import StrongView
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
        self.view: StrongView | None = None
        if STRONG in method.required:
            if teacher is None:
                rule = "A method that learns from two views needs the teachers themselves"
                raise InputError(f"{rule}. Received: outputs_given")
            if training is None or not training.mean:
                raise InputError("A method that learns from two views needs training=Training(batch_size, mean, std).")
            self.view = StrongView(training.mean, training.std, seed=training.seed)
        if {STAGES, FEATURES, LAST_MAP} & set(method.required):
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

    def add_to(self, others: Any, y: Any, y_pred: Any, strong: tuple[Any, Any] | None) -> Any:
        """Returns the sum [n] of all terms, from that of the others."""
        return self.factors[1] * others + self.factors[0] * self.weight * self.loss(y, y_pred, strong)

    def strong_view(self, images: Any) -> Any:
        """Returns a second view of standardised images; what is drawn does not depend on the number of replicas."""
        assert self.view is not None
        return replicas.own_share(self.view(replicas.gather(images)), images)

    def loss(self, y: Any, y_pred: Any, strong: tuple[Any, Any] | None = None) -> Any:
        """Computes the method's loss [n], without its weight.

        Once for each batch, since adapters have a state: `y_pred`, if it is a dict, keeps it.

        Args:
            y: labels, with the teacher outputs.
            y_pred: what the student computed.
            strong: logits of student and teacher for the second view, if the method needs one.
        """
        predicted = y_pred if isinstance(y_pred, dict) else {"logits": y_pred}
        if "method_loss" not in predicted:
            predicted["method_loss"] = self._compute(y if isinstance(y, dict) else {"label": y}, predicted, strong)
        return predicted["method_loss"]

    def _compute(self, y: dict[str, Any], predicted: dict[str, Any], strong: tuple[Any, Any] | None) -> Any:
        of_student = predicted.get(STAGES, ()), predicted.get(FEATURES), predicted.get(LAST_MAP), y.get(INDEX)
        student, labels = Outputs(predicted["logits"], *of_student), y["label"]
        teachers = teachers_of(y)
        if strong is not None:
            student = dataclasses.replace(student, strong=strong[0])
            teachers = [dataclasses.replace(teacher, strong=strong[1]) for teacher in teachers]
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
