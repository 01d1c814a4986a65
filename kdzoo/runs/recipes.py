"""Recipes: values of the settings that a command or a grid does not give. Imports no backend."""

from typing import Any

from kdzoo.models import specs

# Recipe -> the fields of a run's configuration that it sets. The others have the usual values for CIFAR.
RECIPES: dict[str, dict[str, Any]] = {
    "cifar": {},
    "imagenet": {
        "image_size": 224,
        "views": 0,
        "schedule": "30-90",
        "batch_size": 256,
        "lr": 0.1,
        "lr_decay": 0.1,
        "momentum": 0.9,
        "nesterov": False,
        "weight_decay": 1e-4,
    },
    "adamw": {"optimizer": "adamw", "lr": 0.001, "weight_decay": 0.05, "warmup_epochs": 1.0},
}


def default_recipe(model: str) -> str:
    """Returns the recipe for a network: the paper's, cifar, for those of the zoo, adamw for any other.

    Args:
        model: spec of the network.

    Raises:
        InputError: if it is no spec.
    """
    return "cifar" if specs.parse(model).kind == specs.ZOO else "adamw"
