from . import (
    data as data,
)
from . import (
    distillation as distillation,
)
from . import (
    experiments as experiments,
)
from . import (
    hub as hub,
)
from . import (
    losses as losses,
)
from . import (
    optimizers as optimizers,
)
from . import (
    paper as paper,
)
from . import (
    publishing as publishing,
)
from . import (
    records as records,
)
from . import (
    reports as reports,
)
from . import (
    runs as runs,
)
from . import (
    schedules as schedules,
)
from . import (
    serving as serving,
)
from . import (
    teachers as teachers,
)
from . import (
    training as training,
)
from .distillation.distiller import Distiller as Distiller
from .errors import InputError as InputError
from .hub.models import list_models as list_models
from .hub.models import load as load
from .runs.config import RunConfig as RunConfig
from .runs.names import ModelName as ModelName
from .runs.names import build as build
from .version import __version__ as __version__
