import json

import keras
import numpy as np
from keras import ops

from conftest import ROOT
from kdzoo.distillation.optimizers import CoupledSGD

GOLDEN = json.loads((ROOT / "tests/golden/golden.json").read_text())


def test_steps_equal_pytorch():
    golden = GOLDEN["sgd"]
    variable = keras.Variable(np.array(golden["initial"], "float32"))
    optimiser = CoupledSGD(0.1, coupled_weight_decay=0.05)
    for gradient, lr, weights in zip(golden["gradients"], golden["lr"], golden["weights"], strict=True):
        optimiser.learning_rate = lr
        optimiser.apply([ops.convert_to_tensor(np.array(gradient, "float32"))], [variable])
        np.testing.assert_allclose(ops.convert_to_numpy(variable.value), weights, atol=1e-6)


def test_a_config_restores_the_optimizer():
    optimiser = CoupledSGD(0.3, momentum=0.5, nesterov=False, coupled_weight_decay=0.1)
    assert CoupledSGD.from_config(optimiser.get_config()).get_config() == optimiser.get_config()
