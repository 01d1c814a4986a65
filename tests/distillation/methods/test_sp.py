import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from golden_features import Case, arrays
from golden_methods import compute, few, value_and_gradients
from kdzoo.distillation.methods import sp


def test_golden():
    def loss(student, teacher):
        return sp.loss(student_stage=student, teacher_stage=teacher)

    Case("sp").check(loss)
    Case("sp").assert_no_gradient_to_the_teacher(loss)


def test_by_hand():
    # Orthogonal for the student, equal for the teacher: rows (1, 0) and (1, 1) / sqrt(2).
    value = compute(sp.loss, student_stage=np.eye(2), teacher_stage=np.ones((2, 3)))
    half = 0.5**0.5
    np.testing.assert_allclose(value, [((1 - half) ** 2 + half**2) / 2] * 2)


@few
@given(arrays(4, 3), arrays(4, 5), st.permutations(range(4)), st.floats(0.125, 8))
def test_examples_may_come_in_any_order_and_features_in_any_scale(student, teacher, order, scale):
    value = compute(sp.loss, student_stage=student, teacher_stage=teacher)
    moved = compute(sp.loss, student_stage=scale * student[order], teacher_stage=teacher[order])
    np.testing.assert_allclose(moved, value[order], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(compute(sp.loss, student_stage=scale * teacher, teacher_stage=teacher), 0, atol=1e-12)


def test_features_of_0_have_a_finite_gradient():
    features = {"student_stage": np.zeros((2, 3)), "teacher_stage": np.ones((2, 3))}
    _, gradients, _ = value_and_gradients(sp.loss, features)
    assert np.isfinite(gradients["student_stage"]).all()
