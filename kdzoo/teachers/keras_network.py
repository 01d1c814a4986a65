"""Teachers that are Keras networks with weights of their own: FILE.keras, keras:NAME, kerashub:PRESET, a function."""

import dataclasses
import hashlib
from typing import Any

import numpy as np

from kdzoo.data.dataset import Dataset
from kdzoo.models import specs
from kdzoo.runs import machine
from kdzoo.runs.config import RunConfig
from kdzoo.teachers.external import ExternalTeacher
from kdzoo.teachers.signature import Signature
from kdzoo.teachers.zoo_teacher import compile_forward
from zoo import InputError

FLOAT = "float32"


def find_teacher(spec: str, config: RunConfig, dataset: Dataset) -> ExternalTeacher:
    """The teacher that a network's spec names: see `kdzoo.models.specs`. It takes pixels unless `teacher_input` is set.

    Args:
        spec: of the network.
        config: the run's.
        dataset: the run's data set.

    Raises:
        InputError: if the network cannot be built, has no weights for the data set's classes, or lacks a stage.
    """
    import keras

    from kdzoo.distillation.dtype import dtype_policy
    from kdzoo.distillation.stages import stage_names
    from kdzoo.models import networks

    parsed = specs.parse(spec)
    height, width, channels = dataset.image_shape
    size = config.teacher_image_size
    shape = (size or height, size or width, channels)
    with dtype_policy(FLOAT):
        network = networks.build(parsed, num_classes=dataset.num_classes, input_shape=shape)
    if network.replaced_head is not None:
        raise InputError(
            f"A teacher must have the data set's number of classes: {dataset.num_classes}."
            f" Received: {network.replaced_head} from {spec}: fine-tune it by apps.train --model={spec}"
        )
    model = network.model
    stages = stage_names(model, config.loss_options["teacher_stages"]) if config.at_weight else []
    outputs = {"logits": model.outputs[0]} | {name: model.get_layer(name).output for name in stages}
    outputs_of = keras.Model(model.inputs, outputs)
    program = compile_forward(lambda images: outputs_of(images, training=False), model)
    if config.teacher_input == "auto":
        config = dataclasses.replace(config, teacher_input="raw")
    teacher = ExternalTeacher(
        spec,
        parsed.slug,
        specs.digest(parsed) if parsed.kind == specs.FILE else _digest_weights(model),
        Signature("network", "images", FLOAT, shape, {name: tuple(x.shape[1:]) for name, x in outputs.items()}),
        lambda images: {name: np.asarray(values) for name, values in program(images).items()},
        config,
    )
    # Where the student computes on the processor too, a call ahead would only slow its steps down.
    teacher.max_calls_ahead = int(bool(machine.hardware()["accelerators"]))
    return teacher


def _digest_weights(model: Any) -> str:
    """SHA-256 of a network's weights, in order."""
    digest = hashlib.sha256()
    for values in model.get_weights():
        digest.update(f"{values.dtype} {values.shape}".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
