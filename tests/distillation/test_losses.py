import json
import math

import keras
import numpy as np
import pytest

from conftest import ROOT
from kdzoo.distillation import losses
from kdzoo.distillation.checks import TEMPERATURE
from zoo import InputError

GOLDEN = json.loads((ROOT / "tests/golden/golden.json").read_text())


def test_distillation_by_hand():
    # At T = 2: softmax(0, 0) = (1/2, 1/2) and softmax(0, ln 9 / 2) = (1/4, 3/4).
    value = losses.distillation(
        student_logits=np.array([[0.0, math.log(9)]]), teacher_logits=np.array([[0.0, 0.0]]), temperature=2
    )
    by_hand = 4 * (0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75))
    np.testing.assert_allclose(value, [by_hand], rtol=1e-6)


@pytest.mark.parametrize("temperature", ["1.0", "4.0", "20.0"])
def test_distillation_equals_pytorch(temperature):
    golden = GOLDEN["kd"]
    values = losses.distillation(
        student_logits=np.array(golden["student"]),
        teacher_logits=np.array(golden["teacher"]),
        temperature=float(temperature),
    )
    np.testing.assert_allclose(values, golden["values"][temperature], rtol=1e-4)


def test_equal_logits_have_no_loss():
    logits = np.array(GOLDEN["kd"]["student"])
    np.testing.assert_allclose(losses.distillation(student_logits=logits, teacher_logits=logits), 0, atol=1e-6)


def test_temperature_scales_logits_and_its_square_the_loss():
    pair = {key: np.array(GOLDEN["kd"][key]) for key in ("student", "teacher")}
    at_1 = losses.distillation(student_logits=pair["student"], teacher_logits=pair["teacher"], temperature=1)
    at_5 = losses.distillation(student_logits=5 * pair["student"], teacher_logits=5 * pair["teacher"], temperature=5)
    np.testing.assert_allclose(at_5, 25 * np.asarray(at_1), rtol=1e-5)


@pytest.mark.parametrize("shape", [(8, 1), (1, 10), (10,), (8, 10, 1), (8, 1, 10)])
def test_logits_and_maps_of_other_shapes_are_refused(shape):
    """They would be broadcast."""
    with pytest.raises(InputError, match=r"must have equal shapes. Received: \(8, 10\) and \("):
        losses.distillation(student_logits=np.zeros((8, 10)), teacher_logits=np.zeros(shape))
    with pytest.raises(InputError, match=r"must have equal shapes. Received: \(8, 16\) and \(1, 16\)"):
        losses.attention_transfer(student_stages=[np.ones((8, 4, 4))], teacher_stages=[np.ones((1, 4, 4))])


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow leaves shapes open")
@pytest.mark.parametrize("shape", [None, (None, 3), (2, None)])
def test_shapes_that_a_graph_leaves_open_are_accepted(shape):
    import tensorflow as tf

    student = np.array([[0.0, 1.0, 2.0], [3.0, 0.0, 1.0]], np.float32)
    compiled = tf.function(
        lambda teacher: losses.distillation(student_logits=student, teacher_logits=teacher),
        input_signature=[tf.TensorSpec(shape, tf.float32)],
    )
    np.testing.assert_allclose(compiled(student), [0, 0], atol=1e-6)


def test_extreme_logits_stay_finite():
    value = losses.distillation(
        student_logits=np.array([[1e4, 0.0]]), teacher_logits=np.array([[0.0, 1e4]]), temperature=1
    )
    np.testing.assert_allclose(value, [1e4], rtol=1e-6)


def in_float64(student: np.ndarray, teacher: np.ndarray, temperature: float) -> tuple[float, np.ndarray]:
    """The KD loss of a batch, and its gradient to the student's logits."""
    student, teacher = (
        logits / temperature - np.logaddexp.reduce(logits / temperature, axis=-1, keepdims=True)
        for logits in (student.astype(np.float64), teacher.astype(np.float64))
    )
    loss = temperature**2 * (np.exp(teacher) * (teacher - student)).sum()
    return loss, temperature * (np.exp(student) - np.exp(teacher))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="takes gradients with TensorFlow")
@pytest.mark.parametrize("classes", [10, 1000])
@pytest.mark.parametrize("temperature", [TEMPERATURE.least, 0.01, 1.0, 4.0, 20.0, TEMPERATURE.most])
def test_at_accepted_temperatures_float32_is_within_1_percent_of_float64(temperature, classes):
    import tensorflow as tf

    rng = np.random.default_rng(0)
    teacher = rng.normal(0, 5, (256, classes)).astype(np.float32)
    for apart in (1.0, 5.0):
        student = tf.Variable(teacher + rng.normal(0, apart, teacher.shape).astype(np.float32))
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(
                losses.distillation(student_logits=student, teacher_logits=teacher, temperature=temperature)
            )
        true_loss, true_gradient = in_float64(student.numpy(), teacher, temperature)
        assert abs(float(loss) - true_loss) < 0.01 * true_loss
        difference = np.linalg.norm(tape.gradient(loss, student).numpy() - true_gradient)
        assert difference < 0.01 * np.linalg.norm(true_gradient)


@pytest.mark.parametrize("temperature", [0, -1, math.nan, math.inf, 1e-30, 1e30, "4", True])
def test_invalid_temperatures_are_refused(temperature):
    with pytest.raises(
        InputError, match=r"temperature must be at least 0.001 and at most 100, for example 4. Received"
    ):
        losses.distillation(student_logits=np.zeros((1, 2)), teacher_logits=np.zeros((1, 2)), temperature=temperature)


def test_attention_transfer_by_hand():
    # Maps of 1x2: the student's (9, 16) of length sqrt(337), the teacher's (0, 2 + 2) / 2, of direction (0, 1).
    student = np.array([[[[3.0], [4.0]]]])
    teacher = np.array([[[[0.0, 0.0], [math.sqrt(2), math.sqrt(2)]]]])
    squares = np.array([(9 / math.sqrt(337)) ** 2, (16 / math.sqrt(337) - 1) ** 2])
    code = losses.attention_transfer(student_stages=[student], teacher_stages=[teacher])
    paper = losses.attention_transfer(student_stages=[student], teacher_stages=[teacher], mode="paper")
    np.testing.assert_allclose(code, [squares.mean()], rtol=1e-6)
    np.testing.assert_allclose(paper, [math.sqrt(squares.sum())], rtol=1e-6)


@pytest.mark.parametrize("mode", ["code", "paper"])
def test_attention_transfer_equals_pytorch(mode):
    golden = GOLDEN["at"]
    stages = {key: [np.array(stage) for stage in golden[key]] for key in ("student", "teacher")}
    values = losses.attention_transfer(student_stages=stages["student"], teacher_stages=stages["teacher"], mode=mode)
    np.testing.assert_allclose(values, golden[mode], rtol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="takes gradients with TensorFlow")
@pytest.mark.parametrize("mode", ["code", "paper"])
def test_equal_attention_has_no_distance_and_a_finite_gradient(mode):
    import tensorflow as tf

    stage = tf.Variable(np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype("float32"))
    with tf.GradientTape() as tape:
        values = losses.attention_transfer(student_stages=[stage], teacher_stages=[stage.numpy()], mode=mode)
    np.testing.assert_allclose(values, 0, atol=1e-7)
    assert np.isfinite(tape.gradient(values, stage)).all()


def test_mismatched_stages_are_refused():
    stage = np.ones((1, 4, 4, 1))
    with pytest.raises(InputError, match="Received: 2 and 1"):
        losses.attention_transfer(student_stages=[stage, stage], teacher_stages=[stage])
    with pytest.raises(InputError, match="Received: 4x4 and 3x3"):
        losses.attention_transfer(student_stages=[stage], teacher_stages=[np.ones((1, 3, 3, 1))])
    with pytest.raises(InputError, match="at_mode must be one of code, paper"):
        losses.attention_transfer(student_stages=[stage], teacher_stages=[stage], mode="x")
