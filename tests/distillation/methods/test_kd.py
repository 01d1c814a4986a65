import numpy as np
from hypothesis import given

from golden_methods import LOGITS, compute, few, load_golden, logits, value_and_gradients
from kdzoo.distillation import losses
from kdzoo.distillation.methods import kd


@few
@given(logits())
def test_equal_logits_have_no_loss(same):
    np.testing.assert_allclose(compute(kd.loss, student_logits=same, teacher_logits=same), np.zeros(4), atol=1e-12)


def test_the_gradient_is_t_times_the_difference_of_predictions():
    pair = {name: LOGITS[name] for name in ("student_logits", "teacher_logits")}
    value, gradients, _ = value_and_gradients(lambda **given: kd.loss(**given, temperature=3.0), pair)
    softmaxes = [np.exp(x / 3) / np.exp(x / 3).sum(-1, keepdims=True) for x in pair.values()]
    np.testing.assert_allclose(gradients["student_logits"], 3 * (softmaxes[0] - softmaxes[1]) / len(value), rtol=1e-9)
    assert not gradients["teacher_logits"].any()


def test_it_is_the_loss_of_the_distiller_which_computes_in_float32():
    pair = {name: LOGITS[name].astype(np.float32) for name in ("student_logits", "teacher_logits")}
    method, distiller = np.asarray(kd.loss(**pair)), np.asarray(losses.distillation(**pair))
    assert method.dtype == distiller.dtype == np.float32
    np.testing.assert_array_equal(method, distiller)


def test_lower_precision_is_cast_up():
    golden = load_golden("methods.json")["tfkd_self"]["loss"]
    half = {name: LOGITS[name].astype(np.float16) for name in ("student_logits", "teacher_logits")}
    value = np.asarray(kd.loss(**half, temperature=6.0))
    assert value.dtype == np.float32
    np.testing.assert_allclose(value.mean(), golden, rtol=0.01)
