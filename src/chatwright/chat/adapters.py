"""The adapters of one chat: each read once, and switched without reading the model again."""

from pathlib import Path

from chatwright.checkpoint import find
from chatwright.generate.chatbot import Chatbot

NONE = "none"  # the base alone


class Adapters:
    """What a chatbot can speak through. `active` is the name of what it speaks through now."""

    def __init__(self, chatbot: Chatbot) -> None:
        self._chatbot = chatbot
        own = chatbot.checkpoint
        self._known = {NONE: own.without_adapter()}
        self.active = NONE
        if own.adapter is not None:
            self.active = _short(own.origin)
            self._known[self.active] = own

    @property
    def names(self) -> list[str]:
        """In the order in which they were read, the base alone first."""
        return list(self._known)

    def use(self, name: str) -> str:
        """Switches to a known adapter, or to one that is read from a folder or the hub first; returns its name.

        Raises ConfigError or DataError for an adapter that is none or belongs to another base; nothing then changes.
        """
        short = name if name in self._known else _short(name)
        if short != name and short in self._known and find(self._known[short].origin) != find(name):
            short = name  # two folders may end in the same word
        known = self._known.get(short)
        chosen = self._chatbot.checkpoint.with_adapter(name) if known is None else known
        self._chatbot.switch(chosen)
        self._known[short], self.active = chosen, short
        return short


def _short(origin: str) -> str:
    """`runs/pirate/model` -> `pirate`."""
    path = Path(origin)
    return path.parent.name if path.name == "model" and path.parent.name else path.name
