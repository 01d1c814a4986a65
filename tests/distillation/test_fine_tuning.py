import keras
import numpy as np
import pytest
from keras import layers

import kdzoo
from kdzoo.distillation import fine_tuning
from kdzoo.runs import weights
from zoo import InputError


def network() -> keras.Model:
    return kdzoo.build("wrn10-1", num_classes=5, input_shape=(8, 8, 3))


def nested() -> keras.Model:
    """A head behind a network with a network of its own."""
    return keras.Sequential(
        [keras.Input((8, 8, 3)), network(), layers.Dense(7, name="top"), layers.Softmax()], name="outer"
    )


def test_the_head_makes_the_logits():
    assert fine_tuning.find_head(network()).name == "logits"
    assert fine_tuning.find_head(nested()).name == "top"
    inputs = keras.Input((4,))
    with pytest.raises(InputError, match=r"must have a layer with weights. Received: empty"):
        fine_tuning.find_head(keras.Model(inputs, layers.ReLU()(inputs), name="empty"))


def test_the_backbone_is_all_but_the_head():
    model = network()
    variables = fine_tuning.backbone_variables(model)
    assert len(variables) == len(model.trainable_variables) - 2
    assert not any("logits" in variable.path for variable in variables)


@pytest.mark.parametrize(
    ("model", "pattern", "frozen"),
    [
        (network, "^stem", {"stem_conv"}),
        (network, "stage3|final", {"stage3_block1_conv1", "stage3_block1_shortcut", "final_bn"}),
        (network, "logits$", {"logits"}),
        (nested, "wrn10-1/stem", {"stem_conv"}),
        (nested, "^wrn10-1$", {"stem_conv", "final_bn", "logits"}),
    ],
)
def test_a_pattern_freezes_layers_by_their_paths(model, pattern, frozen):
    model = model()
    before = len(model.trainable_variables)
    count = weights.count_parameters(model)
    fine_tuning.freeze(model, pattern)
    found = {layer.name for _, layer in fine_tuning.list_layers(model) if layer.weights and not layer.trainable}
    assert frozen <= found
    assert "top" not in found
    assert 0 < len(model.trainable_variables) < before
    after = [variable.path for variable in model.trainable_variables]
    assert weights.count_parameters(model) == count  # the record's number of parameters counts all
    assert [variable.path for variable in model.trainable_variables] == after


def test_batch_norm_of_frozen_layers_normalises_by_its_moving_statistics():
    model = network()
    fine_tuning.freeze(model, "_bn$")
    x = np.random.default_rng(0).normal(size=(16, 8, 8, 3)).astype("float32")
    before = [np.array(variable) for variable in model.non_trainable_variables]
    np.testing.assert_allclose(model(x, training=True), model(x, training=False), atol=1e-5)
    for one, other in zip(before, model.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(one, np.array(other))


def test_a_pattern_that_freezes_nothing_or_all_is_refused():
    with pytest.raises(InputError, match=r"^freeze must match a layer of wrn10-1: stem_conv, .*\. Received: relu$"):
        fine_tuning.freeze(network(), "relu")
    with pytest.raises(InputError, match=r"^freeze must leave a layer of wrn10-1 to train.* Received: \.$"):
        fine_tuning.freeze(network(), ".")
