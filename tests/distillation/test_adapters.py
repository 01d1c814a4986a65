import keras
import numpy as np
import pytest

from kdzoo.distillation import adapters
from kdzoo.distillation.dtype import dtype_policy
from zoo.layers import TorchUniform


@pytest.mark.parametrize(("initializer", "bound"), [({}, 1 / 6), ({"gain": 3.0}, 3 / 6), ({"fan_in": 4}, 1 / 2)])
def test_weights_fill_the_range_that_the_fan_in_gives(initializer, bound):
    values = np.asarray(TorchUniform(**initializer, seed=0)((3, 3, 4, 500)))
    assert bound * 0.99 < np.abs(values).max() <= bound
    np.testing.assert_allclose(values.std(), bound / 3**0.5, rtol=0.02)


def test_a_seed_gives_the_same_weights_and_a_copy_too():
    initializer = TorchUniform(gain=2.0, seed=7)
    copy = keras.initializers.deserialize(keras.initializers.serialize(initializer))
    np.testing.assert_array_equal(initializer((4, 5)), copy((4, 5)))


def test_biases_are_drawn_by_the_inputs_of_their_layer():
    inputs = adapters.features((4, 4, 25))
    model = keras.Model(
        inputs, adapters.dense(adapters.conv(inputs, 400, 2, bias=True, name="conv"), 900, name="dense")
    )
    for name, bound in (("conv", 1 / 10), ("dense", 1 / 20)):
        bias = np.abs(model.get_layer(name).bias)
        assert 0.95 * bound < bias.max() <= bound


def test_an_adapter_takes_features_of_the_policys_type():
    with dtype_policy("mixed_bfloat16"):
        assert adapters.features((4, 4, 2)).dtype == "bfloat16"
