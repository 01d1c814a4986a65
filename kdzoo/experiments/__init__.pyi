from .search_space import Search as Search
from .sweep import expand as expand
from .sweep import read_grid as read_grid
from .sweep import run_all as run_all
