"""Public name of `kdzoo.distillation.optimizers`."""

from kdzoo.distillation.optimizers import CoupledSGD as CoupledSGD
