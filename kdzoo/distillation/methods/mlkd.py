"""Multi-level logit distillation (MLKD): predictions aligned by example, within the batch and within the classes.

Jin et al., "Multi-Level Logit Distillation", CVPR 2023; code github.com/Jin-Ying/Multi-Level-Logit-Distillation,
mdistiller/distillers/KD_ours.py. Each level is summed over five temperatures ("prediction augmentation").

The paper's equations have one view of each image and every example. The code, which is the default, has two views, weak
and strong, the second by AutoAugment's operations, with these differences:

- The weak view's levels are multiplied by the share of examples (or classes) whose confidence is at most the median:
  about a half. A mask of them is applied after the mean over the batch, so it selects none.
- The strong view has the level of examples alone, unmasked, at temperatures 4, 3 and 5; at 2 and 6 the code takes the
  weak view once more. Its other two levels are computed and not used.
- The cross-entropy with labels is the sum over both views.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from keras import ops

from kdzoo.distillation.checks import check_mode, check_temperature
from kdzoo.distillation.method import Method, Outputs
from kdzoo.distillation.methods import kd
from kdzoo.distillation.tensors import as_float, label_mask, logit_pair, mean
from zoo import InputError

# mdistiller/engine/cfg.py, of CIFAR-100; `temperature` is the first of the five. configs/imagenet/r34_r18/kd_ours.yaml
# has 0.5, 0.5 and temperature 1. The cross-entropy is the sum over both views.
CE_WEIGHT = 0.1
WEIGHT = 0.9
TEMPERATURE = 4.0

_TEMPERATURES_OF_BOTH_VIEWS = (3.0, 5.0)
_TEMPERATURES_OF_THE_WEAK_VIEW = (2.0, 6.0)


def loss(
    *,
    student_logits: Any,
    teacher_logits: Any,
    strong_student_logits: Any = None,
    strong_teacher_logits: Any = None,
    temperature: float = TEMPERATURE,
    mode: str = "code",
) -> Any:
    """Computes the three levels at five temperatures, a relation within the batch.

    Args:
        student_logits, teacher_logits: [n, classes], of the weak view.
        strong_student_logits, strong_teacher_logits: [n, classes], of the strong view; only with mode "code".
        temperature: the first of the five temperatures; the others are 3, 5, 2 and 6.
        mode: "code" or "paper", see above.

    Returns:
        A scalar, at least 0.

    Raises:
        InputError: if the temperature is outside its range, shapes differ, the mode is unknown, or the strong view is
            missing in mode "code" or given in mode "paper".
    """
    check_temperature(temperature)
    check_mode(mode)
    if (strong_student_logits is None, strong_teacher_logits is None) != (mode == "paper",) * 2:
        raise InputError(
            "mlkd needs the logits of a strong view in mode code, and takes none in mode paper. Received: mode"
            f" {mode}, {'no ' * (strong_student_logits is None)}strong_student_logits,"
            f" {'no ' * (strong_teacher_logits is None)}strong_teacher_logits"
        )
    weak = {"student_logits": student_logits, "teacher_logits": teacher_logits}
    both_views = (temperature, *_TEMPERATURES_OF_BOTH_VIEWS)
    temperatures = (*both_views, *_TEMPERATURES_OF_THE_WEAK_VIEW)
    examples = sum(mean(kd.loss(**weak, temperature=t)) for t in temperatures)
    batch = sum(batch_level(**weak, temperature=t) for t in temperatures)
    classes = sum(class_level(**weak, temperature=t) for t in temperatures)
    if mode == "paper":
        return examples + batch + classes
    _, teacher = logit_pair(student_logits, teacher_logits)
    probabilities = ops.softmax(teacher)
    share = _share_up_to_median(ops.max(probabilities, axis=-1))
    class_share = _share_up_to_median(ops.sum(probabilities, axis=0))
    strong = {"student_logits": strong_student_logits, "teacher_logits": strong_teacher_logits}
    more = [(strong, t) for t in both_views] + [(weak, t) for t in _TEMPERATURES_OF_THE_WEAK_VIEW]
    unmasked = sum(mean(kd.loss(**view, temperature=t)) for view, t in more)
    return share * (examples + batch) + class_share * classes + unmasked


def batch_level(*, student_logits: Any, teacher_logits: Any, temperature: float) -> Any:
    """Computes the squared distance of both matrices P P^T [n, n] over n, of the probabilities P: a scalar."""
    student, teacher = (ops.softmax(x) for x in logit_pair(student_logits, teacher_logits, temperature))
    difference = ops.matmul(student, ops.transpose(student)) - ops.matmul(teacher, ops.transpose(teacher))
    return ops.sum(mean(ops.square(difference), axis=-1))


def class_level(*, student_logits: Any, teacher_logits: Any, temperature: float) -> Any:
    """Computes the squared distance of both matrices P^T P [classes, classes] over classes: a scalar."""
    student, teacher = (ops.softmax(x) for x in logit_pair(student_logits, teacher_logits, temperature))
    difference = ops.matmul(ops.transpose(student), student) - ops.matmul(ops.transpose(teacher), teacher)
    return ops.sum(mean(ops.square(difference), axis=-1))


def _share_up_to_median(values: Any) -> Any:
    """Returns the share of values [k] that are at most their median: a scalar, about a half."""
    return mean(ops.cast(values <= ops.median(values), values.dtype))


@dataclasses.dataclass(frozen=True)
class MLKD(Method):
    """Multi-level logit distillation. Arguments as of `loss`.

    In mode "code" the cross-entropy of the strong view is part of the term, in proportion to the authors' weights. The
    strong view is made by Keras's RandAugment, where the authors have AutoAugment's policy for CIFAR-10.
    """

    temperature: float = TEMPERATURE
    mode: str = "code"
    ce_weight, weight = CE_WEIGHT, WEIGHT
    needs = ("strong",)
    is_relation = True

    @property
    def required(self) -> tuple[str, ...]:
        """No second view in mode "paper"."""
        return self.needs if self.mode == "code" else ()

    def compute(self, student: Outputs, teacher: Outputs, *, labels: Any, adapters: Mapping[str, Any]) -> Any:
        """Computes the loss: see `Method.compute`."""
        logits = {"student_logits": student.logits, "teacher_logits": teacher.logits}
        if self.mode == "paper":
            return loss(**logits, **self.arguments)
        strong = {"strong_student_logits": student.strong, "strong_teacher_logits": teacher.strong}
        mask = ops.cast(label_mask(labels, student.strong), "float32")
        of_strong = -ops.sum(mask * ops.log_softmax(as_float(student.strong)), axis=-1)  # 0 without a label
        return loss(**logits, **strong, **self.arguments) + self.ce_weight / self.weight * mean(of_strong)
