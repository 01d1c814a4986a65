"""Image classifiers in functional Keras, one module per family, and the registry of their builders (`zoo.families`).

A builder returns a `keras.Model` from images to logits. Its stage outputs are layers named `stage1`, `stage2`, ..., so
attention transfer finds them by name. Importing `zoo` loads no backend.
"""

from typing import Any


class InputError(ValueError):
    """A value from the user breaks a rule. The message is one line: the rule, an example, the received value."""


def list_stages(model: Any) -> list[str]:
    """Returns the layer names of a Keras model's stage outputs, first to last; empty if it has no layer `stage1`."""
    names = {layer.name for layer in model.layers}
    stages: list[str] = []
    while (name := f"stage{len(stages) + 1}") in names:
        stages.append(name)
    return stages
