"""Public name of `kdzoo.distillation.losses`."""

from kdzoo.distillation.losses import *  # noqa: F403
