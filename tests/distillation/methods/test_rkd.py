import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden_features import Case, arrays, drawn
from golden_methods import compute, few, value_and_gradients
from kdzoo.distillation.methods import rkd

FUNCTIONS = {"rkd": rkd.loss, "rkd_distance": rkd.distance, "rkd_angle": rkd.angle}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_golden(name):
    def loss(student, teacher):
        return FUNCTIONS[name](student_features=student, teacher_features=teacher)

    Case(name).check(loss)
    Case(name).assert_no_gradient_to_the_teacher(loss)


def test_distance_by_hand():
    # Points 0, 1, 3 on a line: distances 1, 2, 3 of mean 2. Points 0, 3, 3: 3, 0, 3 of mean 2.
    student, teacher = np.array([[0.0], [1.0], [3.0]]), np.array([[0.0], [3.0], [3.0]])
    value = compute(rkd.distance, student_features=student, teacher_features=teacher)
    # Differences: 1/2 - 3/2 and 3/2 - 3/2 at the first; 1/2 - 3/2 and 2/2 - 0 at the second.
    np.testing.assert_allclose(value, [0.5 / 3, 1 / 3, 0.5 / 3], rtol=1e-5)


def test_angle_by_hand():
    # A right angle against a straight line, seen from the corner in the middle of both.
    student = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    teacher = np.array([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    value = compute(rkd.angle, student_features=student, teacher_features=teacher)
    np.testing.assert_allclose(value[0], 2 * (0 + 1 - 0.5) / 9)


@few
@given(arrays(4, 3), arrays(4, 5), st.permutations(range(4)), st.sampled_from([0.25, 2.0, 16.0]), st.integers(-8, 8))
def test_examples_may_come_in_any_order_and_features_in_any_scale_and_place(student, teacher, order, scale, shift):
    student, teacher = student + drawn("a", 4, 3), teacher + drawn("b", 4, 5)  # no two examples are equal
    value = compute(rkd.loss, student_features=student, teacher_features=teacher)
    moved = compute(rkd.loss, student_features=scale * student[order] + shift, teacher_features=teacher[order])
    np.testing.assert_allclose(moved, value[order], rtol=1e-6, atol=1e-9)
    equal = compute(rkd.loss, student_features=scale * teacher + shift, teacher_features=teacher)
    np.testing.assert_allclose(equal, 0, atol=1e-12)


@pytest.mark.parametrize("function", [rkd.distance, rkd.angle])
@pytest.mark.parametrize("student", [[[1.0, 2.0], [1.0, 2.0], [0.0, 1.0]], [[1.0, 2.0]] * 3, [[1.0, 2.0]]])
def test_equal_examples_have_a_finite_loss_and_gradient(function, student):
    features = {"student_features": np.array(student), "teacher_features": np.eye(3)[: len(student)]}
    value, gradients, _ = value_and_gradients(function, features)
    assert np.isfinite(value).all()
    assert np.isfinite(gradients["student_features"]).all()
    assert np.abs(gradients["student_features"]).max() < 1e6
