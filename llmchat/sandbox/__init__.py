from . import serving # Gives `Sandbox` its `serve`
from .server import *
from .server import __all__
