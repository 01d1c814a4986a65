import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden_features import Case, arrays
from golden_methods import compute, few
from kdzoo.distillation.methods import ft
from zoo import InputError


def test_golden():
    case = Case("ft")
    calls, variables = case.build(
        translator=lambda: ft.translator(student_shape=case.shapes["student"], teacher_shape=case.shapes["teacher"]),
        paraphraser=lambda: ft.paraphraser(teacher_shape=case.shapes["teacher"]),
    )

    def loss(student, teacher):
        factors, _ = calls["paraphraser"](teacher)
        return ft.loss(student_factors=calls["translator"](student), teacher_factors=factors)

    case.check(loss, variables)
    case.assert_no_gradient_to_the_teacher(loss)


def test_golden_reconstruction():
    case = Case("ft_reconstruction")
    calls, variables = case.build(paraphraser=lambda: ft.paraphraser(teacher_shape=case.shapes["teacher"]))

    def loss(teacher):
        _, reconstructed = calls["paraphraser"](teacher)
        return ft.reconstruction(reconstructed=reconstructed, teacher_stage=teacher)

    case.check(loss, variables)


@pytest.mark.parametrize("sizes", ["larger", "smaller"])
def test_golden_maps(sizes):
    def loss(student, teacher):
        return ft.loss(student_factors=student, teacher_factors=teacher, maps=True)

    Case(f"ft_maps_{sizes}").check(loss)
    Case(f"ft_maps_{sizes}").assert_no_gradient_to_the_teacher(loss)


def test_by_hand():
    # (3, 4) / 5 against (0, 1).
    student, teacher = np.array([[[[3.0, 4.0]]]]), np.array([[[[0.0, 2.0]]]])
    value = compute(ft.loss, student_factors=student, teacher_factors=teacher)
    np.testing.assert_allclose(value, [(0.6 + 0.2) / 2])


@few
@given(arrays(2, 2, 2, 3), arrays(2, 2, 2, 3), st.floats(0.125, 8), st.booleans())
def test_factors_may_have_any_scale(student, teacher, scale, maps):
    value = compute(ft.loss, student_factors=student, teacher_factors=teacher, maps=maps)
    scaled = compute(ft.loss, student_factors=scale * student, teacher_factors=teacher, maps=maps)
    np.testing.assert_allclose(scaled, value, rtol=1e-9, atol=1e-12)
    equal = compute(ft.loss, student_factors=scale * teacher, teacher_factors=teacher, maps=maps)
    np.testing.assert_allclose(equal, 0, atol=1e-12)


def test_other_channels_are_refused():
    with pytest.raises(InputError, match=r"factors .* equal shapes. Received: \(1, 2, 2, 3\) and \(1, 2, 2, 1\)"):
        ft.loss(student_factors=np.zeros((1, 2, 2, 3)), teacher_factors=np.zeros((1, 2, 2, 1)))
