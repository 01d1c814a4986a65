"""Label smoothing: the control without a teacher, since KD is label smoothing that a teacher chooses.

Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016 (arXiv:1512.00567), section 7.
Code: `CrossEntropyLabelSmooth` in mdistiller/distillers/loss.py of github.com/Jin-Ying/Multi-Level-Logit-Distillation,
and `loss_label_smoothing` in my_loss_function.py of github.com/yuanli2333/Teacher-free-Knowledge-Distillation.

The paper and the first code, as here and in `--label_smoothing`, spread the mass evenly over all K classes. The second
spreads it over the K - 1 others: its 0.1 is a smoothing of 0.1 * K / (K - 1) here.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from keras import ops

from kdzoo.distillation.method import Method, Outputs
from kdzoo.distillation.tensors import as_float, label_mask
from kdzoo.ranges import Range

# In place of the cross-entropy with labels. 0.1 in the paper and in both codes.
CE_WEIGHT = 0.0
WEIGHT = 1.0
SMOOTHING = 0.1

_SMOOTHINGS = Range(least=0, below=1, example=0.1)


def loss(*, student_logits: Any, labels: Any, smoothing: float = SMOOTHING) -> Any:
    """Computes the cross-entropy with `(1 - smoothing) * labels + smoothing / classes`.

    Args:
        student_logits: [n, classes].
        labels: integers [n], or probabilities [n, classes].
        smoothing: from 0 to below 1.

    Returns:
        [n], above 0.

    Raises:
        InputError: if the smoothing is outside its range.
    """
    _SMOOTHINGS.check("smoothing", smoothing)
    log_probabilities = ops.log_softmax(as_float(student_logits))
    if len(labels.shape) == 1:
        labels = label_mask(labels, log_probabilities)
    smoothed = (1 - smoothing) * ops.cast(labels, log_probabilities.dtype) + smoothing / log_probabilities.shape[-1]
    return -ops.sum(smoothed * log_probabilities, axis=-1)


@dataclasses.dataclass(frozen=True)
class LabelSmoothing(Method):
    """Label smoothing. Arguments as of `loss`."""

    smoothing: float = SMOOTHING
    ce_weight, weight = CE_WEIGHT, WEIGHT
    has_labels = True
    has_teacher = False
    ranges = (("smoothing", _SMOOTHINGS),)

    def compute(self, student: Outputs, teacher: Outputs, *, labels: Any, adapters: Mapping[str, Any]) -> Any:
        """Computes the loss: see `Method.compute`."""
        return loss(student_logits=student.logits, labels=labels, smoothing=self.smoothing)
