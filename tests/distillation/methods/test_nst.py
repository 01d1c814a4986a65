import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden_features import Case, arrays, stages
from golden_methods import compute, few
from kdzoo.distillation.methods import nst
from zoo import InputError


def of_stage(student, teacher):
    return nst.loss(student_stages=[student], teacher_stages=[teacher])


def test_golden():
    def loss(**inputs):
        return nst.loss(student_stages=stages(inputs, "student"), teacher_stages=stages(inputs, "teacher"))

    Case("nst").check(loss)
    Case("nst").assert_no_gradient_to_the_teacher(loss)


def test_by_hand():
    # Two channels, each active in one of two places, against one channel active in both.
    student, teacher = np.eye(2)[None, None], np.ones((1, 1, 2, 1))
    np.testing.assert_allclose(compute(of_stage, student=student, teacher=teacher), [1 + 1 / 2 - 2 * 1 / 2])


@few
@given(arrays(2, 2, 2, 3), arrays(2, 2, 2, 3), st.permutations(range(3)), st.floats(0.125, 8))
def test_channels_may_come_in_any_order_and_scale(student, teacher, order, scale):
    value = compute(of_stage, student=student, teacher=teacher)
    moved = compute(of_stage, student=scale * student[..., order], teacher=teacher)
    np.testing.assert_allclose(moved, value, rtol=1e-9, atol=1e-12)
    assert (value > -1e-12).all()
    np.testing.assert_allclose(compute(of_stage, student=teacher[..., order], teacher=teacher), 0, atol=1e-12)


def test_other_numbers_of_stages_are_refused():
    with pytest.raises(InputError, match=r"Neuron selectivity transfer needs as many stages .* Received: 1 and 2"):
        nst.loss(student_stages=[np.zeros((1, 2, 2, 1))], teacher_stages=[np.zeros((1, 2, 2, 1))] * 2)
