from .command import *
from .command import __all__
