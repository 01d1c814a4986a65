"""Public name of `kdzoo.distillation.schedules`."""

from kdzoo.distillation.schedules import *  # noqa: F403
