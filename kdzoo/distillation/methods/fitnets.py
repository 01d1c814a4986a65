"""FitNets: a regressor on a stage of the student predicts the same stage of the teacher.

Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015 (arXiv:1412.6550), equation 3. RepDistiller
(github.com/HobbitLong/RepDistiller, distiller_zoo/FitNet.py and models/util.py) and mdistiller agree with each other:

- The paper's loss is half the squared L2 norm, theirs the mean square. Default: theirs.
- The paper's regressor is a valid convolution with the nonlinearity of the teacher's stage; theirs, by the sizes of the
  two stages, a valid, strided or transposed convolution, then BatchNorm and ReLU. Default: theirs.
- The paper trains the student up to that stage by hints alone, then the whole student by KD. They train once, with
  the hint loss beside cross-entropy and without KD.
- They refuse a student's stage that is smaller than the teacher's and not half its size. Here, as in SemCKD's and
  SimKD's code, a 3x3 convolution keeps its size and the teacher's stage is average-pooled.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import layers

from kdzoo.distillation.adapters import conv, features
from kdzoo.distillation.features import mean_square
from kdzoo.distillation.method import Method, Outputs, Shapes, Training
from kdzoo.ranges import Range
from zoo.layers import TorchUniform, batch_norm_relu

CE_WEIGHT, WEIGHT = 1.0, 100.0  # without KD: RepDistiller, CIFAR-100
STAGE = 2  # the second of three: its hint_layer=2 counts the stem as 0


def loss(*, student_stage: Any, teacher_stage: Any) -> Any:
    """Computes the mean square of the difference of two stages; the larger one is average-pooled first.

    Args:
        student_stage: [n, h, w, channels], the regressor's output.
        teacher_stage: the same channels.

    Returns:
        [n], at least 0.

    Raises:
        InputError: if the channels differ.
    """
    return mean_square(student_stage, teacher_stage)


def regressor(*, student_shape: Sequence[int], teacher_shape: Sequence[int]) -> keras.Model:
    """Builds the regressor: student features -> features of the teacher's size and channels, at least 0.

    Args:
        student_shape: (height, width, channels).
        teacher_shape: (height, width, channels).
    """
    (height, width, channels), (teacher_height, teacher_width, filters) = student_shape, teacher_shape
    x = inputs = features(student_shape)
    if height == 2 * teacher_height:
        options = {"kernel_initializer": TorchUniform(), "bias_initializer": TorchUniform(9 * channels)}
        x = layers.ZeroPadding2D(1, name="pad")(x)
        x = layers.Conv2D(filters, 3, strides=2, **options, name="conv")(x)
    elif 2 * height == teacher_height:
        # PyTorch takes the outputs for the fan-in of a transposed convolution.
        options = {"kernel_initializer": TorchUniform(), "bias_initializer": TorchUniform(16 * filters)}
        x = layers.Conv2DTranspose(filters, 4, strides=2, padding="same", **options, name="conv")(x)
    elif height >= teacher_height:
        size = (1 + height - teacher_height, 1 + width - teacher_width)
        x = conv(x, filters, size, padding="valid", bias=True, name="conv")
    else:
        x = conv(x, filters, 3, bias=True, name="conv")
    return keras.Model(inputs, batch_norm_relu(x, name="final"), name="regressor")


@dataclasses.dataclass(frozen=True)
class FitNets(Method):
    """The hint loss of one stage, beside cross-entropy.

    Args:
        stage: number of the stage, from 1.
    """

    stage: int = STAGE
    needs = ("stages",)
    ce_weight, weight = CE_WEIGHT, WEIGHT
    ranges = (("stage", Range(least=1, most=100, whole=True, example=STAGE)),)

    def make_adapters(self, student: Shapes, teacher: Shapes, training: Training | None) -> dict[str, Any]:
        """The regressor."""
        fewest = min(len(student.stages), len(teacher.stages))
        Range(least=1, most=fewest, example=min(STAGE, fewest)).check("stage", self.stage)
        shapes = student.stages[self.stage - 1], teacher.stages[self.stage - 1]
        return {"regressor": regressor(student_shape=shapes[0], teacher_shape=shapes[1])}

    def compute(self, student: Outputs, teacher: Outputs, *, labels: Any, adapters: Mapping[str, Any]) -> Any:
        """Computes the loss: see `Method.compute`."""
        hint, stage = teacher.stages[self.stage - 1], student.stages[self.stage - 1]
        return loss(student_stage=adapters["regressor"](stage, training=True), teacher_stage=hint)
