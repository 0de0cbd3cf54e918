"""What Tab completes: the name of a command, and after it a setting, a file, or the folder of a model."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from chatwright.chat import settings, slash

if TYPE_CHECKING:
    from prompt_toolkit.completion import CompleteEvent, Completer, Completion

FILES, FOLDERS = ("save", "load", "export"), ("model", "adapter", "compare")


def completer() -> "Completer":
    """For prompt_toolkit, which is read only where somebody types."""
    from prompt_toolkit.completion import Completer, PathCompleter, WordCompleter
    from prompt_toolkit.document import Document

    commands = WordCompleter([f"/{name}" for name in slash.COMMANDS], sentence=True)
    after: dict[str, Completer] = {
        "/set": WordCompleter([*settings.SETTINGS]),
        "/markdown": WordCompleter(["on", "off"]),
        **{f"/{name}": PathCompleter(expanduser=True) for name in FILES},
        **{f"/{name}": PathCompleter(expanduser=True, only_directories=True) for name in FOLDERS},
    }

    class Typed(Completer):
        def get_completions(self, document: Document, complete_event: "CompleteEvent") -> "Iterable[Completion]":
            name, space, rest = document.text_before_cursor.partition(" ")
            if not space:
                yield from commands.get_completions(document, complete_event)
            elif name in after:
                yield from after[name].get_completions(Document(rest), complete_event)

    return Typed()
