"""The signature of an external model: its input, its outputs, and which of them are logits and stages."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from kdzoo.runs.config import RunConfig
from zoo import InputError


@dataclasses.dataclass(frozen=True)
class Signature:
    """One function of a SavedModel, or an ONNX model, that takes a batch of images.

    Shapes are without the batch dimension. A dimension of any size is None; so is a shape that the model leaves open.

    Attributes:
        name: of the function, for example serving_default; of an ONNX model graph.
        input: name of its only input.
        dtype: of the images, by NumPy's name.
        image_shape: (height, width, channels).
        outputs: name of each output -> its shape.
    """

    name: str
    input: str
    dtype: str
    image_shape: tuple[int | None, ...] | None
    outputs: Mapping[str, tuple[int | None, ...] | None]


def choose_signature(signatures: Mapping[str, Signature], config: RunConfig, spec: str) -> Signature:
    """The signature that a configuration needs, with only the outputs that it needs.

    Raises:
        InputError: if there is none of that name, or it lacks the logits or, for attention transfer, the stages.
    """
    name = config.teacher_signature or ("features" if config.at_weight else "serving_default")
    if name not in signatures:
        raise InputError(
            f"teacher_signature must be one of {', '.join(sorted(signatures)) or 'none (the model has no signature)'}."
            f" Received: {name} of {spec}"
        )
    return choose_outputs(signatures[name], config, spec)


def choose_outputs(signature: Signature, config: RunConfig, spec: str) -> Signature:
    """A signature with only the outputs that a configuration needs.

    Raises:
        InputError: if it lacks the logits or, for attention transfer, the stages.
    """
    wanted = {logits_of(signature, config, spec), *stages_of(signature, config, spec)}
    return dataclasses.replace(signature, outputs={key: signature.outputs[key] for key in wanted})


def logits_of(signature: Signature, config: RunConfig, spec: str) -> str:
    """Name of the output that holds the logits.

    Raises:
        InputError: if there is no such output.
    """
    if not config.teacher_logits and len(signature.outputs) == 1:
        return next(iter(signature.outputs))
    name = config.teacher_logits or "logits"
    if name not in signature.outputs:
        raise InputError(
            f"teacher_logits must be one of {', '.join(sorted(signature.outputs))}. Received: {name} of {spec}"
        )
    return name


def stages_of(signature: Signature, config: RunConfig, spec: str) -> list[str]:
    """Names of the outputs that attention transfer compares, first to last; none if the configuration has none of it.

    Raises:
        InputError: if there is no such output.
    """
    if not config.at_weight:
        return []
    numbered = [f"stage{i + 1}" for i in range(len(signature.outputs))]
    stages = list(config.loss_options["teacher_stages"]) or [name for name in numbered if name in signature.outputs]
    if not stages or not signature.outputs.keys() >= set(stages):
        raise InputError(
            "For attention transfer a teacher's signature must have outputs stage1, stage2..., as features of a"
            " published model has, or those that teacher_stages names."
            f" Received: {', '.join(sorted(signature.outputs))} of {signature.name} of {spec}"
        )
    return stages


def inner_shape(shape: Any) -> tuple[int | None, ...] | None:
    """A `tf.TensorShape` without the batch dimension; None if its rank is unknown."""
    return None if shape.rank is None else tuple(shape.as_list()[1:])
