from .grid import Run as Run
from .grid import expand as expand
from .grid import read_grid as read_grid
from .outcomes import Outcome as Outcome
from .recommendation import recommend as recommend
from .scheduler import run_all as run_all
from .search_space import Search as Search
