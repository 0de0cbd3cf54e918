"""Talks to a model: in the terminal, or one answer with -p TEXT or a text through a pipe.

In the terminal the history is kept and /help lists the commands. An answer through a pipe goes to stdout and nothing
else does. A base model answers too, under the template plain, and continues more than it replies.
"""

import sys
from typing import TYPE_CHECKING, Any

from pydantic import Field

from chatwright import console
from chatwright.commands import _stdin
from chatwright.commands._loading import LoadInSetting
from chatwright.commands._sampling import SamplingSettings
from chatwright.errors import ConfigError

if TYPE_CHECKING:
    from chatwright.chat.session import Session

POSITIONAL = ("model",)
EXAMPLES = (
    "chatwright chat runs/quickstart/sft",
    'chatwright chat runs/quickstart/sft -p "What is the capital of France?"',
    "cat letter.txt | chatwright chat runs/ultrachat --temperature 0.7 --max-tokens 400",
)


class Settings(SamplingSettings):
    """The model, what it is told first, and how it picks its tokens."""

    model: str = Field(description="a run folder, a model folder or a hub id")
    prompt: str | None = Field(
        default=None, description="print one answer to this and end", json_schema_extra={"short": "-p"}
    )
    system: str = Field(default="", description="system text: what the model is told before the conversation")
    template: str | None = Field(default=None, description="chat template in place of the model's own")
    adapters: list[str] = Field(default=[], description="more adapters on the same base; /adapter NAME switches to one")
    load_in: LoadInSetting = None
    device: str = Field(default="auto", description="auto, cpu, cuda or mps")


def run(settings: Settings) -> dict[str, Any]:
    """The one answer with its figures; after a conversation in the terminal, the number of its messages."""
    text = _message(settings)  # asked before the model is read: whoever gave none need not wait
    from chatwright.chat import terminal
    from chatwright.chat.session import Session
    from chatwright.generate.chatbot import Chatbot

    load_in = settings.load_in
    chatbot = Chatbot.load(settings.model, device=settings.device, template=settings.template, load_in=load_in)
    session = Session(chatbot, settings.sampling(), settings.system, settings.model)
    first = session.adapters.active
    for name in settings.adapters:
        session.use_adapter(name)
    session.use_adapter(first)
    if text is None:
        terminal.converse(session)
        return {"model": settings.model, "messages": len(session.turns)}
    pieces = session.ask(text)
    if settings.json:
        for _ in pieces:
            pass
    else:
        terminal.write(pieces, sys.stdout)
    for remark in terminal.remarks(session, 0):
        console.note(remark)
    return _result(session)


def _message(settings: Settings) -> str | None:
    """What to answer once, or None for a conversation in the terminal."""
    if settings.prompt is not None:
        text, where = settings.prompt, "--prompt"
    elif _stdin.piped() or not sys.stdout.isatty():
        if settings.json and not _stdin.piped():
            raise ConfigError("--json gives one answer; give the message with -p TEXT or through a pipe")
        text, where = _stdin.read(), "standard input"
    else:
        return None
    if not text.strip():
        raise ConfigError(f"{where} is empty; give the message with -p TEXT or through a pipe")
    return text.strip()


def _result(session: "Session") -> dict[str, Any]:
    stats = session.stats()
    assert stats.last is not None
    return {
        "model": session.name,
        "reply": stats.last.text.strip(),
        "finish": stats.last.finish,
        "tokens": len(stats.last.ids),
        "context": {"used": stats.used, "limit": stats.limit},
        "seconds": round(stats.seconds, 3),
        "tokens_per_second": round(stats.tokens_per_second, 1),
    }
