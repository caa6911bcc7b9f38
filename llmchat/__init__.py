__version__ = "0.0.1"

from .asink import *
from .core import *
