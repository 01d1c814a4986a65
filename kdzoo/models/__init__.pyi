from .names import ModelName as ModelName
from .names import build as build
from .specs import Spec as Spec
