from .config import METHODS as METHODS
from .config import RECIPES as RECIPES
from .config import RunConfig as RunConfig
from .names import ModelName as ModelName
from .names import build as build
from .progress import Progress as Progress
from .records import read as read
from .weights import load_model as load_model
