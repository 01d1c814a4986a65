from .cards import read_card as read_card
from .models import Trained as Trained
from .models import find as find
from .models import list_cards as list_cards
from .models import list_models as list_models
from .models import load as load
from .models import resolve as resolve
