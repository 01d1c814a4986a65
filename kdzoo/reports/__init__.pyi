from .statistics import Group as Group
from .statistics import Paired as Paired
from .statistics import Spread as Spread
from .statistics import group as group
from .statistics import paired as paired
from .tables import compare as compare
