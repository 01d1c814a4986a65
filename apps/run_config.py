"""Translates flags to a run's configuration, and a configuration to the command that makes the run."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from absl import flags

from kdzoo.distillation import registry
from kdzoo.runs import identity, settings
from kdzoo.runs.config import METHODS, STAGES, RunConfig
from kdzoo.runs.recipes import RECIPES, default_recipe
from kdzoo.teachers import resolve

FLAGS = flags.FLAGS
# Flags that change how a run proceeds, not its result: arguments of `kdzoo.training.run` beside the configuration.
OPTIONS = (
    *("restart", "checkpoint_minutes", "teacher_deadline", "teacher_cache", "cache_gb", "data_workers"),
    *("coordinator", "num_processes", "process_id"),
)
WEIGHTS = (*METHODS["none"], "method_weight")
_OF_DISTILLATION = (
    *WEIGHTS,
    *("distillation_method", "method_args"),
    "temperature",
    "at_mode",
    *STAGES,
    *identity.WITH_TEACHERS,
)  # apps.train lacks their flags


def from_flags(**given: Any) -> RunConfig:
    """Returns the configuration that the flags set; `given` fields replace those of flags.

    Raises InputError if a value breaks a rule, or a teacher or `init` is missing, as far as that shows without
    TensorFlow.
    """
    config = RunConfig(**fields_from_flags(model=given.get("model", "")) | given)
    config.check()
    for spec in (*config.teachers, *filter(None, [config.init])):
        resolve.check_exists(spec)
    return config


def fields_from_flags(recipe: str = "", model: str = "") -> dict[str, Any]:
    """Returns the fields of `RunConfig` that flags set: as given, else as the recipe sets them, else their defaults.

    Args:
        recipe: a key of `RECIPES`; "": that of --recipe.
        model: spec of the network to train, whose recipe is taken if --recipe is not given; "": a zoo network.
    """
    fields = {name: FLAGS[name].value for name in RunConfig.__dataclass_fields__ if name in FLAGS}
    for name in ("method_args", "method_weight"):  # `registry.fields` makes fields of them
        fields.pop(name, None)
    recipe = recipe or (FLAGS.recipe if "recipe" in FLAGS else "") or (default_recipe(model) if model else "cifar")
    of_recipe = RECIPES[recipe]
    return fields | {name: of_recipe[name] for name in of_recipe if name not in FLAGS or not FLAGS[name].present}


def options_from_flags() -> dict[str, Any]:
    """Returns the arguments of `kdzoo.training.run` for which this command defines flags."""
    return {name: FLAGS[name].value for name in OPTIONS if name in FLAGS}


def command_line(config: RunConfig, workdir: str | os.PathLike[str]) -> list[str]:
    """Returns the words after `python -m` that make this run: the command, and flags that differ from defaults."""
    of_recipe = RECIPES[default_recipe(config.model)]
    changed = {
        field.name
        for field in dataclasses.fields(RunConfig)
        if getattr(config, field.name) != of_recipe.get(field.name, field.default)
    }
    distils = bool(config.teachers) or not changed.isdisjoint(_OF_DISTILLATION)
    app, model = ("distill", "student") if distils else ("train", "model")
    command = [f"apps.{app}", f"--{model}={config.model}"]
    for field in dataclasses.fields(RunConfig):
        if field.name == "teachers" and config.teachers:
            command.append(f"--teacher={_join(config.teachers)}")
        elif field.name == "distillation_method" and config.distillation_method:
            command.append(f"--method={config.distillation_method}")
        elif field.name == "method_args":
            command += [f"--method_args={','.join(registry.words(config.method_args))}"] if config.method_args else []
        elif field.name != "model" and (field.name in changed or (distils and field.name in METHODS["none"])):
            command.append(f"--{field.name}={settings.to_text(getattr(config, field.name))}")
    return [*command, f"--workdir={workdir}"]


def _join(teachers: Sequence[str]) -> str:
    """Returns teachers as the text of a list flag, which may quote commas and loses the spaces around each word."""
    words = [os.path.join(os.curdir, teacher) if teacher[:1].isspace() else teacher for teacher in teachers]
    return flags.CsvListSerializer(",").serialize(words)
