import json
import re
import zlib

import keras
import numpy as np
import pytest

import kdzoo
from conftest import ROOT
from kdzoo.paper import printed
from zoo import InputError, list_stages
from zoo.layers import BatchNormalization

GOLDEN = json.loads((ROOT / "tests/golden/golden.json").read_text())["networks"]

# Architecture -> trainable parameters with 10 classes on 32x32x3; the ResNets' with 1000 classes on 224x224x3.
PARAMETERS = {
    "wrn16-1": 175_066,
    "wrn16-2": 691_674,
    "wrn16-3": 1_549_530,
    "wrn16-4": 2_748_890,
    "wrn16-6": 6_172_122,
    "wrn16-8": 10_961_370,
    "wrn16-11": 20_706_522,
    "wrn28-1": 369_498,
    "wrn28-2": 1_467_610,
    "wrn28-3": 3_294_042,
    "wrn28-4": 5_849_050,
    "wrn28-6": 13_144_794,
    "wrn28-8": 23_354_842,
    "wrn40-1": 563_930,
    "wrn52-1": 758_362,
    "wrn64-1": 952_794,
    "wrn76-1": 1_147_226,
    "wrn88-1": 1_341_658,
    "wrn100-1": 1_536_090,
    "wrn154-1": 2_411_034,
    "wrn250-1": 3_966_490,
    "dn40-12": 176_122,
    "dn40-24": 690_346,
    "dn40-48": 2_733_130,
    "dn100-12": 769_162,
    "dn100-24": 3_020_506,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet152": 60_192_808,
}


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draws the values that `tests/golden/make_golden.py` draws for a weight or the image of this name."""
    numbers = np.random.RandomState(zlib.crc32(name.encode())).normal(size=shape)
    kind = name.split("/")[-1]
    if kind == "image":
        return numbers
    if kind == "kernel" and len(shape) == 4:
        return numbers * (2 / np.prod(shape[:3])) ** 0.5
    return {"gamma": 1 + numbers * 0.1, "moving_variance": 1 + abs(numbers * 0.1)}.get(kind, numbers * 0.1)


def test_every_architecture_of_the_tables_has_a_row():
    assert {name for table in printed.TABLES for name in printed.architectures(table)} == PARAMETERS.keys()


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name):
    from kdzoo.runs.weights import count_parameters

    sizes = {"num_classes": 1000, "input_shape": (224, 224, 3)} if name.startswith("resnet") else {}
    model = kdzoo.build(name, **sizes)
    assert count_parameters(model) == PARAMETERS[name]
    assert model.name == name
    assert model.output_shape == (None, sizes.get("num_classes", 10))


@pytest.mark.parametrize("name", GOLDEN)
def test_logits_equal_pytorch(name):
    size = 64 if name == "resnet18" else 32  # the ResNet with its ImageNet stem
    model = kdzoo.build(name, input_shape=(size, size, 3))
    for weight in model.weights:
        weight.assign(draw(weight.path, weight.shape))
    logits = model.predict(draw("image", (2, size, size, 3)), verbose=0)
    np.testing.assert_allclose(logits, GOLDEN[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "input_shape", "stages"),
    [
        ("wrn16-2", (32, 32, 3), [(32, 32, 32), (16, 16, 64), (8, 8, 128)]),
        ("dn40-12", (32, 32, 3), [(32, 32, 96), (16, 16, 120), (8, 8, 132)]),
        ("resnet18", (32, 32, 3), [(32, 32, 64), (16, 16, 128), (8, 8, 256), (4, 4, 512)]),
        ("resnet50", (224, 224, 3), [(56, 56, 256), (28, 28, 512), (14, 14, 1024), (7, 7, 2048)]),
    ],
)
def test_stages(name, input_shape, stages):
    model = kdzoo.build(name, input_shape=input_shape)
    assert [model.get_layer(stage).output.shape[1:] for stage in list_stages(model)] == stages


@pytest.mark.parametrize("name", ["wrn15-1", "wrn4-1", "dn41-12", "resnet20", "wrn16-2_20-65"])
def test_invalid_architectures_are_refused(name):
    with pytest.raises(InputError, match="Received: "):
        kdzoo.build(name)


@pytest.mark.parametrize(
    "options",
    [
        *({"num_classes": value} for value in (0, -1, 2.5, True, "10", None)),
        *({"input_shape": value} for value in ((32, 32), (32, 0, 3), (32, 32, 3.0), (None, None, 3), 32, "333")),
    ],
)
def test_invalid_sizes_are_refused(options):
    ((name, value),) = options.items()
    with pytest.raises(InputError, match=f"{name} must be .* Received: {re.escape(repr(value))}"):
        kdzoo.build("wrn10-1", **options)


def test_stage_outputs_come_before_the_next_batch_norm():
    for name in ("wrn16-1", "dn40-12"):
        model = kdzoo.build(name)
        for stage in list_stages(model):
            consumers = [node.operation for node in model.get_layer(stage)._outbound_nodes]
            assert any(isinstance(layer, keras.layers.BatchNormalization) for layer in consumers)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_fused_batch_norm_equals_keras_batch_norm(policy):
    x = np.random.default_rng(0).normal(3, 2, (16, 8, 8, 4)).astype("float32")
    options = {"momentum": 0.9, "epsilon": 1e-5, "dtype": policy}
    tolerance = 1e-5 if policy == "float32" else 2e-2
    fused, composed = BatchNormalization(**options), keras.layers.BatchNormalization(**options)
    for training in (True, True, False):
        outputs = [np.asarray(keras.ops.cast(layer(x, training=training), "float32")) for layer in (fused, composed)]
        np.testing.assert_allclose(*outputs, atol=tolerance, rtol=tolerance)
    for one, other in zip(fused.weights, composed.weights, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-5 if policy == "float32" else 5e-3)


@pytest.mark.parametrize("policy", ["float64", "bfloat16"])
def test_networks_build_and_run_in_other_precisions(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = kdzoo.build("wrn10-1", input_shape=(8, 8, 3))
    finally:
        keras.config.set_dtype_policy(before)
    logits = model(np.ones((2, 8, 8, 3)), training=True)
    assert keras.backend.standardize_dtype(logits.dtype) == policy


def test_logits_stay_in_float32_under_a_mixed_policy():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = kdzoo.build("wrn10-1")
    finally:
        keras.config.set_dtype_policy(before)
    assert model.get_layer("stage1").compute_dtype == "bfloat16"
    assert model.output.dtype == "float32"


def test_strided_convolution_is_padded_equally_on_all_sides():
    from zoo.layers import conv

    image = np.zeros((1, 4, 4, 1), "float32")
    image[0, 0, 0, 0] = 1
    inputs = keras.Input((4, 4, 1))
    model = keras.Model(inputs, conv(inputs, 1, 3, stride=2, name="conv"))
    kernel = np.zeros((3, 3, 1, 1), "float32")
    kernel[1, 1] = 1  # the pixel under the centre: with padding 1 that of output (0, 0) is pixel (0, 0)
    model.set_weights([kernel])
    np.testing.assert_array_equal(np.asarray(model(image))[0, :, :, 0], [[1, 0], [0, 0]])


def test_a_saved_network_loads_again(tmp_path):
    model = kdzoo.build("wrn10-1")
    model.save(tmp_path / "model.keras")
    image = np.random.default_rng(0).normal(size=(2, 32, 32, 3))
    np.testing.assert_array_equal(model(image), keras.models.load_model(tmp_path / "model.keras")(image))


def test_a_seed_gives_the_same_network_on_every_backend():
    keras.utils.set_random_seed(3)
    model = kdzoo.build("wrn10-1")
    kernels = [np.asarray(weight) for weight in model.weights if weight.name == "kernel"]
    # From Python's and NumPy's frozen generators, on every backend.
    np.testing.assert_allclose(kernels[0].ravel()[:3], [-0.105635449, -0.083025135, 0.259070367], rtol=1e-6)
    for kernel in kernels:
        np.testing.assert_allclose(kernel.std(), (2 / np.prod(kernel.shape[:-1])) ** 0.5, rtol=0.1)
    assert len({kernel.ravel()[0] for kernel in kernels}) == len(kernels)
