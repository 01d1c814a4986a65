"""Whether the parts of a record agree: what it holds twice shows damage that fits its schema."""

from collections.abc import Mapping, Sequence
from typing import Any

from kdzoo.distillation import schedules
from kdzoo.distillation.checks import check_weights
from kdzoo.models import specs
from kdzoo.runs.config import RunConfig
from zoo import InputError

_FIELDS = RunConfig.__dataclass_fields__.keys()
_LAST = ("test_top5_error", "test_ece", "test_agreement")  # in a record as of the last epoch, if the epoch has it
_OF_VALIDATION = ("test_error_val_chosen", "val_chosen_epoch")


def check(record: Mapping[str, Any], *, spec: str, rule: str) -> None:
    """Raises InputError, which names the first contradiction, if a record or a card contradicts itself.

    Args:
        record: fits its schema.
        spec: its path or address, for the message.
        rule: what it must be, the first sentence of the message.
    """
    config = RunConfig(**{key: value for key, value in record["config"].items() if key in _FIELDS})
    try:
        specs.check_name(config.name, config.spec)
        epochs = schedules.parse(config.schedule).epochs
        if not config.distillation_method:  # others may not be installed
            check_weights(num_teachers=len(config.teachers), **config.loss_weights)
    except InputError as error:
        raise InputError(f"{rule}. Received: {spec}: config: {error}") from None
    dataset = record["dataset"]
    channels = dataset["image_shape"][2]
    parts: dict[str, tuple[Any, Any]] = {
        "name": (
            record["name"].rpartition("/")[2],
            f"{config.architecture}_{config.schedule}",
        ),  # a card's may have a prefix
        "method": (record["method"], config.method),
        "seed": (record["seed"], config.seed),
        "number of teachers": (len(record["teachers"]), len(config.teachers)),
        **{f"channels of {name}": (len(dataset[name]), channels) for name in ("mean", "std")},
    }
    if "class_names" in dataset:
        parts["number of class names"] = (len(dataset["class_names"]), dataset["num_classes"])
    if "history" in record:
        history = record["history"]
        summary = dict.fromkeys((*_OF_VALIDATION, "test_top5_error_last")) | summarise(history)
        parts["number of epochs"] = len(history), epochs
        parts["epochs"] = ([row["epoch"] for row in history], list(range(1, epochs + 1)))
        parts |= {key: (record.get(key), value) for key, value in summary.items()}
    for key in ("test_error", "test_error_last"):
        if (top5 := record.get(key.replace("error", "top5_error"))) is not None:
            parts[f"top-5 error of {key}"] = (top5, min(top5, record[key]))  # the class itself is one of the five
    compare(parts, spec=spec, rule=rule)


def compare(parts: Mapping[str, tuple[Any, Any]], *, spec: str, rule: str) -> None:
    """Raises InputError, which names the first difference, unless the two values of each part are equal.

    Args:
        parts: name -> the value that is there, and the one that follows from other parts.
        spec: path or address of the whole, for the message.
        rule: what it must be, the first sentence of the message.
    """
    for name, (received, expected) in parts.items():
        if received != expected:
            raise InputError(
                f"{rule}. Received: {spec}: {name} {str(received)[:100]}, but {str(expected)[:100]} by its other parts"
            )


def summarise(history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns what a record draws from its history. Errors are in percent; the earliest of equal epochs counts."""
    errors = [row["test_error"] for row in history]
    result = {
        "test_error_last": errors[-1],
        "test_error_best": min(errors),
        "test_error_best_epoch": 1 + errors.index(min(errors)),
        **{f"{name}_last": history[-1][name] for name in _LAST if name in history[-1]},
    }
    if validated := [row for row in history if "val_error" in row]:
        chosen = min(validated, key=lambda row: row["val_error"])
        result |= dict(zip(_OF_VALIDATION, (chosen["test_error"], chosen["epoch"]), strict=True))
    return result
