from .config import METHODS as METHODS
from .config import RECIPES as RECIPES
from .config import RunConfig as RunConfig
from .progress import Progress as Progress
from .records import read as read
from .weights import load_model as load_model
