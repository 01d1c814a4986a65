from .models import load as load
from .server import start as start
