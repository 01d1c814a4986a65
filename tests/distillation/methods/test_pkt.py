import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from golden_features import Case, arrays
from golden_methods import compute, few, value_and_gradients
from kdzoo.distillation.methods import pkt


def test_golden():
    def loss(student, teacher):
        return pkt.loss(student_features=student, teacher_features=teacher)

    Case("pkt").check(loss)
    Case("pkt").assert_no_gradient_to_the_teacher(loss)


def test_by_hand():
    # Similarities to itself and to the other: (1, 1/2) for the student, so 2/3 and 1/3; 1/2 and 1/2 for the teacher.
    value = compute(pkt.loss, student_features=np.eye(2), teacher_features=np.ones((2, 3)))
    np.testing.assert_allclose(value, [(math.log(3 / 4) + math.log(3 / 2)) / 4] * 2, rtol=1e-5)


@few
@given(arrays(4, 3), arrays(4, 5), st.permutations(range(4)))
def test_examples_may_come_in_any_order(student, teacher, order):
    value = compute(pkt.loss, student_features=student, teacher_features=teacher)
    moved = compute(pkt.loss, student_features=student[order], teacher_features=teacher[order])
    np.testing.assert_allclose(moved, value[order], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(compute(pkt.loss, student_features=teacher, teacher_features=teacher), 0, atol=1e-12)


@few
@given(arrays(4, 3), arrays(4, 5), st.floats(0.5, 8))
def test_features_may_have_any_scale(student, teacher, scale):
    student, teacher = student + 0.5, teacher + 0.5  # float16 values plus a half: 0 or far above 1e-7
    value = compute(pkt.loss, student_features=student, teacher_features=teacher)
    scaled = compute(pkt.loss, student_features=scale * student, teacher_features=scale * teacher)
    np.testing.assert_allclose(scaled, value, atol=1e-3)


def test_features_of_0_have_a_finite_gradient():
    features = {"student_features": np.zeros((2, 3)), "teacher_features": np.ones((2, 3))}
    _, gradients, _ = value_and_gradients(pkt.loss, features)
    assert np.isfinite(gradients["student_features"]).all()
