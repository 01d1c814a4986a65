"""What the students of a search cost, and which of them its limits leave."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from kdzoo.data.dataset import Dataset
from kdzoo.distillation.dtype import dtype_policy
from kdzoo.experiments.search_space import LIMITS, Search
from kdzoo.models import cost, networks
from kdzoo.runs import weights
from kdzoo.training import latency
from zoo import InputError

# Limit -> the figure that it bounds, and the figure's unit.
_FIGURES = {
    "max_mflops": ("mflops", "million multiply-adds"),
    "max_mb": ("mb", "MB of float32 weights"),
    "max_latency_ms": ("latency_ms", "ms for an image"),
}
Figures = Mapping[str, Mapping[str, float]]  # student -> figure -> value


def measure(search: Search, dataset: Dataset) -> dict[str, dict[str, float]]:
    """Returns the figures of each student: see `kdzoo.experiments.search_space.Search`.

    `latency_ms` is measured only if the search has a limit on it. The other figures are exact.

    Raises:
        InputError: if there is no such network, or its multiply-adds cannot be counted.
    """
    figures: dict[str, dict[str, float]] = {}
    for model in search.models:
        with dtype_policy(search.student.dtype_policy):
            spec = dataclasses.replace(search.student, model=model).spec
            shapes: dict[str, Any] = {"num_classes": dataset.num_classes, "input_shape": dataset.image_shape}
            network = networks.build(spec, pretrained=False, **shapes).model
        figures[model] = {
            "mflops": cost.count_multiply_adds(network) / 1e6,
            "mb": cost.FLOAT32 * weights.count_parameters(network) / 1e6,
        }
        if search.max_latency_ms is not None:
            figures[model]["latency_ms"] = latency.measure_once(network, dataset.image_shape)["median"]
    return figures


def check_known(search: Search, figures: Any, *, spec: str) -> None:
    """Raises InputError unless these are figures of each student, as `measure` returns them.

    Args:
        search: the search.
        figures: as read from its state.
        spec: path of the state's file, for the message.
    """
    needed = ["mflops", "mb", *(["latency_ms"] if search.max_latency_ms is not None else [])]
    for model in search.models:
        of_student = figures.get(model) if isinstance(figures, dict) else None
        if not isinstance(of_student, dict) or any(type(of_student.get(name)) is not float for name in needed):
            raise InputError(f"A search's state must be as it was written. Received: {spec}: no figures of {model}")


def apply(search: Search, figures: Figures) -> tuple[Search, list[str]]:
    """Returns the search without the students beyond a limit, and a line on each of them.

    Args:
        search: the search.
        figures: of its students, from `measure`; not needed without limits.

    Raises:
        InputError: if no student is left.
    """
    beyond: dict[str, str] = {}
    for model in search.models:
        for name in LIMITS:
            limit, (figure, unit) = getattr(search, name), _FIGURES[name]
            if limit is not None and figures[model][figure] > limit:
                beyond.setdefault(model, f"{model}: {figures[model][figure]:,.3f} {unit}, above {name} {limit:g}")
    left = tuple(model for model in search.models if model not in beyond)
    if not left:
        raise InputError(f"{', '.join(LIMITS)} must leave a student to train. Received: {'; '.join(beyond.values())}")
    if search.students:
        search = dataclasses.replace(search, student=dataclasses.replace(search.student, model=left[0]), students=left)
    return search, [f"student {line}: not trained" for line in beyond.values()]
