from .commands import *
from .commands import __all__
