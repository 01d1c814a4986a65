from .base import Conflict as Conflict
from .base import Damaged as Damaged
from .base import Missing as Missing
from .base import Store as Store
from .opening import open_store as open_store
