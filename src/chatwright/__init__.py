"""chatwright makes chatbots: from raw text to a bot that you can talk to, serve, export and trust.

Every name here is imported when it is first used, so that `import chatwright` costs nothing. Each verb of the command
line is a function of the same settings (`chatwright.sft(model="gpt2", data="chats.jsonl")`); a verb that shares its
name with a folder (`generate`, `chat`) is reached by `chatwright.run("generate", {...})`.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chatwright.checkpoint import Checkpoint as Checkpoint
    from chatwright.commands import run as run
    from chatwright.errors import ChatwrightError as ChatwrightError
    from chatwright.errors import ConfigError as ConfigError
    from chatwright.errors import DataError as DataError
    from chatwright.generate.chatbot import Chatbot as Chatbot
    from chatwright.generate.completion import Completion as Completion
    from chatwright.generate.sampling import Sampling as Sampling
    from chatwright.text.records import Conversation as Conversation
    from chatwright.text.records import Document as Document
    from chatwright.text.records import Message as Message
    from chatwright.text.records import Preference as Preference
    from chatwright.text.records import Problem as Problem
    from chatwright.text.records import Rated as Rated
    from chatwright.text.template import ChatTemplate as ChatTemplate
    from chatwright.text.template import Example as Example
    from chatwright.text.tokenizer import Tokenizer as Tokenizer

_HOMES = {
    "ChatTemplate": "text.template",
    "Chatbot": "generate.chatbot",
    "ChatwrightError": "errors",
    "Checkpoint": "checkpoint",
    "Completion": "generate.completion",
    "ConfigError": "errors",
    "Conversation": "text.records",
    "DataError": "errors",
    "Document": "text.records",
    "Example": "text.template",
    "Message": "text.records",
    "Preference": "text.records",
    "Problem": "text.records",
    "Rated": "text.records",
    "Sampling": "generate.sampling",
    "Tokenizer": "text.tokenizer",
    "run": "commands",
}


def __getattr__(name: str) -> Any:
    """A public class, a verb as a function, `__version__` or `__all__`."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"chatwright.{_HOMES[name]}"), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("chatwright")
    if name == "__all__":
        return sorted([*_HOMES, *_verbs()])
    if not name.startswith("_") and name in _verbs():
        return _function(name)
    raise AttributeError(f"module 'chatwright' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_HOMES, *_verbs(), "__all__", "__version__"]


def _verbs() -> list[str]:
    """The verbs that do not share their name with a folder of the package."""
    home = Path(__file__).parent  # looked up by path: importing a submodule here would ask __getattr__ again
    verbs = sorted(file.stem for file in (home / "commands").glob("[a-z]*.py"))
    return [verb for verb in verbs if not (home / verb).is_dir()]


def _function(verb: str) -> Callable[..., dict[str, Any]]:
    """The verb as a function: settings by keyword, `config` a YAML file under them, the result as a dictionary."""
    from chatwright.commands import run
    from chatwright.registry import load

    def function(config: str | Path | None = None, **settings: Any) -> dict[str, Any]:
        return run(verb, settings, config)

    function.__name__ = function.__qualname__ = verb
    function.__doc__ = load("commands", verb).__doc__
    return function
