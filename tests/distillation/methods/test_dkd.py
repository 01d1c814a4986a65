import numpy as np
import pytest
from hypothesis import given

from golden_methods import CLASSES, LABELS, LOGITS, assert_golden, compute, few, load_golden, logits
from kdzoo.distillation.methods import dkd, kd

GOLDEN = load_golden("methods.json")
PAIR = {name: LOGITS[name] for name in ("student_logits", "teacher_logits")}
IMAGENET = {"beta": 0.5, "temperature": 1.0}


@pytest.mark.parametrize(("name", "arguments"), [("dkd", {}), ("dkd_imagenet", IMAGENET)])
def test_golden(name, arguments):
    value = assert_golden(GOLDEN[name], lambda **given: dkd.loss(**given, **arguments), PAIR | {"labels": LABELS})
    assert value.shape == (6,)


@few
@given(logits(), logits())
def test_kd_weighs_the_other_classes_by_the_teachers_probability(student, teacher):
    """The paper's reformulation of KD."""
    labels = np.array([0, 1, 2, 4])
    pair = {"student_logits": student, "teacher_logits": teacher}
    tckd, nckd = (
        compute(dkd.loss, **pair, labels=labels, alpha=alpha, beta=1 - alpha, temperature=2.0) for alpha in (1, 0)
    )
    probabilities = np.exp(teacher / 2) / np.exp(teacher / 2).sum(-1, keepdims=True)
    other = np.where(np.arange(5) == labels[:, None], 0, probabilities).sum(-1)
    expected = compute(kd.loss, **pair, temperature=2.0)
    np.testing.assert_allclose(tckd + other * nckd, expected, rtol=1e-7, atol=1e-9)


@few
@given(logits())
def test_equal_logits_have_no_loss(same):
    value = compute(dkd.loss, student_logits=same, teacher_logits=same, labels=np.arange(4))
    np.testing.assert_allclose(value, np.zeros(4), atol=1e-10)


def test_of_probabilities_the_likeliest_class_counts():
    mixed = 0.7 * np.eye(CLASSES)[LABELS] + 0.3 * np.eye(CLASSES)[(LABELS + 1) % CLASSES]
    np.testing.assert_array_equal(
        compute(dkd.loss, **PAIR, labels=mixed), compute(dkd.loss, **PAIR, labels=LABELS[:, None])
    )


def test_an_example_without_label_has_the_divergence_over_all_classes():
    value = compute(dkd.loss, **PAIR, labels=np.full(6, -1), beta=2.0, temperature=3.0)
    np.testing.assert_allclose(value, 2 * compute(kd.loss, **PAIR, temperature=3.0), rtol=1e-9)


def test_a_confident_student_has_a_finite_loss_in_float32():
    student, teacher = np.float32([[200.0, 0.0, 0.0]]), np.float32([[0.0, 0.0, 1.0]])
    value = dkd.loss(student_logits=student, teacher_logits=teacher, labels=[0], temperature=1.0, beta=0.0)
    teacher_label = 1 / (2 + np.e)
    entropy = teacher_label * np.log(teacher_label) + (1 - teacher_label) * np.log(1 - teacher_label)
    np.testing.assert_allclose(value, [entropy + (1 - teacher_label) * (200 - np.log(2))], rtol=1e-5)
