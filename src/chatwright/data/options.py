"""How a source is to be read: what a row means, which threads of a tree, whose chats, and what is hidden in them.

Frozen and made of plain values, so that it can be sent to another process and be part of a key.
"""

from dataclasses import dataclass, field

Columns = tuple[tuple[str, str], ...]  # (the format's name, the file's name), ...


@dataclass(frozen=True)
class ChatOptions:
    """For exports of somebody's own chats. `me` is whose messages are learned; guessed where it is empty."""

    me: str = ""
    gap_hours: float = 8.0  # of silence, after which a new conversation begins
    held_out: float = 0.1  # share of the newest conversations: half validation, half test
    redact: bool = True
    hide: tuple[str, ...] = ()  # further names and words to hide
    ner: str = ""  # a token-classification model that finds names in free text; "" for none


@dataclass(frozen=True)
class ReadOptions:
    """`format` and `columns` override what is recognised. `threads` of a message tree: best, all, or a number of them."""

    format: str | None = None
    columns: Columns = ()
    threads: str = "best"
    languages: tuple[str, ...] = ()  # as the rows name them ("en"); all where empty
    chats: ChatOptions = field(default_factory=ChatOptions)
