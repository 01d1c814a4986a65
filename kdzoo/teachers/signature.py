"""The signature of an external model: its input, its outputs, and which of them are logits and stages."""

import dataclasses
from collections.abc import Mapping

from kdzoo.runs.config import RunConfig
from zoo import InputError


@dataclasses.dataclass(frozen=True)
class Signature:
    """One function of a SavedModel: names of its input and outputs, and what goes in.

    Shapes are without the batch; None where a side is free.
    """

    name: str
    input: str
    dtype: str
    image_shape: tuple[int | None, ...] | None
    outputs: Mapping[str, tuple[int | None, ...] | None]


def choose_signature(signatures: Mapping[str, Signature], config: RunConfig, spec: str) -> Signature:
    """The signature a configuration asks for.

    Raises:
        InputError: if it is not there, or does not take images and give logits and, for attention transfer, stages.
    """
    name = config.teacher_signature or ("features" if config.at_weight else "serving_default")
    if name not in signatures:
        raise InputError(
            f"teacher_signature must be one of {', '.join(sorted(signatures)) or 'none there is'}."
            f" Received: {name} of {spec}"
        )
    signature = signatures[name]
    logits = logits_of(signature, config, spec)
    if config.at_weight and "stage1" not in signature.outputs:
        raise InputError(
            "For attention transfer a teacher's signature must give stage1, stage2...; features does of a published"
            f" model. Received: {', '.join(sorted(signature.outputs))} of {name} of {spec}"
        )
    wanted = {logits, *(stages_of(signature) if config.at_weight else ())}
    return dataclasses.replace(signature, outputs={key: signature.outputs[key] for key in wanted})


def logits_of(signature: Signature, config: RunConfig, spec: str) -> str:
    """Name of the output that holds the logits."""
    if not config.teacher_logits and len(signature.outputs) == 1:
        return next(iter(signature.outputs))
    name = config.teacher_logits or "logits"
    if name not in signature.outputs:
        raise InputError(
            f"teacher_logits must be one of {', '.join(sorted(signature.outputs))}. Received: {name} of {spec}"
        )
    return name


def stages_of(signature: Signature) -> list[str]:
    """Names of the stage outputs, first to last."""
    stages = [f"stage{i + 1}" for i in range(len(signature.outputs))]
    return [stage for stage in stages if stage in signature.outputs]


def inner_shape(shape) -> tuple[int | None, ...] | None:
    """Of a TensorFlow shape: the sides but for the batch, None for one that is free; None if nothing is known."""
    return None if shape.rank is None else tuple(shape.as_list()[1:])
