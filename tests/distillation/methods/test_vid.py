import math

import numpy as np
import pytest

from golden_features import Case, drawn
from golden_methods import compute
from kdzoo.distillation.methods import vid
from zoo import InputError


@pytest.mark.parametrize("sizes", ["equal", "larger", "smaller"])
def test_golden(sizes):
    case = Case(f"vid_{sizes}")
    shapes = {f"{name}_shape": shape for name, shape in case.shapes.items()}
    calls, variables = case.build(predictor=lambda: vid.predictor(**shapes))

    def loss(student, teacher):
        mean, variance = calls["predictor"](student)
        return vid.loss(mean=mean, variance=variance, teacher_stage=teacher)

    case.check(loss, variables)
    case.assert_no_gradient_to_the_teacher(loss)


def test_by_hand():
    value = compute(
        vid.loss,
        mean=np.array([[[[1.0, 2.0]]]]),
        variance=np.array([[[[1.0, 4.0]]]]),
        teacher_stage=np.array([[[[3.0, 2.0]]]]),
    )
    np.testing.assert_allclose(value, [(4 / 2 + math.log(4) / 2) / 2])


def test_the_best_variance_is_the_mean_square_of_the_error():
    mean, teacher = drawn("mean", 3, 4, 4, 1), drawn("teacher", 3, 4, 4, 1)
    best = np.square(mean - teacher).mean()
    losses = {
        scale: compute(vid.loss, mean=mean, variance=np.full((1, 1, 1, 1), scale * best), teacher_stage=teacher).mean()
        for scale in (0.8, 1.0, 1.25)
    }
    assert min(losses, key=losses.get) == 1.0


def test_the_variance_is_5_at_first():
    mean, variance = vid.predictor(student_shape=(4, 4, 2), teacher_shape=(2, 2, 3))(np.zeros((2, 4, 4, 2)))
    assert mean.shape == (2, 2, 2, 3)
    np.testing.assert_allclose(variance, np.full((1, 1, 1, 3), 5.0), rtol=1e-6)


def test_a_teacher_smaller_than_the_prediction_is_refused():
    with pytest.raises(InputError, match=r"Received: \(1, 4, 4, 2\) and \(1, 2, 2, 2\)"):
        vid.loss(mean=np.zeros((1, 4, 4, 2)), variance=np.ones((1, 1, 1, 2)), teacher_stage=np.zeros((1, 2, 2, 2)))
