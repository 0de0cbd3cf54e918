"""What a request asks for, in our own words: the schema makes one, and everything behind it reads nothing else."""

from dataclasses import dataclass, field
from typing import Any

from chatwright.text.records import Conversation

Prompt = Conversation | str | tuple[int, ...]  # a talk to be answered; a text, or its ids, to be continued


@dataclass(frozen=True)
class Asked:
    """One request. `knobs` are the fields of Sampling that it gives; what it leaves out, the server's defaults fill.

    `max_tokens` None means to the end of the context. `ignored` are the names of fields that nobody knows. `truncate`:
    leave out the oldest of a prompt that is too long, and say so.
    """

    model: str
    prompts: tuple[Prompt, ...]
    n: int = 1
    max_tokens: int | None = None
    knobs: dict[str, Any] = field(default_factory=dict)
    stream: bool = False
    usage: bool = False  # a last chunk that counts the tokens
    truncate: bool = False
    echo: bool = False
    ignored: tuple[str, ...] = ()
