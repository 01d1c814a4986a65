import keras
import numpy as np
import pytest

from kdzoo.models import networks, specs
from zoo import InputError

# The smallest member of each family of keras.applications, and the smallest images that it takes.
SMALLEST = {
    "MobileNetV3Small": 32,
    "MobileNet": 32,
    "MobileNetV2": 32,
    "MobileNetV3Large": 32,
    "EfficientNetB0": 32,
    "EfficientNetV2B0": 32,
    "ConvNeXtTiny": 32,
    "DenseNet121": 32,
    "InceptionV3": 75,
    "InceptionResNetV2": 75,
    "NASNetMobile": 32,
    "ResNet50": 32,
    "ResNet50V2": 32,
    "VGG16": 32,
    "VGG19": 32,
    "Xception": 71,
}
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)


def build(text, arguments="", *, classes=10, shape=(32, 32, 3), **options):
    return networks.build(specs.parse(text, arguments), num_classes=classes, input_shape=shape, **options)


def small(num_classes, input_shape, width=4, activation=None):
    inputs = keras.Input(input_shape)
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv2D(width, 3, strides=2, name="first")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(num_classes, activation=activation, name="out")(x), name="small")


def not_a_model(num_classes, input_shape):
    return "no model"


def fails(num_classes, input_shape):
    raise RuntimeError("no\nmemory")


def of_features(num_classes, input_shape):
    return small(num_classes + 1, input_shape)


def test_the_families_of_keras_are_all_listed():
    modules = {getattr(keras.applications, name).__module__ for name in networks.list_keras()}
    assert {getattr(keras.applications, name).__module__ for name in SMALLEST} == modules


def test_a_network_of_keras_takes_pixels_and_makes_logits():
    network = build("keras:MobileNetV2?alpha=0.35")
    assert network.replaced_head is None
    body = keras.applications.MobileNetV2((32, 32, 3), 0.35, weights=None, classes=10, classifier_activation=None)
    body.set_weights(network.model.get_weights())
    expected = body.predict_on_batch(keras.applications.mobilenet_v2.preprocess_input(PIXELS.copy()))
    np.testing.assert_allclose(network.model.predict_on_batch(PIXELS), expected, atol=1e-6)


def test_weights_of_a_file_get_a_new_head(tmp_path):
    body = keras.applications.MobileNetV2((32, 32, 3), 0.35, weights=None, include_top=False, pooling="avg")
    body.save_weights(tmp_path / "body.weights.h5")
    network = build(f"keras:MobileNetV2?alpha=0.35&weights={tmp_path}/body.weights.h5", classes=7)
    assert network.replaced_head == 1000
    assert network.model.output_shape == (None, 7)
    for ours, theirs in zip(network.model.get_weights()[:-2], body.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    whole = keras.applications.MobileNetV2((32, 32, 3), 0.35, weights=None)
    whole.save_weights(tmp_path / "whole.weights.h5")
    network = build(f"keras:MobileNetV2?alpha=0.35&weights={tmp_path}/whole.weights.h5", classes=7)
    for ours, theirs in zip(network.model.get_weights()[:-2], whole.get_weights()[:-2], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    own = build(f"keras:MobileNetV2?alpha=0.35&weights={tmp_path}/whole.weights.h5", classes=1000)
    assert own.replaced_head is None
    for ours, theirs in zip(own.model.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    again = build(f"keras:MobileNetV2?alpha=0.35&weights={tmp_path}/gone.h5", classes=7, pretrained=False)
    assert [v.path for v in again.model.variables] == [v.path for v in network.model.variables]


def test_a_file_holds_layers_and_weights(tmp_path, caplog):
    model = small(4, (32, 32, 3), activation="softmax")
    model.save(tmp_path / "small.keras")
    loaded = build(str(tmp_path / "small.keras"), classes=4)
    assert (loaded.replaced_head, "without the softmax" in caplog.text) == (None, True)
    probabilities = keras.ops.softmax(loaded.model.predict_on_batch(PIXELS))
    np.testing.assert_allclose(probabilities, model.predict_on_batch(PIXELS), atol=1e-6)
    other = build(str(tmp_path / "small.keras"), classes=5)
    assert (other.replaced_head, other.model.output_shape) == (4, (None, 5))
    np.testing.assert_array_equal(other.model.get_layer("first").kernel, model.get_layer("first").kernel)
    again = networks.from_architecture(other.model.to_json())
    assert [v.path for v in again.variables] == [v.path for v in other.model.variables]


def test_a_function_gets_classes_shape_and_arguments():
    network = build(f"{__name__}:small?width=6", classes=3)
    assert network.model.get_layer("first").filters == 6
    assert network.model.output_shape == (None, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "keras:MobileNetV4",
            "keras:NAME must be a function of keras.applications, for example .*Received: MobileNetV4",
        ),
        ("keras:InceptionV3", "A model must be one that can be built. Received: keras InceptionV3: .*output size"),
        ("keras:MobileNetV2?depth=2", "keras MobileNetV2: .*depth"),
        ("keras:MobileNetV2?weights=none.h5", "weights must be a file of weights of MobileNetV2. Received: none.h5"),
        ("none.keras", "A model must be one that can be built. Received: file none.keras: File not found"),
        ("no_such_module:build", "package.module:function must be one that can be imported.*no_such_module"),
        (f"{__name__}:no_such_function", "must be one that can be imported.*no_such_function"),
        (f"{__name__}:not_a_model", "must return a keras.Model. Received: str"),
        (f"{__name__}:fails", "can be built. Received: function .*fails: no memory"),
        (f"{__name__}:of_features", r"A model must make logits \[n, 10\].*Received: \(None, 11\)"),
        ("kerashub:no_such_preset_anywhere", "kerashub"),
    ],
)
def test_what_cannot_be_built(text, message):
    with pytest.raises(InputError, match=message) as error:
        build(text)
    assert "\n" not in str(error.value)


def test_files_with_code_are_refused(tmp_path):
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Lambda(lambda x: x / 255)(inputs))
    keras.Model(inputs, keras.layers.Dense(10)(x)).save(tmp_path / "lambda.keras")
    with pytest.raises(InputError, match=r"lambda.keras: .*[Ll]ambda") as error:
        build(str(tmp_path / "lambda.keras"))
    assert "\n" not in str(error.value)


def test_weights_are_copied_but_for_a_head_of_other_classes():
    source, same, other = small(4, (32, 32, 3)), small(4, (32, 32, 3)), small(3, (32, 32, 3))
    networks.copy_weights(source, same, spec="runs/a")
    for ours, theirs in zip(same.get_weights(), source.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    before = other.get_layer("out").get_weights()
    networks.copy_weights(source, other, spec="runs/a")
    np.testing.assert_array_equal(other.get_layer("first").kernel, source.get_layer("first").kernel)
    np.testing.assert_array_equal(other.get_layer("out").kernel, before[0])
    with pytest.raises(InputError, match=r"init must be of the model's architecture, small, .*runs/a, with another"):
        networks.copy_weights(source, small(4, (32, 32, 3), width=5), spec="runs/a")


@pytest.mark.slow
def test_a_preset_of_kerashub(tmp_path):
    keras_hub = pytest.importorskip("keras_hub", reason="needs the extra hub")
    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
        image_shape=(32, 32, 3),
    )
    converter = keras_hub.layers.ResNetImageConverter(image_size=(32, 32), scale=1 / 127.5, offset=-1.0)
    preprocessor = keras_hub.models.ResNetImageClassifierPreprocessor(image_converter=converter)
    classifier = keras_hub.models.ResNetImageClassifier(backbone=backbone, num_classes=5, preprocessor=preprocessor)
    classifier.save_to_preset(str(tmp_path / "preset"))
    own, other = (build(f"kerashub:{tmp_path}/preset", classes=classes) for classes in (5, 7))
    assert (own.replaced_head, other.replaced_head, other.model.output_shape) == (None, 5, (None, 7))
    expected = keras.ops.convert_to_numpy(classifier(PIXELS / 127.5 - 1))
    np.testing.assert_allclose(own.model.predict_on_batch(PIXELS), expected, rtol=1e-4, atol=1e-4)
