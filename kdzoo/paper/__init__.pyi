from .printed import FIGURE1 as FIGURE1
from .printed import TABLES as TABLES
from .printed import Row as Row
from .printed import architectures as architectures
from .printed import rows as rows
