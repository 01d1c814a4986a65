"""Teacher-free KD by regularisation (Tf-KD_reg): a virtual teacher that is right with a fixed probability.

Yuan et al., "Revisiting Knowledge Distillation via Label Smoothing Regularization", CVPR 2020 (arXiv:1909.11723),
section 5; code github.com/yuanli2333/Teacher-free-Knowledge-Distillation, my_loss_function.py.

The virtual teacher gives the labelled class the probability 0.99 and shares the rest equally among the others. The code
takes the softmax of these probabilities over T, as if they were logits. It leaves the student at temperature 1 (the
default here), where the paper's equation has T on both sides. It also takes the mean over classes, and multiplies by a
`multiplier` of the network, 100 of ResNet-18 on the 100 classes of CIFAR-100: the sum over classes, which the loss is
here. The other networks' weights are `reg_alpha * multiplier / 100`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from keras import ops

from kdzoo.distillation import checks
from kdzoo.distillation.checks import check_temperature
from kdzoo.distillation.method import Method, Outputs
from kdzoo.distillation.tensors import as_float, kl_divergence, label_mask
from kdzoo.ranges import Range

# experiments/base_experiments/base_resnet18/params.json: reg_alpha 0.1, reg_temperature 20, multiplier 100.
CE_WEIGHT = 0.9
WEIGHT = 0.1
TEMPERATURE = 20.0
PROBABILITY = 0.99

_PROBABILITIES = Range(above=0, below=1, example=0.99)


def loss(
    *,
    student_logits: Any,
    labels: Any,
    temperature: float = TEMPERATURE,
    student_temperature: float = 1.0,
    probability: float = PROBABILITY,
) -> Any:
    """Computes `KL(softmax(virtual teacher / T) || softmax(student / student_temperature))`.

    Args:
        student_logits: [n, classes], of two classes or more.
        labels: integers [n], or probabilities [n, classes], of which the likeliest class counts. For an example without
            label (-1) the virtual teacher is uniform.
        temperature: T > 0 of the virtual teacher.
        student_temperature: above 0; the paper's is T.
        probability: of the labelled class, between 0 and 1.

    Returns:
        [n], at least 0.

    Raises:
        InputError: if a temperature or the probability is outside its range.
    """
    check_temperature(temperature)
    check_temperature(student_temperature)
    _PROBABILITIES.check("probability", probability)
    student = as_float(student_logits)
    mask = label_mask(labels, student)
    teacher = ops.where(mask, probability, (1 - probability) / (student.shape[-1] - 1) + ops.zeros_like(student))
    return kl_divergence(
        student=ops.log_softmax(student / student_temperature), teacher=ops.log_softmax(teacher / temperature)
    )


@dataclasses.dataclass(frozen=True)
class TfKD(Method):
    """Teacher-free KD by regularisation. Arguments as of `loss`."""

    temperature: float = TEMPERATURE
    student_temperature: float = 1.0
    probability: float = PROBABILITY
    ce_weight, weight = CE_WEIGHT, WEIGHT
    has_labels = True
    has_teacher = False
    ranges = (("student_temperature", checks.TEMPERATURE), ("probability", _PROBABILITIES))

    def compute(self, student: Outputs, teacher: Outputs, *, labels: Any, adapters: Mapping[str, Any]) -> Any:
        """Computes the loss: see `Method.compute`."""
        return loss(student_logits=student.logits, labels=labels, **self.arguments)
