"""What a model is: one module per family of image classifiers, built with functional Keras.

A builder returns a `keras.Model` from images to logits whose stage outputs are layers named `stage1`, `stage2`, ...,
so that attention transfer never has to guess where to tap.
"""


class InputError(ValueError):
    """A value given by the user breaks a rule. The message is one line: the rule, what passes, what was received."""


def list_stages(model) -> list[str]:
    """Names of the model's stage outputs, first to last. Empty for a model that no builder here made."""
    names = {layer.name for layer in model.layers}
    stages = []
    while (name := f"stage{len(stages) + 1}") in names:
        stages.append(name)
    return stages
