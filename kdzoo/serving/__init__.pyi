from .address import check_address as check_address
from .models import load as load
from .server import start as start
