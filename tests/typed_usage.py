"What a user writes, checked by mypy --strict and never run."
import llmchat

version: str = llmchat.__version__
