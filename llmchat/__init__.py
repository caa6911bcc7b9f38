"Chat with Claude from notebooks and programs"

__version__ = "0.0.1"

from .asink import AsyncChat, AsyncClient, mk_funcres_async, mk_toolres_async
from .batch import AsyncBatch, Batch
from .core import (Chat, Client, LimitReached, ReplyError, Stream, Thinking, ToolResult, URL, Usage, contents,
    fetch_conf, find_block, find_blocks, find_model, mk_doc, mk_funcres, mk_msg, mk_msgs, mk_tool, mk_tool_choice,
    mk_toolres, model_info, models, search_conf, usage)
from .engine.streams import AsyncStream
from .files import AsyncFiles, Files
from .batch.results import NoResult, read_prompts
from .sandbox import Sandbox
from .sandbox.recordings import record
from .editor import str_replace_based_edit_tool, text_editor, text_editor_conf

# Names in full, those of `core` too: type checkers take nothing from `__all__ += core.__all__`.
__all__ = ['AsyncBatch', 'AsyncChat', 'AsyncClient', 'AsyncFiles', 'AsyncStream', 'Batch', 'Chat', 'Client',
    'Files', 'LimitReached', 'NoResult', 'ReplyError', 'Sandbox', 'Stream', 'Thinking', 'ToolResult', 'URL',
    'Usage', 'contents', 'fetch_conf', 'find_block', 'find_blocks', 'find_model', 'mk_doc', 'mk_funcres',
    'mk_funcres_async', 'mk_msg', 'mk_msgs', 'mk_tool', 'mk_tool_choice', 'mk_toolres', 'mk_toolres_async',
    'model_info', 'models', 'read_prompts', 'record', 'search_conf', 'str_replace_based_edit_tool', 'text_editor',
    'text_editor_conf', 'usage']
