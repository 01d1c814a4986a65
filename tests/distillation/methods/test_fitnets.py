import numpy as np
import pytest

from golden_features import Case, drawn
from golden_methods import compute
from kdzoo.distillation.methods import fitnets
from zoo import InputError


@pytest.mark.parametrize("sizes", ["equal", "halved", "doubled", "valid"])
def test_golden(sizes):
    case = Case(f"fitnets_{sizes}")
    shapes = {f"{name}_shape": shape for name, shape in case.shapes.items()}
    calls, variables = case.build(regressor=lambda: fitnets.regressor(**shapes))

    def loss(student, teacher):
        return fitnets.loss(student_stage=calls["regressor"](student), teacher_stage=teacher)

    case.check(loss, variables)
    case.assert_no_gradient_to_the_teacher(loss)


def test_by_hand():
    # The student's 1x2 is pooled to 1: 2 and 3, 1 and 0 from the teacher's.
    value = compute(
        fitnets.loss, student_stage=np.array([[[[1.0, 2.0], [3.0, 4.0]]]]), teacher_stage=np.array([[[[1.0, 3.0]]]])
    )
    np.testing.assert_allclose(value, [0.5])


def test_equal_stages_have_no_loss():
    stage = drawn("stage", 2, 4, 4, 3)
    assert not compute(fitnets.loss, student_stage=stage, teacher_stage=stage).any()


def test_a_smaller_stage_keeps_its_size():
    regressor = fitnets.regressor(student_shape=(3, 3, 2), teacher_shape=(8, 8, 5))
    assert regressor.output_shape == (None, 3, 3, 5)


def test_other_channels_are_refused():
    with pytest.raises(InputError, match=r"stages .* equal shapes. Received: \(1, 2, 2, 3\) and \(1, 2, 2, 1\)"):
        fitnets.loss(student_stage=np.zeros((1, 2, 2, 3)), teacher_stage=np.zeros((1, 4, 4, 1)))
