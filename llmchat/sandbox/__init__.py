from .server import *
from .server import __all__
