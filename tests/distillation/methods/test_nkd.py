import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden_methods import (
    CLASSES,
    LABELS,
    LOGITS,
    assert_golden,
    compute,
    few,
    load_golden,
    logits,
    value_and_gradients,
)
from kdzoo.distillation.methods import nkd

GOLDEN = load_golden("methods.json")
PAIR = {name: LOGITS[name] for name in ("student_logits", "teacher_logits")}
IMAGENET = {"gamma": 1.5, "temperature": 1.0}


@pytest.mark.parametrize(("name", "arguments"), [("nkd", {}), ("nkd_imagenet", IMAGENET)])
def test_golden(name, arguments):
    value = assert_golden(GOLDEN[name], lambda **given: nkd.loss(**given, **arguments), PAIR | {"labels": LABELS})
    assert value.shape == (6,)


def test_by_hand():
    # Probabilities of (1/2, 1/4, 1/4) and (1/4, 1/4, 1/2); without the first class (1/2, 1/2) and (1/3, 2/3).
    student, teacher = np.log([[0.5, 0.25, 0.25]]), np.log([[0.25, 0.25, 0.5]])
    arguments = {"labels": np.array([0]), "gamma": 2.0, "temperature": 1.0}
    value = compute(nkd.loss, student_logits=student, teacher_logits=teacher, **arguments)
    np.testing.assert_allclose(value, [0.25 * np.log(2) + 2 * np.log(2)], rtol=1e-12)


@few
@given(logits(), st.floats(-5, 5))
def test_the_logit_of_the_label_does_not_change_the_second_term(student, shift):
    labels = np.arange(4)
    # A teacher that gives the label no probability leaves the second term alone.
    teacher = LOGITS["teacher_logits"][:4, :5] - 1e4 * (np.arange(5) == labels[:, None])
    values = [
        compute(nkd.loss, student_logits=x, teacher_logits=teacher, labels=labels)
        for x in (student, student + shift * (np.arange(5) == labels[:, None]))
    ]
    np.testing.assert_allclose(*values, rtol=1e-9)


def test_at_equal_logits_the_second_term_has_no_gradient():
    same = LOGITS["student_logits"]
    gradients = [
        value_and_gradients(
            lambda gamma=gamma, **given: nkd.loss(**given, gamma=gamma),
            {"student_logits": same, "teacher_logits": same, "labels": LABELS},
        )[1]["student_logits"]
        for gamma in (0.0, 10.0)
    ]
    np.testing.assert_allclose(*gradients, atol=1e-12)


def test_an_example_without_label_has_the_second_term_over_all_classes():
    value = compute(nkd.loss, **PAIR, labels=np.full(6, -1), gamma=1.0, temperature=1.0)
    student, teacher = (x - np.log(np.exp(x).sum(-1, keepdims=True)) for x in PAIR.values())
    np.testing.assert_allclose(value, -(np.exp(teacher) * student).sum(-1), rtol=1e-9)


def test_of_probabilities_the_likeliest_class_counts():
    mixed = 0.7 * np.eye(CLASSES)[LABELS] + 0.3 / CLASSES
    np.testing.assert_array_equal(compute(nkd.loss, **PAIR, labels=mixed), compute(nkd.loss, **PAIR, labels=LABELS))
