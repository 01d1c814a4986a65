import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from golden_methods import (
    LABELS,
    LOGITS,
    assert_golden,
    compute,
    few,
    load_golden,
    logits,
    value_and_gradients,
)
from kdzoo.distillation.methods import dkd, lskd
from zoo import InputError

GOLDEN = load_golden("methods.json")
PAIR = {name: LOGITS[name] for name in ("student_logits", "teacher_logits")}


def test_golden():
    assert assert_golden(GOLDEN["lskd"], lskd.loss, PAIR).shape == (6,)


def test_golden_dkd_of_standardised_logits():
    def loss(student_logits, teacher_logits, labels):
        pair = lskd.standardise(student_logits), lskd.standardise(teacher_logits)
        arguments = {"alpha": 9.0, "beta": 72.0, "temperature": 2.0}
        return dkd.loss(student_logits=pair[0], teacher_logits=pair[1], labels=labels, **arguments)

    assert_golden(GOLDEN["dkd_standardised"], loss, PAIR | {"labels": LABELS})


@pytest.mark.parametrize(("mode", "ddof"), [("code", 1), ("paper", 0)])
def test_standardised_logits_have_mean_0_and_standard_deviation_1(mode, ddof):
    standardised = compute(lskd.standardise, logits=LOGITS["student_logits"], mode=mode)
    np.testing.assert_allclose(standardised.mean(-1), 0, atol=1e-12)
    np.testing.assert_allclose(standardised.std(-1, ddof=ddof), 1, rtol=1e-6)


@few
@given(logits(), st.floats(-100, 100), st.floats(0.1, 10), st.sampled_from(["student_logits", "teacher_logits"]))
def test_neither_shift_nor_scale_change_it(drawn, shift, scale, side):
    assume((drawn.std(-1) > 0.1).all())
    other = LOGITS["strong_student_logits"][:4, :5]
    pair = {"student_logits": other, "teacher_logits": other, side: drawn}
    moved = pair | {side: scale * drawn + shift}
    np.testing.assert_allclose(compute(lskd.loss, **moved), compute(lskd.loss, **pair), rtol=1e-4, atol=1e-9)


@few
@given(logits())
def test_equal_logits_have_no_loss(same):
    np.testing.assert_allclose(compute(lskd.loss, student_logits=same, teacher_logits=same), np.zeros(4), atol=1e-12)


def test_logits_that_are_all_equal_have_a_finite_gradient():
    pair = {"student_logits": np.ones((2, 3)), "teacher_logits": np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])}
    value, gradients, _ = value_and_gradients(lskd.loss, pair)
    assert np.isfinite(value).all()
    assert np.isfinite(gradients["student_logits"]).all()
    assert value[1] == 0


def test_an_unknown_mode_is_refused():
    with pytest.raises(InputError, match=r"mode must be one of code, paper\. Received: theirs"):
        lskd.loss(**PAIR, mode="theirs")
