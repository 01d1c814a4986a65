import numpy as np
import pytest

from golden_methods import CLASSES, LABELS, LOGITS, assert_golden, compute, load_golden
from kdzoo.distillation.methods import tfkd, tfkd_self
from zoo import InputError

GOLDEN = load_golden("methods.json")
STUDENT = {"student_logits": LOGITS["student_logits"]}


def test_golden():
    assert assert_golden(GOLDEN["tfkd"], tfkd.loss, STUDENT | {"labels": LABELS}).shape == (6,)


def test_golden_of_self_training():
    pair = STUDENT | {"teacher_logits": LOGITS["teacher_logits"]}
    assert assert_golden(GOLDEN["tfkd_self"], tfkd_self.loss, pair).shape == (6,)


def test_a_student_that_predicts_what_the_virtual_teacher_does_has_no_loss():
    teacher = np.where(np.eye(CLASSES)[LABELS] == 1, 0.9, 0.1 / (CLASSES - 1))
    arguments = {"labels": LABELS, "temperature": 20.0, "probability": 0.9}
    of_code = compute(tfkd.loss, student_logits=teacher / 20, **arguments)
    of_paper = compute(tfkd.loss, student_logits=teacher, student_temperature=20.0, **arguments)
    np.testing.assert_allclose(of_code, 0, atol=1e-12)
    np.testing.assert_allclose(of_paper, 0, atol=1e-12)


def test_an_example_without_label_has_a_uniform_teacher():
    uniform = compute(tfkd.loss, student_logits=np.zeros((1, 4)), labels=np.array([-1]))
    np.testing.assert_allclose(uniform, [0], atol=1e-12)


@pytest.mark.parametrize("probability", [0, 1, float("nan")])
def test_invalid_probabilities_are_refused(probability):
    with pytest.raises(InputError, match=r"probability must be above 0 and below 1, for example 0\.99\. Received"):
        tfkd.loss(**STUDENT, labels=LABELS, probability=probability)
