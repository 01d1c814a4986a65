"""The range of each number that a run is given: fields of its configuration, and options of how it proceeds."""

import dataclasses
from typing import Any

from kdzoo.distillation.checks import TEMPERATURE, WEIGHT
from kdzoo.ranges import Range
from zoo import InputError

RANGES = {
    # Fields of `kdzoo.RunConfig`.
    "seed": Range(least=0, most=2**32 - 1, whole=True, example=0),
    "batch_size": Range(least=1, whole=True, example=128),
    "train_examples": Range(least=0, whole=True, example=5000),
    "val_examples": Range(least=0, whole=True, example=5000),
    "image_size": Range(least=0, most=4096, whole=True, example=224),
    "views": Range(least=0, most=2**20, whole=True, example=8),
    "memory_gb": Range(above=0, example=4),
    "test_share": Range(least=0, below=1, example=0.2),
    "teacher_image_size": Range(least=0, most=4096, whole=True, example=224),
    "unlabelled_share": Range(above=0, below=1, example=0.5),
    "fused_steps": Range(least=0, whole=True, example=64),
    "ce_weight": WEIGHT,
    "kd_weight": WEIGHT,
    "at_weight": WEIGHT,
    "method_weight": WEIGHT,
    "temperature": TEMPERATURE,
    "kd_until": Range(above=0, most=1, example=0.5),
    "lr": Range(above=0, example=0.1),
    "lr_decay": Range(above=0, most=1, example=0.2),
    "momentum": Range(least=0, below=1, example=0.9),
    "weight_decay": Range(least=0, example=0.0005),
    "warmup_epochs": Range(least=0, example=5),
    "clip_norm": Range(least=0, example=1),
    "ema_momentum": Range(least=0, below=1, example=0.999),
    "label_smoothing": Range(least=0, below=1, example=0.1),
    "mixup_alpha": Range(least=0, most=100, example=0.2),
    "cutmix_alpha": Range(least=0, most=100, example=1),
    "backbone_lr": Range(least=0, example=0.001),
    # Options of `kdzoo.training.run`.
    "checkpoint_minutes": Range(above=0, example=5),
    "teacher_deadline": Range(above=0, example=60),
    "cache_gb": Range(above=0, example=10),
    "num_processes": Range(least=0, most=4096, whole=True, example=2),
    "process_id": Range(least=-1, most=4095, whole=True, example=0),
    "data_workers": Range(least=-1, most=256, whole=True, example=4),
    # Of many runs.
    "budget_minutes": Range(least=0, example=480),
}
# Mean and standard deviation of a teacher's images in [0, 1], one for each channel.
STATISTICS = {
    "teacher_mean": Range(least=0, most=1, example=0.5),
    "teacher_std": Range(above=0, most=1, example=0.5),
}


def to_text(value: Any) -> str:
    """Returns a setting as the text of its flag: true and false as in JSON."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def parse_statistic(name: str, text: str) -> tuple[float, ...]:
    """Returns the numbers of `teacher_mean` or `teacher_std`, separated by commas.

    Raises:
        InputError: if one of them is outside its range.
    """
    return tuple(STATISTICS[name].parse(name, word.strip()) for word in text.split(","))


def check(**values: Any) -> None:
    """Raises InputError if one of these settings is outside its range."""
    for name, value in values.items():
        RANGES[name].check(name, value)


def check_types(config: Any) -> None:
    """Raises InputError if a field of a `RunConfig` has another type than its own, or one that JSON cannot hold."""
    kinds: dict[Any, Any] = {str: str, int: int, float: (int, float), bool: bool}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if not isinstance(value, kinds.get(field.type, object)) or isinstance(value, bool) > (field.type is bool):
            rule = RANGES.get(field.name, "true or false" if field.type is bool else "a text")
            raise InputError(f"{field.name} must be {rule}. Received: {repr(value)[:100]}")
    if not isinstance(config.teachers, (tuple, list)) or not all(isinstance(spec, str) for spec in config.teachers):
        raise InputError(f"teachers must be a list of texts, one for each. Received: {repr(config.teachers)[:100]}")
