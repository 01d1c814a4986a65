from .cost import count_multiply_adds as count_multiply_adds
from .cost import peak_activation_bytes as peak_activation_bytes
from .names import ModelName as ModelName
from .names import build as build
from .specs import Spec as Spec
