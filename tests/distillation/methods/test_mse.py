import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from golden_methods import LOGITS, assert_golden, compute, few, logits
from kdzoo.distillation.methods import mse

PAIR = {name: LOGITS[name] for name in ("student_logits", "teacher_logits")}


def test_golden():
    # By `mse_logit` of the authors' tools/losses.py, on PyTorch; its gradient was that of the mean square to 3e-17.
    gradient = 2 * (PAIR["student_logits"] - PAIR["teacher_logits"]) / PAIR["student_logits"].size
    golden = {"loss": 24.33621064690382, "gradients": {"student_logits": gradient}}
    assert assert_golden(golden, mse.loss, PAIR).shape == (6,)


def test_by_hand():
    value = compute(mse.loss, student_logits=np.array([[1.0, 2.0]]), teacher_logits=np.array([[0.0, 4.0]]))
    np.testing.assert_allclose(value, [2.5])


@few
@given(logits(), st.floats(-8, 8))
def test_logits_apart_by_a_constant_have_its_square(student, constant):
    value = compute(mse.loss, student_logits=student, teacher_logits=student + constant)
    np.testing.assert_allclose(value, constant**2, rtol=1e-6, atol=1e-12)
