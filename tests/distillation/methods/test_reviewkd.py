import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden_features import Case, arrays, stages
from golden_methods import compute, few
from kdzoo.distillation.methods import reviewkd
from zoo import InputError


@pytest.mark.parametrize("sizes", ["equal", "larger"])
def test_golden(sizes):
    case = Case(f"reviewkd_{sizes}")
    shapes = {f"{name}_shapes": stages(case.shapes, name) for name in ("student", "teacher")}
    calls, variables = case.build(fusion=lambda: reviewkd.fusion(**shapes))

    def loss(**inputs):
        student = calls["fusion"](stages(inputs, "student"))
        return reviewkd.loss(student_stages=student, teacher_stages=stages(inputs, "teacher"))

    case.check(loss, variables)
    case.assert_no_gradient_to_the_teacher(loss)


def test_golden_loss_of_sizes_that_are_no_multiples():
    def loss(**inputs):
        return reviewkd.loss(student_stages=stages(inputs, "student"), teacher_stages=stages(inputs, "teacher"))

    Case("reviewkd_loss").check(loss)


@few
@given(arrays(2, 8, 8, 1), st.floats(-8, 8))
def test_a_difference_that_is_equal_everywhere_counts_its_square(teacher, difference):
    value = compute(lambda: reviewkd.loss(student_stages=[teacher + difference], teacher_stages=[teacher]))
    np.testing.assert_allclose(value, difference**2, rtol=1e-9, atol=1e-9)


def test_by_hand():
    # 2x2 with a difference of 1 in one place: 1/4 there, and of mean 1/4 at 1x1, of weight 1/2.
    student = np.array([1.0, 0.0, 0.0, 0.0]).reshape(1, 2, 2, 1)
    value = compute(lambda: reviewkd.loss(student_stages=[student], teacher_stages=[np.zeros_like(student)]))
    np.testing.assert_allclose(value, [(1 / 4 + 1 / 2 * 1 / 16) / (1 + 1 / 2)])


def test_predictions_have_the_teachers_shapes():
    """A MobileNetV2 under a VGG teacher in the authors' code: stages of equal size, and larger ones."""
    shapes = {"student_shapes": [(8, 8, 2), (2, 2, 3), (1, 1, 5)], "teacher_shapes": [(4, 4, 3), (4, 4, 2), (1, 1, 4)]}
    fusion = reviewkd.fusion(**shapes)
    assert [shape[1:] for shape in fusion.output_shape] == shapes["teacher_shapes"]
    assert fusion.get_layer("reduce1").filters == 5


def test_other_stages_and_sizes_are_refused():
    stage = np.zeros((1, 2, 2, 1))
    with pytest.raises(InputError, match=r"ReviewKD needs as many stages .* Received: 1 and 2"):
        reviewkd.loss(student_stages=[stage], teacher_stages=[stage] * 2)
    with pytest.raises(InputError, match=r"stages .* equal shapes. Received: \(1, 2, 2, 1\) and \(1, 1, 1, 1\)"):
        reviewkd.loss(student_stages=[stage], teacher_stages=[stage[:, :1, :1]])
    with pytest.raises(InputError, match=r"ReviewKD resizes features to a multiple .* Received: 2 and 3"):
        reviewkd.fusion(student_shapes=[(3, 3, 1), (2, 2, 1)], teacher_shapes=[(3, 3, 1), (2, 2, 1)])
