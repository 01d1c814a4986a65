"""Costs of networks: published figures, and graphs worked by hand."""

import logging
import math

import keras
import pytest
from keras import layers, ops

from kdzoo.distillation.dtype import dtype_policy
from kdzoo.models import cost, count_multiply_adds, names, peak_activation_bytes
from zoo import InputError

CONV = {"padding": "same", "use_bias": False}


def zoo(name: str, classes: int = 1000, size: int = 224) -> keras.Model:
    return names.build(name, num_classes=classes, input_shape=(size, size, 3))


def application(name: str) -> keras.Model:
    return getattr(keras.applications, name)(weights=None)


@pytest.mark.parametrize(
    ("build", "name", "giga"),
    [
        (zoo, "resnet50", 4.09),  # v1.5, as in PyTorch's documentation
        (application, "MobileNetV2", 0.30),  # its paper
        pytest.param(zoo, "resnet18", 1.81, marks=pytest.mark.slow),
        pytest.param(zoo, "resnet34", 3.66, marks=pytest.mark.slow),
        pytest.param(zoo, "resnet101", 7.80, marks=pytest.mark.slow),
        pytest.param(application, "VGG16", 15.47, marks=pytest.mark.slow),
        pytest.param(application, "DenseNet121", 2.83, marks=pytest.mark.slow),
        pytest.param(application, "MobileNet", 0.57, marks=pytest.mark.slow),
        pytest.param(application, "EfficientNetB0", 0.39, marks=pytest.mark.slow),
        pytest.param(application, "ConvNeXtTiny", 4.46, marks=pytest.mark.slow),
    ],
)
def test_published_figures(build, name, giga, caplog):
    assert round(count_multiply_adds(build(name)) / 1e9, 2) == pytest.approx(giga, abs=0.011)
    assert not caplog.records


def residual(x):
    """A sum of its input and a convolution of it: 4 * 4 positions times 3 * 3 * 2 * 2 weights."""
    return layers.Add()([x, layers.Conv2D(2, 3, **CONV)(x)])


def branches(x):
    """Two convolutions side by side, 16 * 2 * 3 and 16 * 9 * 2 * 1, then a classifier, 4 * 10."""
    x = layers.Concatenate()([layers.Conv2D(3, 1, **CONV)(x), layers.Conv2D(1, 3, **CONV)(x)])
    return layers.Dense(10)(layers.GlobalAveragePooling2D()(x))


@pytest.mark.parametrize(
    ("build", "multiply_adds", "peak"),
    [
        # 128 bytes each: input, convolution and sum are live together.
        (residual, 576, 3 * 128),
        # The branches have 192 and 64 bytes, their concatenation 256: live together, after the input.
        (branches, 96 + 288 + 40, 192 + 64 + 256),
        # The input is live until the sum.
        (lambda x: layers.Add()([x, layers.ReLU()(layers.Conv2D(2, 3, **CONV)(x))]), 576, 3 * 128),
        # A large tensor in between: 16 * 32 values beside the input, then beside the result.
        (lambda x: layers.Conv2D(2, 1)(layers.Conv2D(32, 1)(x)), 16 * 2 * 32 * 2, 4 * 16 * (32 + 2)),
        # A layer whose output nothing reads but the model.
        (lambda x: layers.Flatten()(x), 0, 2 * 128),
    ],
)
def test_graphs_worked_by_hand(build, multiply_adds, peak):
    x = keras.Input((4, 4, 2))
    model = keras.Model(x, build(x))
    assert (count_multiply_adds(model), peak_activation_bytes(model)) == (multiply_adds, peak)
    assert cost.describe(model) == {"multiply_adds": multiply_adds, "peak_activation_bytes": peak}


@pytest.mark.parametrize(
    ("layer", "shape", "multiply_adds"),
    [
        (layers.Conv2D(6, (3, 5), groups=2), (8, 9, 4), 6 * 5 * (3 * 5 * 2) * 6),
        (layers.Conv2D(6, 3, strides=2, padding="same"), (9, 9, 4), 25 * 9 * 4 * 6),
        (layers.Conv1D(6, 3), (8, 4), 6 * 3 * 4 * 6),
        (layers.DepthwiseConv2D(3, depth_multiplier=2), (8, 8, 4), 36 * 9 * 8),
        (layers.SeparableConv2D(5, 3, depth_multiplier=2), (8, 8, 4), 36 * (9 * 8 + 8 * 5)),
        (layers.Conv2DTranspose(5, 3, strides=2), (4, 4, 3), 16 * 9 * 3 * 5),
        (layers.Dense(5), (7, 3), 7 * 3 * 5),
        (layers.EinsumDense("...x,xy->...y", 5), (7, 3), 7 * 3 * 5),
        (layers.EinsumDense("abc,cde->abde", (None, 2, 5)), (7, 3), 7 * 3 * 2 * 5),
        # Four projections of 7 tokens by 6 * 6 weights; two heads of 3 channels, 7 * 7 pairs, two products.
        (lambda x: layers.MultiHeadAttention(2, 3)(x, x), (7, 6), 4 * 7 * 36 + 2 * 2 * 3 * 49),
        (lambda x: layers.MultiHeadAttention(2, 3)(value=x, query=x[:, :2]), (7, 6), (2 + 7) * 72 + 2 * 2 * 3 * 14),
        # Queries and output of 4 heads, keys and values of 2.
        (lambda x: layers.GroupQueryAttention(3, 4, 2)(x, x), (7, 6), 2 * 7 * 6 * (12 + 6) + 2 * 4 * 3 * 49),
        (lambda x: layers.Attention()([x, x]), (7, 6), 49 * 12),
        (lambda x: layers.BatchNormalization()(layers.LayerNormalization()(x)), (7, 6), 0),
        (lambda x: layers.PReLU()(x) + 1.0, (7, 6), 0),
        (layers.TimeDistributed(layers.Dense(5)), (7, 3), 7 * 3 * 5),
        (lambda x: layers.Dense(2)(ops.reshape(x, (-1, 3))), (4, 3), 4 * 3 * 2),
    ],
)
def test_layers(layer, shape, multiply_adds, caplog):
    x = keras.Input(shape)
    assert count_multiply_adds(keras.Model(x, layer(x))) == multiply_adds
    assert not caplog.records


def test_a_layer_that_is_used_twice_counts_twice():
    x, layer = keras.Input((5,)), layers.Dense(5)
    assert count_multiply_adds(keras.Model(x, layer(layer(x)))) == 50


def test_models_within_models_are_opened():
    x = keras.Input((4, 4, 2))
    one, two = keras.Input((4, 4, 2)), keras.Input((None, None, 2))
    inner, free = keras.Model(one, residual(one)), keras.Model(two, residual(two))
    chain = keras.Sequential([layers.Conv2D(2, 3, **CONV), inner])
    nested = keras.Model(x, branches(chain(free(inner(x)))))
    flat = keras.Model(x, branches(residual(layers.Conv2D(2, 3, **CONV)(residual(residual(x))))))
    assert count_multiply_adds(nested) == 3 * 576 + 576 + 424
    assert cost.describe(nested) == cost.describe(flat)
    assert count_multiply_adds(keras.Sequential([keras.Input((4, 4, 2)), inner])) == 576


class Block(layers.Layer):
    """A layer that holds others."""

    def __init__(self, **options):
        super().__init__(**options)
        self.dense, self.attention = layers.Dense(6), layers.MultiHeadAttention(2, 3)
        self.scale = self.add_weight(shape=(6,))

    def build(self, shape):
        self.dense.build(shape)
        self.attention.build(shape, shape)

    def call(self, inputs, training=None):
        # An operation of the backend, which does not mix precisions as Keras's do.
        return self.dense(self.dense(inputs)) + self.scale.value * self.attention(inputs, inputs, training=training)


class Mixing(layers.Layer):
    """A layer with a weight of its own, of which nothing is known."""

    def build(self, shape):
        self.matrix = self.add_weight(shape=(shape[-1], shape[-1]))
        self.scale = self.add_weight(shape=(1, 1, shape[-1]))

    def call(self, inputs):
        return self.scale * ops.matmul(inputs, self.matrix)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_layers_within_a_layer_count(policy):
    x = keras.Input((7, 6))
    with dtype_policy(policy):
        model = keras.Model(x, Block()(layers.Activation("relu")(x)))
    before = [vars(layer).get("call") for layer in model._flatten_layers()]
    assert count_multiply_adds(model) == 2 * 7 * 36 + 4 * 7 * 36 + 2 * 2 * 3 * 49
    assert [vars(layer).get("call") for layer in model._flatten_layers()] == before == [None] * len(before)


def test_layers_that_are_not_known_are_logged_once(caplog):
    x = keras.Input((7, 6))
    model = keras.Model(x, layers.Dense(2)(Mixing(name="mixing_of_tokens")(x)))
    with caplog.at_level(logging.WARNING):
        assert [count_multiply_adds(model) for _ in range(2)] == [7 * 6 * 2] * 2
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.endswith("Mixing mixing_of_tokens")


def test_models_without_a_known_graph_or_size_have_no_cost():
    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    any_size = keras.Input((None, None, 3))
    for model, message in (
        (Own(), r"must be functional to have a cost, for example .* Received: <Own"),
        (keras.Model(any_size, layers.Conv2D(2, 3)(any_size)), r"known size.*Received: \[\(None, None, None, 3\)\]"),
    ):
        with pytest.raises(InputError, match=message):
            count_multiply_adds(model)
        assert cost.describe(model) == {}


def test_the_costs_of_a_zoo_network_follow_from_its_layers():
    """At least the convolutions and the classifier, by their own shapes."""
    model = zoo("wrn10-1", classes=10, size=32)
    expected = sum(
        math.prod(layer.output.shape[1:3]) * math.prod(layer.kernel.shape)
        for layer in model.layers
        if isinstance(layer, layers.Conv2D)
    )
    assert count_multiply_adds(model) == expected + 64 * 10
    # The first stage has 16 channels of 32 * 32: a block's input, its convolution and BatchNorm are live together.
    assert peak_activation_bytes(model) == 3 * 4 * 16 * 32 * 32
