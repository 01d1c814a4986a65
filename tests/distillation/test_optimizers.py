import json

import keras
import numpy as np
import pytest
from keras import ops

from conftest import ROOT
from kdzoo.distillation.optimizers import CoupledSGD, make_optimizer

GOLDEN = json.loads((ROOT / "tests/golden/golden.json").read_text())


def test_steps_equal_pytorch():
    golden = GOLDEN["sgd"]
    variable = keras.Variable(np.array(golden["initial"], "float32"))
    optimiser = CoupledSGD(0.1, coupled_weight_decay=0.05)
    for gradient, lr, weights in zip(golden["gradients"], golden["lr"], golden["weights"], strict=True):
        optimiser.learning_rate = lr
        optimiser.apply([ops.convert_to_tensor(np.array(gradient, "float32"))], [variable])
        np.testing.assert_allclose(ops.convert_to_numpy(variable.value), weights, atol=1e-6)


def test_momentum_without_nesterov_equals_a_count_by_hand():
    """Two steps of PyTorch's SGD: g = gradient + 0.1 w, m = 0.5 m + g, w = w - 0.1 m."""
    variable = keras.Variable(np.array([1.0], "float32"))
    optimiser = make_optimizer(lr=0.1, momentum=0.5, nesterov=False, weight_decay=0.1)
    weight, momentum = 1.0, 0.0
    for gradient in (0.4, -0.2):
        momentum = 0.5 * momentum + gradient + 0.1 * weight
        weight -= 0.1 * momentum
        optimiser.apply([ops.convert_to_tensor(np.array([gradient], "float32"))], [variable])
        np.testing.assert_allclose(ops.convert_to_numpy(variable.value), [weight], atol=1e-7)


def test_a_config_restores_the_optimizer():
    optimiser = CoupledSGD(0.3, momentum=0.5, nesterov=False, coupled_weight_decay=0.1)
    assert CoupledSGD.from_config(optimiser.get_config()).get_config() == optimiser.get_config()


def steps_of(gradients: list[list[float]], **options) -> tuple[list[list[float]], keras.optimizers.Optimizer]:
    """The values of two weights, 1 and -2, after each of these gradients; the first one is the backbone's."""
    variables = [keras.Variable(np.array([value], "float32")) for value in (1.0, -2.0)]
    usual = {"lr": 0.1, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
    backbone = variables[:1] if "backbone_factor" in options else []
    optimiser = make_optimizer(**usual | options, backbone=backbone)
    values = []
    for of_step in gradients:
        optimiser.apply([ops.convert_to_tensor(np.array([one], "float32")) for one in of_step], variables)
        values.append([float(ops.convert_to_numpy(variable.value)[0]) for variable in variables])
    return values, optimiser


GRADIENTS = [[0.3, -0.4], [0.6, 0.8]]


def adamw_by_hand(gradients, weight, lr, decay=0.2):
    m = v = 0.0
    values = []
    for step, gradient in enumerate(gradients, start=1):
        weight -= lr * decay * weight
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        weight -= lr * np.sqrt(1 - 0.999**step) / (1 - 0.9**step) * m / (np.sqrt(v) + 1e-7)
        values.append(weight)
    return values


def lion_by_hand(gradients, weight, lr, decay=0.2):
    m = 0.0
    values = []
    for gradient in gradients:
        weight -= lr * decay * weight
        weight -= lr * np.sign(0.9 * m + 0.1 * gradient)
        m = 0.99 * m + 0.01 * gradient
        values.append(weight)
    return values


@pytest.mark.parametrize("factor", [None, 0.25])
@pytest.mark.parametrize(("name", "by_hand"), [("adamw", adamw_by_hand), ("lion", lion_by_hand)])
def test_adamw_and_lion_equal_a_count_by_hand(name, by_hand, factor):
    """Their weight decay is decoupled, and of the backbone it has the backbone's learning rate."""
    options = {} if factor is None else {"backbone_factor": factor}
    values, optimiser = steps_of(GRADIENTS, optimizer=name, weight_decay=0.2, **options)
    first = by_hand([one for one, _ in GRADIENTS], 1.0, 0.1 * (factor or 1))
    second = by_hand([other for _, other in GRADIENTS], -2.0, 0.1)
    np.testing.assert_allclose(values, np.stack([first, second], axis=1), rtol=1e-5)
    assert all(variable.path.startswith(f"{name}/") for variable in optimiser.variables)  # in checkpoints


def test_the_backbone_of_sgd_has_its_own_learning_rate():
    """g = gradient + 0.1 w, m = 0.5 m + g, w = w - lr m, with lr 0.05 for the first weight and 0.1 for the second."""
    options = {"momentum": 0.5, "weight_decay": 0.1}
    values, _ = steps_of(GRADIENTS, **options, backbone_factor=0.5)
    slow, _ = steps_of(GRADIENTS, **options, lr=0.05)
    usual, _ = steps_of(GRADIENTS, **options)
    np.testing.assert_allclose(values, [[one, other] for (one, _), (_, other) in zip(slow, usual, strict=True)])


def test_the_gradient_of_all_weights_together_is_clipped():
    """Their norms are 0.5 and 1: the second is halved."""
    values, _ = steps_of(GRADIENTS, clip_norm=0.5)
    np.testing.assert_allclose(values, [[1 - 0.03, -2 + 0.04], [1 - 0.03 - 0.03, -2 + 0.04 - 0.04]], rtol=1e-6)


def test_the_moving_average_begins_with_the_first_weights():
    values, optimiser = steps_of(GRADIENTS, ema_momentum=0.75)
    assert values == steps_of(GRADIENTS)[0]
    variables = [keras.Variable(np.zeros(1, "float32")) for _ in range(2)]
    optimiser.finalize_variable_values(variables)
    received = [float(ops.convert_to_numpy(variable.value)[0]) for variable in variables]
    np.testing.assert_allclose(received, 0.75 * np.array(values[0]) + 0.25 * np.array(values[1]), rtol=1e-6)
