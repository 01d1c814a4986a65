from .evaluation import evaluate_run as evaluate_run
from .loop import Stopped as Stopped
from .train import make_deterministic as make_deterministic
from .train import run as run
