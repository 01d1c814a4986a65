"""Distillation losses: pure functions on tensors of any Keras backend or NumPy arrays, one value per example.

Cross-entropy is Keras's own. No function here reduces over the batch: `kdzoo.Distiller` does, once.
"""

from typing import Any

from keras import ops

from kdzoo.distillation.methods import kd
from kdzoo.distillation.methods.at import attention_map as attention_map
from kdzoo.distillation.methods.at import compact_map as compact_map
from kdzoo.distillation.methods.at import loss as attention_transfer

__all__ = ["attention_map", "attention_transfer", "compact_map", "distillation"]


def distillation(*, student_logits: Any, teacher_logits: Any, temperature: float = 4.0) -> Any:
    """Computes the knowledge distillation (KD) loss: `T^2 * KL(softmax(teacher / T) || softmax(student / T))`.

    T^2 keeps the gradient's size equal at all temperatures. Hinton et al., arXiv:1503.02531, section 2.

    Args:
        student_logits: [n, classes].
        teacher_logits: [n, classes].
        temperature: T > 0; at 1 the loss is the KL divergence in nats.

    Returns:
        float32 [n], at least 0, summed over classes.

    Raises:
        InputError: if the temperature is outside its range, or the shapes differ.
    """
    student, teacher = (ops.cast(logits, "float32") for logits in (student_logits, teacher_logits))
    return kd.loss(student_logits=student, teacher_logits=teacher, temperature=temperature)
