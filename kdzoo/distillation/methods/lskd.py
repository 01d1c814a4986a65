"""Logit standardisation (LSKD): KD between standardised logits.

Sun et al., "Logit Standardization in Knowledge Distillation", CVPR 2024 (arXiv:2403.01427), algorithms 1 and 2; code
github.com/sunshangquan/logit-standardization-KD, mdistiller/distillers/KD.py. Student and teacher have logits of mean 0
and standard deviation 1 before the softmax, so the student need not match the size of its teacher's logits.

The paper's standard deviation divides by the number of classes K. The code (the default) divides by K - 1, as
`torch.std` does, and adds 1e-7 to the root.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from keras import ops

from kdzoo.distillation.checks import check_mode
from kdzoo.distillation.method import Method, Outputs
from kdzoo.distillation.methods import kd
from kdzoo.distillation.tensors import as_float, safe_sqrt

# The README's command for CIFAR-100, --base-temp 2 --kd-weight 9; the paper has other weights for some pairs.
CE_WEIGHT = 0.1
WEIGHT = 9.0
TEMPERATURE = 2.0

_EPSILON = 1e-7


def loss(*, student_logits: Any, teacher_logits: Any, temperature: float = TEMPERATURE, mode: str = "code") -> Any:
    """Computes `T^2 * KL(softmax(Z(teacher) / T) || softmax(Z(student) / T))`, where Z standardises logits.

    Neither a shift nor a positive scale of an example's logits, the student's or the teacher's, changes it.

    Args:
        student_logits: [n, classes].
        teacher_logits: [n, classes].
        temperature: the base temperature T > 0.
        mode: "code" or "paper", see `standardise`.

    Returns:
        [n], at least 0.

    Raises:
        InputError: if the temperature is outside its range, the shapes differ, or the mode is unknown.
    """
    return kd.loss(
        student_logits=standardise(student_logits, mode=mode),
        teacher_logits=standardise(teacher_logits, mode=mode),
        temperature=temperature,
    )


def standardise(logits: Any, *, mode: str = "code") -> Any:
    """Gives the logits of each example mean 0 and standard deviation 1. Equal logits become 0.

    The authors put it before DKD and MLKD as well.

    Args:
        logits: [n, classes].
        mode: "code", the standard deviation of a sample, or "paper", that of a population.

    Returns:
        [n, classes].

    Raises:
        InputError: if the mode is unknown.
    """
    check_mode(mode)
    logits = as_float(logits)
    classes = logits.shape[-1]
    centred = logits - ops.sum(logits, axis=-1, keepdims=True) / classes
    divisor = classes - 1 if mode == "code" else classes
    variance = ops.sum(ops.square(centred), axis=-1, keepdims=True) / divisor
    return centred / (safe_sqrt(variance) + _EPSILON)


@dataclasses.dataclass(frozen=True)
class LSKD(Method):
    """Logit standardisation. Arguments as of `loss`."""

    temperature: float = TEMPERATURE
    mode: str = "code"
    ce_weight, weight = CE_WEIGHT, WEIGHT

    def compute(self, student: Outputs, teacher: Outputs, *, labels: Any, adapters: Mapping[str, Any]) -> Any:
        """Computes the loss: see `Method.compute`."""
        return loss(student_logits=student.logits, teacher_logits=teacher.logits, **self.arguments)
