from .base import Teacher as Teacher
from .output_cache import Cache as Cache
from .outputs import TeacherOutputs as TeacherOutputs
from .precompute import count_shards as count_shards
from .precompute import precompute as precompute
from .resolve import Ensemble as Ensemble
from .resolve import find as find
