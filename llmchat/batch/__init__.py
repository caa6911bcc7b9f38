from .batch import *
from .batch import __all__
