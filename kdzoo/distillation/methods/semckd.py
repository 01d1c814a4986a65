"""SemCKD: each stage of the student learns from all stages of the teacher, by weights that are learned for each image.

Chen et al., "Cross-Layer Distillation with Semantic Calibration", AAAI 2021 (arXiv:2012.03236), section 3. The authors'
code (github.com/DefangChen/SemCKD, distiller_zoo/SemCKD.py and models/util.py) differs: the paper sums squares over a
stage, the code takes their mean. Default: the code. The weights of an image depend on its similarities to the others of
the batch, so the attention is built for one batch size; the code skips smaller batches.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import layers, ops

from kdzoo.distillation.adapters import conv, dense, features
from kdzoo.distillation.features import flatten, mean_square, shrink, unit_vectors
from kdzoo.distillation.method import Method, Outputs, Shapes, Training
from kdzoo.distillation.tensors import as_float
from kdzoo.ranges import Range
from zoo import InputError
from zoo.layers import batch_norm_relu

CE_WEIGHT, KD_WEIGHT, WEIGHT = 1.0, 1.0, 400.0  # authors' README, CIFAR-100; 50 on ImageNet
FACTOR = 4  # of the batch size over the size of queries and keys


def loss(*, projected: Sequence[Sequence[Any]], weights: Any, teacher_stages: Sequence[Any]) -> Any:
    """Computes the weighted sum over the teacher's stages, averaged over the student's.

    Args:
        projected: for each student stage, one projection for each teacher stage [n, h, w, channels].
        weights: [n, student stages, teacher stages], that sum to 1 over the teacher's.
        teacher_stages: stage outputs [n, h, w, channels]; average-pooled where they are larger.

    Returns:
        [n], at least 0.

    Raises:
        InputError: if the channels differ.
    """
    weights = as_float(weights)
    total: Any = 0.0
    for i, projections in enumerate(projected):
        for j, (student, teacher) in enumerate(zip(projections, teacher_stages, strict=True)):
            total += weights[:, i, j] * mean_square(student, teacher)
    return total / len(projected)


def attention(
    *,
    student_shapes: Sequence[Sequence[int]],
    teacher_shapes: Sequence[Sequence[int]],
    batch_size: int,
    factor: int = FACTOR,
) -> keras.Model:
    """Builds the attention: {"student": stages, "teacher": stages} -> {"projected", "weights"}, arguments of the loss.

    A query for each student stage and a key for each teacher stage come from the stage's Gram matrix of the batch.

    Args:
        student_shapes: (height, width, channels) of each stage.
        teacher_shapes: the same of the teacher.
        batch_size: n, at least the factor.
        factor: n over the size of queries and keys.
    """
    named = {"student": student_shapes, "teacher": teacher_shapes}
    stages = {
        network: [features(shape, batch_size=batch_size, name=f"{network}{i}") for i, shape in enumerate(shapes, 1)]
        for network, shapes in named.items()
    }
    teacher = [ops.stop_gradient(stage) for stage in stages["teacher"]]
    size = batch_size // factor
    queries = ops.stack([_embed(x, size, name=f"query{i}") for i, x in enumerate(stages["student"], 1)], axis=1)
    keys = ops.stack([_embed(x, size, name=f"key{i}") for i, x in enumerate(teacher, 1)], axis=2)
    projected = [
        [_project(x, shape, name=f"project{i}_{j}") for j, shape in enumerate(teacher_shapes, 1)]
        for i, x in enumerate(stages["student"], 1)
    ]
    outputs = {"projected": projected, "weights": ops.softmax(ops.matmul(queries, keys))}
    return keras.Model(stages, outputs, name="attention")


def _embed(x: Any, size: int, *, name: str) -> Any:
    """Maps the rows of a stage's Gram matrix to vectors of length 1: [n, size]."""
    x = flatten(x)
    x = layers.ReLU(name=f"{name}_relu")(dense(ops.matmul(x, ops.transpose(x)), 2 * size, name=f"{name}_hidden"))
    return unit_vectors(dense(x, size, name=name))


def _project(x: Any, teacher_shape: Sequence[int], *, name: str) -> Any:
    """Maps a student stage, average-pooled where it is larger, to the teacher's channels."""
    height, width, filters = teacher_shape
    x = shrink(x, (height, width))
    x = batch_norm_relu(conv(x, 2 * filters, 1, name=f"{name}_conv1"), name=f"{name}_1")
    x = batch_norm_relu(conv(x, 2 * filters, 3, name=f"{name}_conv2"), name=f"{name}_2")
    return conv(x, filters, 1, name=f"{name}_conv3")


@dataclasses.dataclass(frozen=True)
class SemCKD(Method):
    """Cross-layer distillation of all stages, beside KD.

    Args:
        factor: of the batch size over the size of queries and keys.
    """

    factor: int = FACTOR
    needs = ("stages",)
    ce_weight, kd_weight, weight = CE_WEIGHT, KD_WEIGHT, WEIGHT
    is_relation = True
    ranges = (("factor", Range(least=1, most=64, whole=True, example=FACTOR)),)

    def make_adapters(self, student: Shapes, teacher: Shapes, training: Training | None) -> dict[str, Any]:
        """The attention."""
        if training is None:
            raise InputError("SemCKD needs training=Training(batch_size=...). Received: none")
        Range(least=1, most=training.batch_size, whole=True, example=FACTOR).check("factor", self.factor)
        shapes = {"student_shapes": student.stages, "teacher_shapes": teacher.stages}
        return {"attention": attention(**shapes, batch_size=training.batch_size, factor=self.factor)}

    def compute(self, student: Outputs, teacher: Outputs, *, labels: Any, adapters: Mapping[str, Any]) -> Any:
        """Computes the loss: see `Method.compute`."""
        attended = adapters["attention"](
            {"student": list(student.stages), "teacher": list(teacher.stages)}, training=True
        )
        return loss(**attended, teacher_stages=teacher.stages)
