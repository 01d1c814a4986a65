import json

import keras
import numpy as np
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
