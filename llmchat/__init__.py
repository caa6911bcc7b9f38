"Talk with Claude from notebooks and programs"

__version__ = "0.0.1"

from . import core
from .asink import AsyncChat, AsyncClient, AsyncStream, mk_funcres_async, mk_toolres_async
from .batch import AsyncBatch, Batch
from .core import *
from .files import AsyncFiles, Files
from .results import NoResult, read_prompts
from .sandbox import Sandbox
from .text_editor import str_replace_based_edit_tool, text_editor, text_editor_conf

__all__ = ['AsyncBatch', 'AsyncChat', 'AsyncClient', 'AsyncFiles', 'AsyncStream', 'Batch', 'Files', 'NoResult', 'Sandbox',
    'mk_funcres_async', 'mk_toolres_async', 'read_prompts', 'str_replace_based_edit_tool', 'text_editor', 'text_editor_conf']
__all__ += core.__all__
