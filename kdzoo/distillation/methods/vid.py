"""VID: the student predicts the teacher's stages as normal distributions, with a variance per channel.

Ahn et al., "Variational Information Distillation for Knowledge Transfer", CVPR 2019
(arXiv:1904.05835), section 2. RepDistiller (github.com/HobbitLong/RepDistiller, distiller_zoo/VID.py, from the
authors' code) differs:

- The paper sums the negative log-likelihood over values; the code takes their mean. Default: the code.
- The code adds 1e-5 to the variance.

mdistiller leaves the variances out of what its optimizer trains, so there they stay at their initial 5.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import layers, ops

from kdzoo.distillation.adapters import conv, features
from kdzoo.distillation.checks import check_stages
from kdzoo.distillation.features import mean_per_example, pair, shrink
from kdzoo.distillation.method import Method, Outputs, Shapes, Training
from kdzoo.distillation.tensors import as_float, check_equal_shapes

CE_WEIGHT, WEIGHT = 1.0, 1.0  # of the sum over stages, without KD: RepDistiller, CIFAR-100
INITIAL_VARIANCE, LEAST_VARIANCE = 5.0, 1e-5


def loss(*, mean: Any, variance: Any, teacher_stage: Any) -> Any:
    """Computes the VID loss of one stage: the mean of `(teacher - mean)^2 / (2 variance) + log(variance) / 2`.

    The constant log(2 pi) / 2 is left out, so the loss may be negative.

    Args:
        mean: the prediction [n, h, w, channels].
        variance: [1, 1, 1, channels], above 0.
        teacher_stage: the same channels; average-pooled if it is larger.

    Returns:
        [n].

    Raises:
        InputError: if the channels differ, or the teacher's stage is smaller.
    """
    (mean, teacher), variance = pair(mean, teacher_stage), as_float(variance)
    teacher = shrink(teacher, mean.shape[1:3])
    check_equal_shapes("stages", mean, teacher)
    return mean_per_example(ops.square(mean - teacher) / variance + ops.log(variance)) / 2


def predictor(*, student_shape: Sequence[int], teacher_shape: Sequence[int]) -> keras.Model:
    """Builds the predictor of one stage: student features -> (mean, variance), arguments of the loss.

    Student features larger than the teacher's are average-pooled, then pass three 1x1 convolutions without bias, with
    ReLU between.

    Args:
        student_shape: (height, width, channels).
        teacher_shape: (height, width, channels).
    """
    height, width, filters = teacher_shape
    inputs = features(student_shape)
    x = shrink(inputs, (height, width))
    for i in (1, 2):
        x = layers.ReLU(name=f"relu{i}")(conv(x, filters, 1, name=f"conv{i}"))
    mean = conv(x, filters, 1, name="conv3")
    dtype = keras.config.dtype_policy().variable_dtype  # a mixed policy does not round the variances
    return keras.Model(inputs, [mean, ChannelVariance(dtype=dtype, name="variance")(mean)], name="predictor")


@keras.saving.register_keras_serializable("kdzoo")
class ChannelVariance(layers.Layer):
    """A trainable variance per channel, whatever the input: `softplus(scale) + 1e-5`, at first 5."""

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Creates the scales."""
        initial = keras.initializers.Constant(math.log(math.exp(INITIAL_VARIANCE - LEAST_VARIANCE) - 1))
        self.scale = self.add_weight(shape=(input_shape[-1],), initializer=initial, name="scale")

    def call(self, inputs: Any) -> Any:
        """Returns the variances [1, 1, 1, channels]."""
        return ops.reshape(ops.softplus(self.scale) + LEAST_VARIANCE, (1, 1, 1, -1))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """[1, 1, 1, channels]."""
        return (1, 1, 1, input_shape[-1])


@dataclasses.dataclass(frozen=True)
class VID(Method):
    """Variational information distillation of all stages."""

    needs = ("stages",)
    ce_weight, weight = CE_WEIGHT, WEIGHT

    def make_adapters(self, student: Shapes, teacher: Shapes, training: Training | None) -> dict[str, Any]:
        """A predictor for each stage."""
        check_stages("Variational information distillation", student.stages, teacher.stages)
        pairs = zip(student.stages, teacher.stages, strict=True)
        return {f"stage{i}": predictor(student_shape=s, teacher_shape=t) for i, (s, t) in enumerate(pairs, 1)}

    def compute(self, student: Outputs, teacher: Outputs, *, labels: Any, adapters: Mapping[str, Any]) -> Any:
        """Computes the loss: see `Method.compute`."""
        total: Any = 0.0
        for i, (of_student, of_teacher) in enumerate(zip(student.stages, teacher.stages, strict=True), 1):
            mean, variance = adapters[f"stage{i}"](of_student, training=True)
            total += loss(mean=mean, variance=variance, teacher_stage=of_teacher)
        return total
