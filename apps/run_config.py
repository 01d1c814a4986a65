"""Translates flags to a run's configuration, and a configuration to the command that makes the run."""

import dataclasses
import os
from typing import Any

from absl import flags

from kdzoo.runs.config import METHODS, RunConfig
from kdzoo.teachers import resolve

FLAGS = flags.FLAGS
# Flags that change how a run proceeds, not its result: arguments of `kdzoo.training.run` beside the configuration.
OPTIONS = ("restart", "checkpoint_minutes", "teacher_deadline", "teacher_cache", "cache_gb")


def from_flags(**given: Any) -> RunConfig:
    """Returns the configuration that the flags set; `given` fields replace those of flags.

    Raises InputError if a value breaks a rule or a teacher is missing, as far as that shows without TensorFlow.
    """
    fields = {name: FLAGS[name].value for name in RunConfig.__dataclass_fields__ if name in FLAGS}
    config = RunConfig(**fields | given)
    config.check()
    for teacher in config.teachers:
        resolve.check_exists(teacher)
    return config


def options_from_flags() -> dict[str, Any]:
    """Returns the arguments of `kdzoo.training.run` for which this command defines flags."""
    return {name: FLAGS[name].value for name in OPTIONS if name in FLAGS}


def command_line(config: RunConfig, workdir: str | os.PathLike[str]) -> list[str]:
    """Returns the words after `python -m` that make this run: the command, and flags that differ from defaults."""
    app, model = ("distill", "student") if config.teachers else ("train", "model")
    command = [f"apps.{app}", f"--{model}={config.model}"]
    for field in dataclasses.fields(RunConfig):
        value = getattr(config, field.name)
        if field.name == "teachers" and value:
            command.append(f"--teacher={','.join(value)}")
        elif field.name != "model" and (value != field.default or (app == "distill" and field.name in METHODS["none"])):
            command.append(f"--{field.name}={value}")
    return [*command, f"--workdir={workdir}"]
