import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden_features import Case, arrays, stages
from golden_methods import compute, few
from kdzoo.distillation.methods import ab
from zoo import InputError


def of_stage(student, teacher):
    return ab.loss(student_stages=[student], teacher_stages=[teacher])


def test_golden():
    case = Case("ab")
    builders = {
        f"connector{i}": lambda i=i: ab.connector(
            student_shape=case.shapes[f"student{i}"], teacher_shape=case.shapes[f"teacher{i}"]
        )
        for i in (1, 2, 3)
    }
    calls, variables = case.build(**builders)

    def loss(**inputs):
        student = [calls[f"connector{i}"](stage) for i, stage in enumerate(stages(inputs, "student"), 1)]
        return ab.loss(student_stages=student, teacher_stages=stages(inputs, "teacher"))

    case.check(loss, variables)
    case.assert_no_gradient_to_the_teacher(loss)


def test_by_hand():
    # Within the margin of 1 of an active neuron, and of an inactive one; beyond both margins.
    student = np.array([[[[0.5, -0.5, 2.0, -2.0]]]])
    teacher = np.array([[[[1.0, 0.0, 3.0, -1.0]]]])
    np.testing.assert_allclose(compute(of_stage, student=student, teacher=teacher), [0.003 * (0.25 + 0.25)])


def test_each_stage_counts_half_of_the_next():
    student, active = np.zeros((1, 1, 1, 1)), np.ones((1, 1, 1, 1))
    value = compute(lambda: ab.loss(student_stages=[student] * 3, teacher_stages=[active] * 3))
    np.testing.assert_allclose(value, [0.003 * (1 / 4 + 1 / 2 + 1)])


@few
@given(arrays(2, 2, 2, 3), arrays(2, 2, 2, 3), st.floats(0.125, 8))
def test_only_the_signs_of_the_teacher_count(student, teacher, scale):
    value = compute(of_stage, student=student, teacher=teacher)
    np.testing.assert_array_equal(compute(of_stage, student=student, teacher=scale * teacher), value)
    beyond = np.where(teacher > 0, 1.0, -1.0)
    assert not compute(of_stage, student=scale * beyond + beyond, teacher=teacher).any()


def test_other_numbers_of_stages_and_channels_are_refused():
    stage = np.zeros((1, 2, 2, 1))
    with pytest.raises(InputError, match=r"Activation boundaries needs as many stages .* Received: 1 and 2"):
        ab.loss(student_stages=[stage], teacher_stages=[stage] * 2)
    with pytest.raises(InputError, match=r"stages .* equal shapes. Received: \(1, 2, 2, 1\) and \(1, 2, 2, 3\)"):
        of_stage(stage, np.zeros((1, 4, 4, 3)))
