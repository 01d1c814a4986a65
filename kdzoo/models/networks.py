"""Networks built from their specs: from images to logits, standardisation included where it is the network's own."""

import contextlib
import dataclasses
import difflib
import functools
import importlib
import inspect
import logging
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras.src.backend.common import global_state

from kdzoo.distillation.fine_tuning import find_head
from kdzoo.models import names
from kdzoo.models.specs import FILE, HUB, KERAS, ZOO, Spec
from zoo import InputError
from zoo.layers import HeNormal

_log = logging.getLogger(__name__)

Shape = tuple[int, int, int]
_IMAGENET_CLASSES = 1000  # of the weights of `keras.applications`


@dataclasses.dataclass(frozen=True)
class Network:
    """A network and what was done to it.

    Attributes:
        model: from images [n, h, w, c] to logits [n, classes]: a zoo model from standardised images, any other from
            pixels, 0 to 255.
        replaced_head: number of classes of the head that was replaced; None if the head is the network's own.
    """

    model: keras.Model
    replaced_head: int | None = None


def build(spec: Spec, *, num_classes: int, input_shape: Shape, pretrained: bool = True) -> Network:
    """Builds a network.

    Args:
        spec: of the model.
        num_classes: number of logits. A pretrained head of other classes is replaced by a new one.
        input_shape: (height, width, channels) of the images.
        pretrained: whether it begins with the weights that its spec names. If not, it has the same layers with new
            weights, and nothing is downloaded.

    Raises:
        InputError: if there is no such network, or it cannot have these classes or this shape.
    """
    if spec.kind == ZOO:
        return Network(names.build(spec.target, num_classes=num_classes, input_shape=input_shape))
    with _counting_names_anew():
        if spec.kind == KERAS:
            network = _of_keras(spec, num_classes, input_shape, pretrained)
        elif spec.kind == HUB:
            network = _of_keras_hub(spec, num_classes, input_shape, pretrained)
        elif spec.kind == FILE:
            network = _of_file(spec, num_classes)
        else:
            network = _of_function(spec, num_classes, input_shape)
    _check(network.model, spec, num_classes=num_classes, input_shape=input_shape)
    return network


@contextlib.contextmanager
def _counting_names_anew() -> Iterator[None]:
    """Within it Keras numbers the names that it makes up (conv2d_3) from the start.

    Files of weights hold the names, and so a run's digest of them.
    """
    key = "object_name_uids"
    before = global_state.get_global_attribute(key)
    global_state.set_global_attribute(key, None)
    try:
        yield
    finally:
        global_state.set_global_attribute(key, before)


def from_architecture(architecture: str) -> keras.Model:
    """Builds the network that a model's JSON describes (`keras.Model.to_json`), in safe mode.

    Raises:
        InputError: if it describes none.
    """
    try:
        return keras.models.model_from_json(architecture)
    except (KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"A record's network must be one that Keras can build. Received: {reason}") from None


def copy_weights(source: keras.Model, target: keras.Model, *, spec: str) -> None:
    """Copies the weights of a network to another of the same architecture; a head of other classes stays new.

    Args:
        source: whose weights are copied.
        target: to which.
        spec: names the source, for messages.

    Raises:
        InputError: if other weights than the head's differ in their names or shapes.
    """
    new_head = source.output_shape[-1] != target.output_shape[-1]
    left_out = {id(variable) for variable in find_head(target).weights} if new_head else set()
    # In order: names that Keras makes up depend on what was built before.
    pairs = list(zip(source.variables, target.variables, strict=False))
    different = [ours.path for theirs, ours in pairs if id(ours) not in left_out and theirs.shape != ours.shape]
    if different or len(source.variables) != len(target.variables):
        raise InputError(
            f"init must be of the model's architecture, {target.name}, but for its head."
            f" Received: {spec}, with another {different[0] if different else 'number of weights'}"
        )
    for theirs, ours in pairs:
        if id(ours) not in left_out:
            ours.assign(theirs.value)
    if new_head:
        _log.warning(
            "%s: a new head of %d classes replaces its own, of %d",
            spec,
            target.output_shape[-1],
            source.output_shape[-1],
        )


def list_keras() -> list[str]:
    """Names of the classifiers of `keras.applications`."""
    return [name for name in dir(keras.applications) if name[:1].isupper()]


def _of_keras(spec: Spec, num_classes: int, input_shape: Shape, pretrained: bool) -> Network:
    if spec.target not in list_keras():
        close = difflib.get_close_matches(spec.target, list_keras(), n=3, cutoff=0.3)
        raise InputError(
            f"keras:NAME must be a function of keras.applications, for example {', '.join(close or ['MobileNetV2'])}."
            f" Received: {spec.target}"
        )
    function = getattr(keras.applications, spec.target)
    arguments = dict(spec.arguments)
    weights = arguments.pop("weights", None)
    inputs = keras.Input(input_shape, name="image")
    arguments["input_tensor"] = _preprocess(function, inputs)
    if weights is None or num_classes == _IMAGENET_CLASSES:
        options: dict[str, Any] = {"classes": num_classes, "classifier_activation": None}
        options["weights"] = weights if pretrained else None
        return Network(_call(spec, function, **options, **arguments))
    if spec.file is None:
        options = {"weights": weights if pretrained else None, "include_top": False, "pooling": "avg"}
        body = _call(spec, function, **options, **arguments)
    else:
        body = _call(spec, function, weights=None, include_top=False, pooling="avg", **arguments)
        if pretrained:
            _load_body(spec, function, body, arguments)
    return Network(
        keras.Model(inputs, _new_head(body.output, num_classes), name=body.name), replaced_head=_IMAGENET_CLASSES
    )


def _load_body(spec: Spec, function: Callable[..., Any], body: keras.Model, arguments: dict[str, Any]) -> None:
    """Loads weights from a file that holds a network without its head, or with the 1,000 classes of ImageNet."""
    try:
        body.load_weights(spec.file)
        return
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
    whole = _call(spec, function, weights=None, **arguments)
    try:
        whole.load_weights(spec.file)
    except (OSError, ValueError):
        raise InputError(
            f"weights must be a file of weights of {spec.target}. Received: {spec.file}: {reason}"
        ) from None
    for layer in body.layers:
        layer.set_weights(whole.get_layer(layer.name).get_weights())


def _preprocess(function: Callable[..., Any], inputs: Any) -> Any:
    """Applies what the module of a function of `keras.applications` does to pixels; some do it inside the network."""
    preprocess = inspect.getmodule(function).preprocess_input  # type: ignore[union-attr]
    if inputs.shape[-1] == 3:
        return preprocess(inputs)
    return keras.layers.Rescaling(1 / 127.5, -1)(inputs)  # its statistics are of three channels


def _of_keras_hub(spec: Spec, num_classes: int, input_shape: Shape, pretrained: bool) -> Network:
    try:
        keras_hub = importlib.import_module("keras_hub")
    except ImportError:
        raise InputError(f"kerashub: needs the extra hub: pip install 'kdzoo[hub]'. Received: {spec.target}") from None
    options = {"load_weights": pretrained, "activation": None, **spec.arguments}
    from_preset = functools.partial(_call, spec, keras_hub.models.ImageClassifier.from_preset, spec.target, **options)
    try:
        classifier = from_preset()
        classes = classifier.num_classes
    except InputError:  # the preset of a backbone has no classes
        classes = None
    if classes != num_classes:
        classifier = from_preset(num_classes=num_classes)  # with a new head, whatever the preset's is
    converter = getattr(classifier.preprocessor, "image_converter", None)
    scale, offset = (getattr(converter, key, None) for key in ("scale", "offset"))
    inputs = keras.Input(input_shape, name="image")
    x = inputs
    if scale is not None or offset is not None:
        x = keras.layers.Rescaling(1 if scale is None else scale, 0 if offset is None else offset)(x)
    try:
        outputs = classifier(x)
    except ValueError as error:
        raise _refused(spec, error) from None
    replaced = None if classes == num_classes else classes
    return Network(keras.Model(inputs, outputs, name=spec.slug), replaced_head=replaced)


def _of_file(spec: Spec, num_classes: int) -> Network:
    model = _call(spec, keras.saving.load_model, spec.target, compile=False)  # in safe mode
    return _with_head(_without_softmax(model, spec), num_classes)


def _of_function(spec: Spec, num_classes: int, input_shape: Shape) -> Network:
    module, _, name = spec.target.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"package.module:function must be one that can be imported. Received: {error}") from None
    model = _call(spec, function, num_classes=num_classes, input_shape=input_shape, **spec.arguments)
    if not isinstance(model, keras.Model):
        raise InputError(f"{spec.target} must return a keras.Model. Received: {type(model).__name__}")
    return Network(_without_softmax(model, spec))


def _call(spec: Spec, function: Callable[..., Any], *args: Any, **arguments: Any) -> Any:
    try:
        return function(*args, **arguments)
    except InputError:
        raise
    except (
        Exception,
        SystemExit,
    ) as error:  # a user's function, or one of Keras's with a user's arguments, may raise anything
        raise _refused(spec, error) from None


def _refused(spec: Spec, error: BaseException) -> InputError:
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return InputError(f"A model must be one that can be built. Received: {spec.kind} {spec.target}: {reason}")


def _without_softmax(model: keras.Model, spec: Spec) -> keras.Model:
    """The model up to its logits, if its last layer applies a softmax."""
    if len(model.outputs or ()) != 1 or len(model.inputs or ()) != 1:
        raise InputError(f"A model must have one input and one output, its logits. Received: {spec.target}")
    last = model.layers[-1]
    if getattr(last, "activation", None) is keras.activations.softmax and last.weights:
        _log.warning("%s: its last layer makes logits, without the softmax", spec.target)
        last.activation = keras.activations.linear
    elif isinstance(last, keras.layers.Softmax) or getattr(last, "activation", None) is keras.activations.softmax:
        _log.warning("%s: its last layer, a softmax, is left out", spec.target)
        return keras.Model(model.inputs, last.input, name=model.name)
    return model


def _with_head(model: keras.Model, num_classes: int) -> Network:
    """The model with a new head if its own has other classes."""
    classes = model.output_shape[-1]
    if classes == num_classes:
        return Network(model)
    last = model.layers[-1]
    if not isinstance(last, keras.layers.Dense):
        raise InputError(f"A model with other classes must end in a Dense layer. Received: {last.name} of {model.name}")
    return Network(
        keras.Model(model.inputs, _new_head(last.input, num_classes), name=model.name), replaced_head=classes
    )


def _new_head(features: Any, num_classes: int) -> Any:
    """Logits [n, classes] of features [n, width], in float32 under a mixed policy."""
    dtype = keras.config.dtype_policy().variable_dtype
    return keras.layers.Dense(num_classes, kernel_initializer=HeNormal(), dtype=dtype, name="logits")(features)


def _check(model: keras.Model, spec: Spec, *, num_classes: int, input_shape: Shape) -> None:
    """Raises InputError unless a model maps images of this shape to this many logits."""
    received = getattr(model, "input_shape", None)
    if not isinstance(received, tuple) or len(received) != 4 or not _fits(received[1:], input_shape):
        raise InputError(
            f"A model must take images [n, {', '.join(map(str, input_shape))}]. Received: {received} of {spec.target}"
        )
    if model.output_shape != (None, num_classes):
        raise InputError(
            f"A model must make logits [n, {num_classes}], one for each class. Received: {model.output_shape} of"
            f" {spec.target}"
        )

    if not model.trainable_weights:
        raise InputError(f"A model must have weights to train. Received: {spec.target}: no weights")


def _fits(received: tuple[int | None, ...], needed: Shape) -> bool:
    return all(one in (None, other) for one, other in zip(received, needed, strict=True))
