"""Public names of `kdzoo.distillation.losses`."""

from kdzoo.distillation.losses import attention_map as attention_map
from kdzoo.distillation.losses import attention_transfer as attention_transfer
from kdzoo.distillation.losses import compact_map as compact_map
from kdzoo.distillation.losses import distillation as distillation
