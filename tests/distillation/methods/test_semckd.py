import numpy as np
import pytest

from golden_features import Case, drawn, stages
from golden_methods import compute
from kdzoo.distillation.methods import semckd
from zoo import InputError


def shapes_of(case):
    return {f"{name}_shapes": stages(case.shapes, name) for name in ("student", "teacher")}


def test_golden():
    case = Case("semckd")
    calls, variables = case.build(attention=lambda: semckd.attention(**shapes_of(case), batch_size=6, factor=3))

    def loss(**inputs):
        teacher = stages(inputs, "teacher")
        outputs = calls["attention"]({"student": stages(inputs, "student"), "teacher": teacher})
        return semckd.loss(**outputs, teacher_stages=teacher)

    case.check(loss, variables)
    case.assert_no_gradient_to_the_teacher(loss)


def test_by_hand():
    # Distances 1 and 4 to two teacher stages, weights 3/4 and 1/4, then 0 and 1; two student stages.
    teacher = [np.zeros((1, 2, 2, 1))] * 2
    projected = [[np.ones((1, 1, 1, 1)), 2 * np.ones((1, 1, 1, 1))]] * 2
    weights = np.array([[[0.75, 0.25], [0.0, 1.0]]])
    value = compute(lambda: semckd.loss(projected=projected, weights=weights, teacher_stages=teacher))
    np.testing.assert_allclose(value, [(0.75 + 1 + 4) / 2])


def test_the_weights_of_an_image_sum_to_1_and_its_projections_are_of_the_teachers_channels():
    case = Case("semckd")
    attention = semckd.attention(**shapes_of(case), batch_size=6, factor=3)
    outputs = attention({name: stages(case.inputs, name) for name in ("student", "teacher")})
    assert outputs["weights"].shape == (6, 2, 2)
    np.testing.assert_allclose(np.sum(outputs["weights"], axis=-1), 1, rtol=1e-6)
    shapes = [[tuple(x.shape[1:]) for x in projections] for projections in outputs["projected"]]
    assert shapes == [[(4, 4, 2), (2, 2, 1)], [(2, 2, 2), (2, 2, 1)]]


def test_equal_stages_have_no_loss():
    stage = drawn("stage", 2, 4, 4, 3)
    assert not compute(
        lambda: semckd.loss(projected=[[stage]], weights=np.ones((2, 1, 1)), teacher_stages=[stage])
    ).any()


def test_other_channels_are_refused():
    with pytest.raises(InputError, match=r"stages .* equal shapes. Received: \(1, 2, 2, 3\) and \(1, 2, 2, 1\)"):
        semckd.loss(
            projected=[[np.zeros((1, 2, 2, 3))]], weights=np.ones((1, 1, 1)), teacher_stages=[np.zeros((1, 4, 4, 1))]
        )
