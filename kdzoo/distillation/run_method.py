"""The method of a run's configuration, with its weights: what the rest of kdzoo knows of it. Imports no backend."""

import math
from collections.abc import Mapping
from typing import Any

from kdzoo.distillation import registry
from kdzoo.distillation.checks import check_weights
from kdzoo.distillation.method import FEATURES, INDEX, Method
from zoo import InputError


def check(name: str, arguments: str, method_weight: float, weights: Mapping[str, float], *, num_teachers: int) -> None:
    """Raises InputError unless a method, its arguments, the weights and the number of teachers fit together.

    Args:
        name: of a method with a term of its own; "" for KD and AT alone.
        arguments: of the method, as JSON.
        method_weight: weight of its term.
        weights: of the other terms.
        num_teachers: number of teachers.
    """
    of_labels, every = ["ce_weight"], dict(weights)
    if name:
        every["method_weight"] = method_weight
        of_labels += [] if registry.make(name, arguments).has_teacher else ["method_weight"]
    elif arguments or method_weight:
        received = f"method_args {arguments or 'empty'}, method_weight {method_weight}"
        raise InputError(f"method_args and method_weight need a method such as dkd. Received: {received}")
    check_weights(num_teachers=num_teachers, of_labels=of_labels, **every)


def find(name: str, arguments: str) -> Method | None:
    """Returns the method; None for KD and AT alone."""
    return registry.make(name, arguments) if name else None


def compares_features(method: Method | None) -> bool:
    """Whether a method compares penultimate features and no stages: then tables can hold all that it needs."""
    return method is not None and FEATURES in method.required and set(method.required) <= {FEATURES, INDEX}


def pretraining_epochs(method: Method | None, epochs: int) -> int:
    """Returns the number of epochs in which a method trains networks of its own: at least 1 if it has any."""
    if method is None or not method.pretrained:
        return 0
    share: Any = method.arguments["pretraining_share"]
    return max(1, math.floor(share * epochs + 0.5))
