import keras
import numpy as np
import pytest
from keras import layers, ops

import kdzoo
from kdzoo.distillation import losses
from kdzoo.distillation.optimizers import CoupledSGD
from zoo import InputError

SHAPE = (8, 8, 3)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, *SHAPE)).astype("float32")
Y = RNG.integers(0, 5, 64).astype("int32")


def network(name: str = "wrn10-1", seed: int = 0, **options) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return kdzoo.build(name, **{"num_classes": 5, "input_shape": SHAPE, **options})


def linear(seed: int, regulariser=None) -> keras.Model:
    """Builds a network without BatchNorm: its training output for an image does not depend on the rest of the batch."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input(SHAPE)
    x = layers.Conv2D(4, 3, padding="same", name="stage1", kernel_regularizer=regulariser)(inputs)
    return keras.Model(inputs, layers.Dense(5)(layers.Flatten()(x)))


def numpy_weights(model: keras.Model) -> list[np.ndarray]:
    return [np.array(ops.convert_to_numpy(weight.value)) for weight in model.weights]


def fit(distiller: kdzoo.Distiller, *args, lr: float = 0.0, **kwargs) -> dict[str, float]:
    """Takes one step on all of X, by default with learning rate 0. Returns the logs."""
    distiller.compile(CoupledSGD(lr, coupled_weight_decay=0.0))
    logs = distiller.fit(*(args or (X, Y)), batch_size=64, shuffle=False, verbose=0, **kwargs).history
    return {name: values[-1] for name, values in logs.items()}


def test_loss_is_the_weighted_sum_of_its_terms():
    student, teacher = linear(0), linear(1)
    logits, teacher_logits = np.asarray(student(X)), np.asarray(teacher(X))
    stages = [np.asarray(model.layers[1](X)) for model in (student, teacher)]
    ce = np.mean(keras.losses.sparse_categorical_crossentropy(Y, logits, from_logits=True))
    kd = np.mean(losses.distillation(student_logits=logits, teacher_logits=teacher_logits, temperature=3))
    at = np.mean(losses.attention_transfer(student_stages=stages[:1], teacher_stages=stages[1:]))
    weights = {"ce_weight": 0.3, "kd_weight": 0.6, "at_weight": 50.0}
    logs = fit(kdzoo.Distiller(student, teacher, **weights, temperature=3))
    np.testing.assert_allclose([logs["ce"], logs["kd"], logs["at"]], [ce, kd, at], rtol=1e-4)
    np.testing.assert_allclose(logs["loss"], 0.3 * ce + 0.6 * kd + 50 * at, rtol=1e-4)
    np.testing.assert_allclose(logs["agreement"], np.mean(logits.argmax(1) == teacher_logits.argmax(1)), rtol=1e-6)
    np.testing.assert_allclose(logs["accuracy"], np.mean(logits.argmax(1) == Y), rtol=1e-6)


def test_without_a_teacher_it_trains_on_labels():
    logs = fit(kdzoo.Distiller(linear(0), ce_weight=1.0, kd_weight=0.0))
    assert logs.keys() == {"loss", "ce", "accuracy"}
    np.testing.assert_allclose(logs["loss"], logs["ce"], rtol=1e-6)


def test_teachers_are_averaged():
    student, teachers = linear(0), [linear(1), linear(2)]
    mean = np.mean([np.asarray(teacher(X)) for teacher in teachers], axis=0)
    kd = np.mean(losses.distillation(student_logits=np.asarray(student(X)), teacher_logits=mean))
    logs = fit(kdzoo.Distiller(student, teachers, at_weight=1.0))
    np.testing.assert_allclose(logs["kd"], kd, rtol=1e-4)
    alone = [fit(kdzoo.Distiller(student, teacher, at_weight=1.0))["at"] for teacher in teachers]
    np.testing.assert_allclose(logs["at"], np.mean(alone), rtol=1e-4)


def test_sample_weights_are_respected():
    student, teacher = linear(0), linear(1)
    weights = np.repeat([1.0, 0.0], 32).astype("float32")
    weighted = fit(kdzoo.Distiller(student, teacher), X, Y, sample_weight=weights)["loss"]
    first_half = fit(kdzoo.Distiller(student, teacher), X[:32], Y[:32])["loss"]
    np.testing.assert_allclose(weighted, first_half / 2, rtol=1e-4)


def test_only_the_regularisation_of_the_student_counts():
    student, teacher = linear(0, keras.regularizers.L2(0.1)), linear(1, keras.regularizers.L2(10.0))
    logs = fit(kdzoo.Distiller(student, teacher, ce_weight=1.0, kd_weight=0.0))
    kernel = ops.convert_to_numpy(student.get_layer("stage1").kernel)
    np.testing.assert_allclose(logs["loss"] - logs["ce"], 0.1 * (kernel**2).sum(), rtol=1e-4)


def test_labels_may_be_probabilities():
    one_hot = np.eye(5, dtype="float32")[Y]
    logs = [fit(kdzoo.Distiller(linear(0), linear(1)), X, labels) for labels in (Y, Y[:, None], one_hot)]
    for other in logs[1:]:
        assert other == pytest.approx(logs[0], rel=1e-5)


def test_teacher_outputs_beside_the_labels_replace_the_teacher():
    student, teacher = linear(0), linear(1)
    live = fit(kdzoo.Distiller(student, teacher))
    given = {"label": Y, "teacher_logits": np.asarray(teacher(X))}
    assert fit(kdzoo.Distiller(student, linear(2)), X, given) == pytest.approx(live, rel=1e-5)


def test_training_changes_the_student_and_not_the_teacher():
    student, teacher = network(), network("wrn10-2", seed=1)
    before_student, before_teacher = numpy_weights(student), numpy_weights(teacher)
    fit(kdzoo.Distiller(student, teacher, at_weight=1000.0), lr=0.1)
    for before, after in zip(before_teacher, numpy_weights(teacher), strict=True):
        np.testing.assert_array_equal(before, after)
    assert all((before != after).any() for before, after in zip(before_student, numpy_weights(student), strict=True))


def test_distillation_reduces_the_kd_term():
    student, teacher = network(), network("wrn10-2", seed=1)
    distiller = kdzoo.Distiller(student, teacher, ce_weight=0.0, kd_weight=1.0)
    distiller.compile(CoupledSGD(0.05))
    kd = distiller.fit(X, Y, batch_size=32, epochs=15, verbose=0).history["kd"]
    assert kd[-1] < kd[0] / 3


@pytest.mark.parametrize("teacher_in_evaluate", [False, True])
def test_evaluate_and_predict_measure_the_student(teacher_in_evaluate, monkeypatch):
    student, teacher = network(), network("wrn10-2", seed=1)
    distiller = kdzoo.Distiller(student, teacher, at_weight=1.0, teacher_in_evaluate=teacher_in_evaluate)
    fit(distiller, lr=0.1)
    before = numpy_weights(student)
    calls = []
    run_teachers = distiller.run_teachers
    monkeypatch.setattr(distiller, "run_teachers", lambda x: calls.append(x) or run_teachers(x))
    logs = distiller.evaluate(X, Y, batch_size=64, verbose=0, return_dict=True)
    predicted = distiller.predict(X, batch_size=64, verbose=0)
    for one, other in zip(before, numpy_weights(student), strict=True):
        np.testing.assert_array_equal(one, other)
    logits = student.predict(X, batch_size=64, verbose=0)
    np.testing.assert_array_equal(predicted, logits)
    ce = np.mean(keras.losses.sparse_categorical_crossentropy(Y, logits, from_logits=True))
    np.testing.assert_allclose([logs["ce"], logs["loss"]], ce, rtol=1e-4)
    assert bool(calls) == teacher_in_evaluate
    teacher_metrics = {"kd", "agreement", "teacher_kl"} if teacher_in_evaluate else set()
    assert logs.keys() == {"loss", "ce", "accuracy"} | teacher_metrics


def test_fit_reports_teacher_metrics_of_training_beside_validation():
    distiller = kdzoo.Distiller(linear(0), linear(1))
    logs = fit(distiller, validation_data=(X, Y), epochs=2)
    assert logs.keys() == {"loss", "ce", "accuracy", "kd", "agreement", "teacher_kl"} | {
        "val_loss",
        "val_ce",
        "val_accuracy",
    }
    assert logs["kd"] > 0


def test_user_s_metrics_see_labels_and_logits():
    distiller = kdzoo.Distiller(linear(0), linear(1), at_weight=1.0)
    metric = keras.metrics.SparseTopKCategoricalAccuracy(2, name="top2")
    distiller.compile(CoupledSGD(0.0, coupled_weight_decay=0.0), metrics=[metric])
    logs = distiller.fit(X, Y, batch_size=64, verbose=0).history
    expected = np.mean([y in row.argsort()[-2:] for y, row in zip(Y, np.asarray(distiller.student(X)), strict=True)])
    np.testing.assert_allclose(logs["top2"], [expected], rtol=1e-6)


def test_saving_saves_the_student(tmp_path):
    student = network()
    distiller = kdzoo.Distiller(student, network("wrn10-2", seed=1))
    distiller.save(tmp_path / "student.keras")
    distiller.save_weights(tmp_path / "student.weights.h5")
    expected = np.asarray(student(X))
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "student.keras")(X), expected)
    other = network(seed=5)
    other.load_weights(tmp_path / "student.weights.h5")
    np.testing.assert_array_equal(other(X), expected)
    distiller.load_weights(tmp_path / "student.weights.h5")


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="exports with TensorFlow")
def test_exporting_exports_the_student(tmp_path):
    import tensorflow as tf

    student = network()
    kdzoo.Distiller(student, network("wrn10-2", seed=1)).export(tmp_path / "student", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "student"))
    np.testing.assert_allclose(served.serve(X), student(X), atol=1e-5)


def test_mixed_precision_trains():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        distiller = kdzoo.Distiller(network(), network("wrn10-2", seed=1), at_weight=1000.0)
    finally:
        keras.config.set_dtype_policy(before)
    logs = fit(distiller, lr=0.1)
    assert np.isfinite(list(logs.values())).all()
    assert {str(weight.dtype) for weight in distiller.student.weights} == {"float32"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: kdzoo.Distiller(network(), network(num_classes=7)), "number of classes: 5 .* Received: 7"),
        (lambda: kdzoo.Distiller(network(), network(input_shape=(16, 16, 3))), r"image shape: \(8, 8, 3\)"),
        (lambda: kdzoo.Distiller(*[network()] * 2), "share no weights .* Received: "),
        (
            lambda: kdzoo.Distiller(student := network(), keras.Model(student.inputs, student.outputs)),
            "share no weights",
        ),
        (lambda: kdzoo.Distiller(network(), network("resnet18"), at_weight=1), "number of stages: 3 .* Received: 4"),
        (lambda: kdzoo.Distiller(network(), network(), temperature=-1), "temperature must be at least 0.001"),
        (lambda: kdzoo.Distiller(network(), network(), temperature="4"), "Received: '4'"),
        (lambda: kdzoo.Distiller(network(), network(), at_weight=float("nan")), "at_weight must be .* Received: nan"),
        (lambda: kdzoo.Distiller(network(), network(), kd_weight=-1), "kd_weight must be at least 0"),
        (lambda: kdzoo.Distiller(network()), "must be 0 without a teacher"),
        (lambda: kdzoo.Distiller(network(), network()).compile("sgd", loss="mse"), "brings its own loss"),
        (lambda: kdzoo.Distiller(network(), network(), at_weight=1, at_mode="x"), "at_mode must be one of"),
    ],
)
def test_mismatched_networks_and_weights_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_examples_without_a_label_count_for_the_teachers_terms_alone():
    student, teacher = linear(0), linear(1)
    logits, teacher_logits = np.asarray(student(X)), np.asarray(teacher(X))
    labelled = np.arange(64) % 4 != 0
    weight = np.where(labelled, 64 / 48, 0).astype("float32")
    labels = np.where(labelled, Y, -1)
    ce = np.mean(keras.losses.sparse_categorical_crossentropy(Y, logits, from_logits=True)[labelled])
    kd = np.mean(losses.distillation(student_logits=logits, teacher_logits=teacher_logits, temperature=3))
    options = {"ce_weight": 0.3, "kd_weight": 0.6, "temperature": 3}
    computed = fit(kdzoo.Distiller(student, teacher, **options), X, {"label": labels, "label_weight": weight})
    given = {"label": labels, "label_weight": weight, "teacher_logits": teacher_logits}
    for logs in (computed, fit(kdzoo.Distiller(student, outputs_given=True, **options), X, given)):
        np.testing.assert_allclose(logs["loss"], 0.3 * ce + 0.6 * kd, rtol=1e-4)
        np.testing.assert_allclose([logs["ce"], logs["kd"]], [ce, kd], rtol=1e-4)
        np.testing.assert_allclose(logs["accuracy"], np.mean((logits.argmax(1) == Y)[labelled]), rtol=1e-6)
        np.testing.assert_allclose(logs["agreement"], np.mean(logits.argmax(1) == teacher_logits.argmax(1)), rtol=1e-6)
