from .config import METHODS as METHODS
from .config import RunConfig as RunConfig
from .progress import Progress as Progress
from .recipes import RECIPES as RECIPES
from .records import read as read
from .weights import load_model as load_model
