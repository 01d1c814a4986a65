"""Networks that are no zoo models for the attacks of tests/attacks.md, whole and damaged."""

import pathlib

from attack_states import Shared, copy, state

NETS = """
import keras


def _classifier(num_classes, input_shape, inputs=1):
    images = [keras.Input(input_shape) for _ in range(inputs)]
    x = keras.layers.Conv2D(4, 3, name="conv")(images[0])
    return keras.Model(images, keras.layers.Dense(num_classes)(keras.layers.GlobalAveragePooling2D()(x)))


build = _classifier


def more_classes(num_classes, input_shape):
    return _classifier(num_classes + 1, input_shape)


def two_inputs(num_classes, input_shape):
    return _classifier(num_classes, input_shape, inputs=2)


def no_model(num_classes, input_shape):
    return "a network"


def raises(num_classes, input_shape):
    raise RuntimeError("no\\nnetwork")


def exits(num_classes, input_shape):
    raise SystemExit("goodbye")


def no_weights(num_classes, input_shape):
    images = keras.Input(input_shape)
    return keras.Model(images, keras.layers.Flatten()(keras.layers.AveragePooling2D(8)(images))[:, :num_classes])


def width(num_classes, input_shape, width):
    return _classifier(num_classes, input_shape)
"""


@state
def nets(_: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """A module of the user's in the current directory."""
    path = tmp / "attacked_nets.py"
    path.write_text(NETS)
    return path


@state
def keras_lambda(_: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """A file that holds Python code."""
    import keras

    images = keras.Input((16, 16, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Lambda(lambda x: x / 255)(images))
    return _save(keras.Model(images, keras.layers.Dense(4)(x)), tmp / "lambda.keras")


@state
def keras_features(_: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """A network whose last layer makes no logits."""
    import keras

    images = keras.Input((16, 16, 3))
    features = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3)(images))
    return _save(keras.Model(images, features), tmp / "features.keras")


@state
def keras_net(_: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """A classifier of 16x16 images."""
    import keras

    images = keras.Input((16, 16, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(images))
    return _save(keras.Model(images, keras.layers.Dense(4)(x)), tmp / "net.keras")


@state
def keras_truncated(shared: Shared, tmp: pathlib.Path) -> pathlib.Path:
    path = pathlib.Path(keras_net(shared, tmp))
    path.write_bytes(path.read_bytes()[:-200])
    return path


@state
def run_of_a_function(shared: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """A run whose network's module is gone: its record names a function that cannot be imported."""
    import json

    run = copy(shared.run, tmp / "run_of_a_function")
    record = json.loads((run / "record.json").read_text())
    record["name"], record["config"]["model"] = "build_1-1", "no_such_module:build"
    (run / "record.json").write_text(json.dumps(record))
    return run


def _save(model, path: pathlib.Path) -> pathlib.Path:
    model.save(path)
    return path
