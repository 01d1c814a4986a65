"""Logit matching (MSE): the student's logits are the teacher's.

Kim et al., "Comparing Kullback-Leibler Divergence and Mean Squared Error Loss in Knowledge Distillation", IJCAI 2021
(arXiv:2105.08919); code github.com/jhoon-oh/kd_data, code/image_classfication/tools/losses.py and traineval.py. KD with
T towards infinity matches logits of equal means; this loss matches the means as well.

The paper weighs the loss against cross-entropy. The code, as here by default, trains on this loss alone. It takes the
mean over the classes, `torch.nn.MSELoss`, where the paper writes the squared L2 norm.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from keras import ops

from kdzoo.distillation.method import Method, Outputs
from kdzoo.distillation.tensors import logit_pair, mean

CE_WEIGHT, WEIGHT = 0.0, 1.0  # the code's


def loss(*, student_logits: Any, teacher_logits: Any) -> Any:
    """Computes the mean squared difference of logits.

    Args:
        student_logits: [n, classes].
        teacher_logits: [n, classes].

    Returns:
        [n], at least 0.

    Raises:
        InputError: if the shapes differ.
    """
    student, teacher = logit_pair(student_logits, teacher_logits)
    return mean(ops.square(student - teacher), axis=-1)


@dataclasses.dataclass(frozen=True)
class MSE(Method):
    """Logit matching."""

    ce_weight, weight = CE_WEIGHT, WEIGHT

    def compute(self, student: Outputs, teacher: Outputs, *, labels: Any, adapters: Mapping[str, Any]) -> Any:
        """Computes the loss: see `Method.compute`."""
        return loss(student_logits=student.logits, teacher_logits=teacher.logits)
