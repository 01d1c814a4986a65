import numpy as np
import pytest
from hypothesis import given

from golden_methods import LOGITS, assert_golden, compute, few, load_golden, logits
from kdzoo.distillation.methods import kd, ttm, wttm
from zoo import InputError

GOLDEN = load_golden("methods.json")
PAIR = {name: LOGITS[name] for name in ("student_logits", "teacher_logits")}


@pytest.mark.parametrize("method", [ttm, wttm])
def test_golden(method):
    name = method.__name__.rpartition(".")[2]
    assert assert_golden(GOLDEN[name], method.loss, PAIR).shape == (6,)


@few
@given(logits(), logits())
def test_with_exponent_1_both_are_kd_at_temperature_1(student, teacher):
    pair = {"student_logits": student, "teacher_logits": teacher}
    expected = compute(kd.loss, **pair, temperature=1.0)
    for method in (ttm, wttm):
        np.testing.assert_allclose(compute(method.loss, **pair, exponent=1.0), expected, rtol=1e-9, atol=1e-12)


@few
@given(logits())
def test_a_student_at_the_teachers_temperature_has_no_loss(teacher):
    for method in (ttm, wttm):
        value = compute(method.loss, student_logits=0.2 * teacher, teacher_logits=teacher, exponent=0.2)
        np.testing.assert_allclose(value, np.zeros(4), atol=1e-12)


def test_a_uniform_teacher_weighs_most():
    student = np.array([[0.0, np.log(3)]] * 2)
    teacher = np.array([[0.0, 0.0], [0.0, 1000.0]])
    values = compute(wttm.loss, student_logits=student, teacher_logits=teacher, exponent=0.5)
    np.testing.assert_allclose(values, [2**0.5 * np.log(2 / 3**0.5), np.log(4 / 3)], rtol=1e-9)


@pytest.mark.parametrize("exponent", [0, -1, float("nan"), "1"])
@pytest.mark.parametrize("method", [ttm, wttm])
def test_invalid_exponents_are_refused(method, exponent):
    with pytest.raises(InputError, match=r"exponent must be above 0 and at most 1000, for example 0\.1\. Received"):
        method.loss(**PAIR, exponent=exponent)
