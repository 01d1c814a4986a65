"""SimKD: a projector maps the student's last stage to the teacher's, whose classifier predicts.

Chen et al., "Knowledge Distillation with the Reused Teacher Classifier", CVPR 2022 (arXiv:2203.14001), section 3. The
authors' code (github.com/DefangChen/SimKD, models/util.py) differs: the paper takes the squared L2 norm of the
difference, the code the mean square. Default: the code.

There is no other loss: neither labels nor KD. Projector, global average pooling and the teacher's classifier, frozen,
are part of the student that is deployed.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kdzoo.distillation.adapters import conv, features
from kdzoo.distillation.features import mean_square, shrink
from kdzoo.distillation.method import Method, Outputs
from kdzoo.distillation.stages import find_head, find_last_map
from kdzoo.ranges import Range
from zoo.layers import batch_norm_relu

CE_WEIGHT, WEIGHT = 0.0, 1.0  # authors' README, CIFAR-100 and ImageNet
FACTOR = 2  # of the teacher's channels over the projector's; 4 and 8 cost less


def loss(*, student_stage: Any, teacher_stage: Any) -> Any:
    """Computes the mean square of the difference of two stages; the larger one is average-pooled first.

    Args:
        student_stage: [n, h, w, channels], the projector's output.
        teacher_stage: last stage after the activation, the same channels.

    Returns:
        [n], at least 0.

    Raises:
        InputError: if the channels differ.
    """
    return mean_square(student_stage, teacher_stage)


def projector(*, student_shape: Sequence[int], teacher_shape: Sequence[int], factor: int = FACTOR) -> keras.Model:
    """Builds the projector: student features [n, h, w, channels] -> the teacher's channels, at least 0.

    Student features larger than the teacher's are average-pooled first.

    Args:
        student_shape: (height, width, channels).
        teacher_shape: (height, width, channels).
        factor: of the teacher's channels over those of the convolutions between.
    """
    height, width, filters = teacher_shape
    inputs = features(student_shape)
    x = shrink(inputs, (height, width))
    for i, (channels, kernel_size) in enumerate(((filters // factor, 1), (filters // factor, 3), (filters, 1)), 1):
        x = batch_norm_relu(conv(x, channels, kernel_size, name=f"conv{i}"), name=f"{i}")
    return keras.Model(inputs, x, name="projector")


@dataclasses.dataclass(frozen=True)
class SimKD(Method):
    """Reuse of the teacher's classifier.

    Args:
        factor: see `projector`.
    """

    factor: int = FACTOR
    needs = ("last_map",)
    ce_weight, weight = CE_WEIGHT, WEIGHT
    ranges = (("factor", Range(least=1, most=64, whole=True, example=FACTOR)),)

    def make_student(self, student: keras.Model, teacher: keras.Model) -> keras.Model:
        """Returns the student up to its last map, then the projector, pooling and the teacher's head, frozen."""
        of_student, of_teacher, head = find_last_map(student), find_last_map(teacher), find_head(teacher)
        shapes = {"student_shape": of_student.shape[1:], "teacher_shape": of_teacher.shape[1:]}
        x = projector(**shapes, factor=self.factor)(of_student)
        x = keras.layers.GlobalAveragePooling2D(name="projected_pool")(x)
        own = keras.layers.Dense(head.units, dtype=head.dtype_policy, trainable=False, name="teacher_head")
        model = keras.Model(student.inputs, own(x), name=student.name)
        own.set_weights(head.get_weights())
        return model

    def compute(self, student: Outputs, teacher: Outputs, *, labels: Any, adapters: Mapping[str, Any]) -> Any:
        """Computes the loss: see `Method.compute`."""
        return loss(student_stage=student.last_map, teacher_stage=teacher.last_map)
