"""Public names of `kdzoo.distillation.schedules`."""

from kdzoo.distillation.schedules import RULE as RULE
from kdzoo.distillation.schedules import CosineSchedule as CosineSchedule
from kdzoo.distillation.schedules import ScaledSchedule as ScaledSchedule
from kdzoo.distillation.schedules import Schedule as Schedule
from kdzoo.distillation.schedules import StepSchedule as StepSchedule
from kdzoo.distillation.schedules import StoppedSchedule as StoppedSchedule
from kdzoo.distillation.schedules import callback as callback
from kdzoo.distillation.schedules import parse as parse
