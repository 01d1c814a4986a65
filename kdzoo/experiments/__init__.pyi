from .grid import Run as Run
from .grid import expand as expand
from .grid import read_grid as read_grid
from .local_scheduler import run_all as run_all
from .outcomes import Outcome as Outcome
from .recommendation import recommend as recommend
from .search_space import Search as Search
