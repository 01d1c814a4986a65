from .base import Teacher as Teacher
from .resolve import Ensemble as Ensemble
from .resolve import find as find
