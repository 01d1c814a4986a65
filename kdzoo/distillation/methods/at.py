"""Attention transfer (AT): the places where the student's stages are active are those of the teacher's.

Zagoruyko & Komodakis, "Paying More Attention to Attention", ICLR 2017 (arXiv:1612.03928), equations 1 and 2. Their code
(github.com/szagoruyko/attention-transfer, utils.py), which is the default, takes the mean square of the difference
where the paper takes its L2 norm.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from keras import ops

from kdzoo.distillation.checks import check_at_mode, check_stages
from kdzoo.distillation.method import Method, Outputs
from kdzoo.distillation.tensors import check_equal_shapes, safe_sqrt
from zoo import InputError

CE_WEIGHT, WEIGHT = 1.0, 1000.0  # without KD: the authors' code, --beta 1e+3


def loss(*, student_stages: Sequence[Any], teacher_stages: Sequence[Any], mode: str = "code") -> Any:
    """Computes the attention transfer (AT) loss: the distance between attention maps, summed over stages.

    The map of a stage is `Q = l2_normalise(flatten(mean_channels(x^2)))`. If two maps differ in size, the larger one is
    average-pooled first. Zagoruyko & Komodakis, "Paying More Attention to Attention", ICLR 2017 (arXiv:1612.03928).

    Args:
        student_stages: stage outputs [n, h, w, channels], from first to last.
        teacher_stages: as many stage outputs, or their attention maps [n, h, w]; channels may differ.
        mode: "code", `mean((Q_s - Q_t)^2)` as in the authors' code, or "paper", `||Q_s - Q_t||_2` as in their equation.

    Returns:
        float32 [n], at least 0.

    Raises:
        InputError: if the numbers of stages or images differ, a size is not a multiple of the other, or the mode is
            unknown.
    """
    check_at_mode(mode)
    check_stages("Attention transfer", student_stages, teacher_stages)
    total: Any = 0.0
    for student, teacher in zip(student_stages, teacher_stages, strict=True):
        student, teacher = attention_map(student), attention_map(teacher)
        size = min(tuple(student.shape[1:]), tuple(teacher.shape[1:]))
        student, teacher = _normalised(student, size), _normalised(teacher, size)
        check_equal_shapes("attention maps", student, teacher)
        squares = ops.square(student - teacher)
        total += ops.mean(squares, axis=-1) if mode == "code" else safe_sqrt(ops.sum(squares, axis=-1))
    return total


def attention_map(stage: Any) -> Any:
    """Averages the squares of a stage [n, h, w, channels] over channels: [n, h, w]. Returns a map as it is."""
    stage = ops.cast(stage, "float32")
    return stage if len(stage.shape) == 3 else ops.mean(ops.square(stage), axis=-1)


def compact_map(stage: Any) -> Any:
    """Computes a stage's attention map with L2 norm 1 in float16 [n, h, w], the form that teachers return and cache.

    Attention transfer does not depend on the norm of a map, and float16 keeps 11 binary digits of its values.
    """
    attention = attention_map(stage)
    size = tuple(attention.shape[1:])
    return ops.cast(ops.reshape(_normalised(attention, size), (-1, *size)), "float16")


def _normalised(attention: Any, size: tuple[int, ...]) -> Any:
    """Average-pools maps [n, h, w] to (height, width) and divides by their L2 norm: [n, height * width]."""
    height, width = tuple(attention.shape)[1:]
    if height % size[0] or width % size[1]:
        raise InputError(
            "Attention maps must be of equal size, or one a multiple of the other."
            f" Received: {height}x{width} and {size[0]}x{size[1]}"
        )
    attention = ops.reshape(attention, (-1, size[0], height // size[0], size[1], width // size[1]))
    attention = ops.reshape(ops.mean(attention, axis=(2, 4)), (-1, size[0] * size[1]))
    return ops.normalize(attention, axis=-1, order=2)


@dataclasses.dataclass(frozen=True)
class AT(Method):
    """Attention transfer of all stages. Arguments as of `loss`."""

    mode: str = "code"
    needs = ("stages",)
    ce_weight, weight = CE_WEIGHT, WEIGHT

    def compute(self, student: Outputs, teacher: Outputs, *, labels: Any, adapters: Mapping[str, Any]) -> Any:
        """Computes the loss: see `Method.compute`."""
        return loss(student_stages=student.stages, teacher_stages=teacher.stages, mode=self.mode)
