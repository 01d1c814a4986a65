from .access import load_credentials as load_credentials
from .access import read_tokens as read_tokens
from .address import check_address as check_address
from .batching import Batching as Batching
from .models import load as load
from .reload import Reloader as Reloader
from .server import start as start
