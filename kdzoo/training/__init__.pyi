from .evaluation import evaluate_run as evaluate_run
from .prediction import predict_pictures as predict_pictures
from .prediction import write_csv as write_csv
from .processes import ProcessLost as ProcessLost
from .state import Stopped as Stopped
from .strategy import make_deterministic as make_deterministic
from .strategy import mirrored_strategy as mirrored_strategy
from .train import run as run
