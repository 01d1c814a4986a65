import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden_methods import LOGITS, assert_golden, compute, few, load_golden, logits, value_and_gradients
from kdzoo.distillation.methods import dist

GOLDEN = load_golden("methods.json")
PAIR = {name: LOGITS[name] for name in ("student_logits", "teacher_logits")}
CASES = {
    "dist": {},
    "dist_imagenet": {"temperature": 1.0},
    "dist_weighted": {"beta": 2.0, "gamma": 0.5, "temperature": 2.0},
}


@pytest.mark.parametrize("name", CASES)
def test_golden(name):
    assert assert_golden(GOLDEN[name], lambda **given: dist.loss(**given, **CASES[name]), PAIR).shape == ()


def test_equal_logits_have_no_loss():
    value = compute(dist.loss, student_logits=LOGITS["student_logits"], teacher_logits=LOGITS["student_logits"])
    np.testing.assert_allclose(value, 0, atol=1e-4)  # of the 1e-8 beside the norms, times T^2


def test_opposite_predictions_of_two_classes_have_the_greatest_loss():
    student = np.array([[1.0, 0.0], [-1.0, 0.0], [2.0, 0.0]])
    value = compute(dist.loss, student_logits=student, teacher_logits=-student, temperature=1.0)
    np.testing.assert_allclose(value, 4, rtol=1e-6)


@few
@given(logits(), logits(), st.permutations(range(4)), st.permutations(range(5)))
def test_the_order_of_examples_and_classes_does_not_matter(student, teacher, examples, classes):
    pair = {"student_logits": student, "teacher_logits": teacher}
    moved = {name: array[examples][:, classes] for name, array in pair.items()}
    np.testing.assert_allclose(compute(dist.loss, **moved), compute(dist.loss, **pair), rtol=1e-9, atol=1e-9)


def test_a_batch_of_one_has_a_finite_gradient():
    pair = {name: array[:1] for name, array in PAIR.items()}
    _, gradients, _ = value_and_gradients(dist.loss, pair)
    assert np.isfinite(gradients["student_logits"]).all()
    assert gradients["student_logits"].any()
