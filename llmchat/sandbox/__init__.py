from . import recordings, serving # They give `Sandbox` its `replay` and `serve`
from .server import *
from .server import __all__
