import keras
import numpy as np
import pytest

from golden_methods import CLASSES, LABELS, LOGITS, assert_golden, compute, load_golden
from kdzoo.data import mixup
from kdzoo.distillation.methods import label_smoothing
from zoo import InputError

GOLDEN = load_golden("methods.json")
TENSORS = {"student_logits": LOGITS["student_logits"], "labels": LABELS}


def test_golden():
    assert assert_golden(GOLDEN["label_smoothing"], label_smoothing.loss, TENSORS).shape == (6,)


def test_golden_of_mass_on_the_other_classes():
    smoothing = 0.1 * CLASSES / (CLASSES - 1)
    assert_golden(
        GOLDEN["label_smoothing_others"], lambda **given: label_smoothing.loss(**given, smoothing=smoothing), TENSORS
    )


def test_it_is_the_cross_entropy_with_the_smoothed_labels_of_the_data():
    smoothed = mixup.to_probabilities(LABELS, CLASSES, smoothing=0.3)
    expected = keras.losses.categorical_crossentropy(smoothed, LOGITS["student_logits"], from_logits=True)
    np.testing.assert_allclose(compute(label_smoothing.loss, **TENSORS, smoothing=0.3), expected, rtol=1e-5)
    of_probabilities = TENSORS | {"labels": np.eye(CLASSES)[LABELS]}
    np.testing.assert_allclose(compute(label_smoothing.loss, **of_probabilities, smoothing=0.3), expected, rtol=1e-5)


@pytest.mark.parametrize("smoothing", [-0.1, 1, float("nan")])
def test_invalid_smoothings_are_refused(smoothing):
    with pytest.raises(InputError, match=r"smoothing must be at least 0 and below 1, for example 0\.1\. Received"):
        label_smoothing.loss(**TENSORS, smoothing=smoothing)
