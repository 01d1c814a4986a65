"""Student and teachers of a `Distiller`: whether they fit together, and what a method sees of them."""

from collections.abc import Sequence
from typing import Any

import keras

from kdzoo.distillation.method import Outputs, Shapes
from kdzoo.distillation.stages import stage_names
from zoo import InputError


def check_pair(
    student: keras.Model,
    teacher: keras.Model,
    *,
    attention: bool,
    student_stages: Sequence[str] = (),
    teacher_stages: Sequence[str] = (),
    any_size: bool = False,
) -> None:
    """Raises InputError if student and teacher differ in image shape, classes or, with attention, number of stages.

    Also if they share weights to train: freezing the teacher's would freeze the student's.
    """
    shared = {id(weight) for weight in student.trainable_weights} & {id(weight) for weight in teacher.weights}
    if teacher is student or shared:
        received = f"{len(shared)} weights of {student.name} in {teacher.name}"
        raise InputError(f"A teacher must share no weights that its student trains. Received: {received}")
    stages = []
    if attention:
        counts = len(stage_names(student, student_stages)), len(stage_names(teacher, teacher_stages))
        stages = [("number of stages", *counts)]
    for what, of_student, of_teacher in (
        *([] if any_size else [("image shape", student.input_shape[1:], teacher.input_shape[1:])]),
        ("number of classes", student.output_shape[-1], teacher.output_shape[-1]),
        *stages,
    ):
        if of_student != of_teacher:
            raise InputError(
                f"A teacher must have its student's {what}: {of_student} of {student.name}."
                f" Received: {of_teacher} of {teacher.name}"
            )


def shapes_of(tap: keras.Model) -> Shapes:
    """The shapes of the outputs of a model of `with_outputs`."""
    outputs = dict(zip(tap.output_names, tap.outputs, strict=False)) if not isinstance(tap.output, dict) else tap.output
    stages = tuple(tuple(stage.shape[1:]) for stage in outputs.get("stages", ()))
    channels = outputs["features"].shape[-1] if "features" in outputs else 0
    return Shapes(outputs["logits"].shape[-1], stages, channels)


def outputs_of(y: Any, y_pred: Any) -> tuple[Outputs, list[Outputs | None]]:
    """What the student and each teacher computed of a batch. Several teachers have their mean logits in common."""
    predicted = y_pred if isinstance(y_pred, dict) else {"logits": y_pred}
    index = y.get("index") if isinstance(y, dict) else None
    student = Outputs(predicted["logits"], predicted.get("stages", ()), predicted.get("features"), index)
    if not isinstance(y, dict) or "teacher_logits" not in y:
        return student, [None]
    stages, features = y.get("teacher_stages", [()]), y.get("teacher_features", [None])
    pairs = zip(
        stages * max(1, len(features) // len(stages)), features * max(1, len(stages) // len(features)), strict=True
    )
    return student, [Outputs(y["teacher_logits"], of_stages, of_features) for of_stages, of_features in pairs]
