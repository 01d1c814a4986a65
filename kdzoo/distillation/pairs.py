"""Student and teachers of a `Distiller`: whether they fit together, and the shapes of their outputs."""

from collections.abc import Sequence

import keras

from kdzoo.distillation.method import FEATURES, LAST_MAP, STAGES, Shapes
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


def shapes_of(network: keras.Model) -> Shapes:
    """The shapes of a network's logits, or of the outputs of a model of `with_outputs`."""
    outputs = network.output if isinstance(network.output, dict) else {"logits": network.output}
    stages = tuple(tuple(stage.shape[1:]) for stage in outputs.get(STAGES, ()))
    channels = outputs[FEATURES].shape[-1] if FEATURES in outputs else 0
    last_map = tuple(outputs[LAST_MAP].shape[1:]) if LAST_MAP in outputs else ()
    return Shapes(outputs["logits"].shape[-1], stages, channels, last_map)
