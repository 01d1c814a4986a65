from .distiller import Distiller as Distiller
from .dtype import dtype_policy as dtype_policy
from .losses import attention_transfer as attention_transfer
from .losses import distillation as distillation
from .optimizers import CoupledSGD as CoupledSGD
from .schedules import CosineSchedule as CosineSchedule
from .schedules import StepSchedule as StepSchedule
