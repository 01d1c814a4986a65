import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden_features import Case, arrays, stages
from golden_methods import compute, few
from kdzoo.distillation.methods import fsp
from zoo import InputError


def test_golden():
    def loss(**inputs):
        return fsp.loss(student_stages=stages(inputs, "student"), teacher_stages=stages(inputs, "teacher"))

    Case("fsp").check(loss)
    Case("fsp").assert_no_gradient_to_the_teacher(loss)


def test_by_hand():
    # One channel in two places, then two: products (1 * 3 + 2 * 5) / 2 and (1 * 4 + 2 * 6) / 2, against 0.
    student = [np.array([[[[1.0], [2.0]]]]), np.array([[[[3.0, 4.0], [5.0, 6.0]]]])]
    value = compute(lambda: fsp.loss(student_stages=student, teacher_stages=[np.zeros_like(x) for x in student]))
    np.testing.assert_allclose(value, [(6.5**2 + 8**2) / 2])


@few
@given(arrays(2, 2, 2, 3), arrays(2, 2, 2, 2), st.permutations(range(4)))
def test_places_may_come_in_any_order(first, second, order):
    moved = [x.reshape(2, 4, -1)[:, order].reshape(x.shape) for x in (first, second)]
    value = compute(lambda: fsp.loss(student_stages=moved, teacher_stages=[first, second]))
    np.testing.assert_allclose(value, 0, atol=1e-20)


def test_other_stages_are_refused():
    stage, other = np.zeros((1, 2, 2, 1)), np.zeros((1, 2, 2, 3))
    with pytest.raises(InputError, match=r"FSP needs as many stages .* Received: 1 and 2"):
        fsp.loss(student_stages=[stage], teacher_stages=[stage] * 2)
    with pytest.raises(InputError, match=r"FSP needs two stages, for example stage1 and stage2. Received: 1"):
        fsp.loss(student_stages=[stage], teacher_stages=[stage])
    with pytest.raises(InputError, match=r"FSP matrices .* equal shapes. Received: \(1, 1, 1\) and \(1, 3, 1\)"):
        fsp.loss(student_stages=[stage, stage], teacher_stages=[stage, other])
