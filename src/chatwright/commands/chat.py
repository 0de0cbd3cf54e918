"""Talks to a model: in the terminal, or one answer with -p TEXT or a text through a pipe.

In the terminal the history is kept and /help lists the commands. An answer through a pipe goes to stdout and nothing
else does. A base model answers too, under the template plain, and continues more than it replies. What is corrected with
/fix and /better is kept beside the model; /train learns it.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from chatwright import console
from chatwright.commands import _stdin
from chatwright.commands._engine import EngineSettings
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


class Settings(SamplingSettings, EngineSettings):
    """The model, what it is told first, and how it picks its tokens."""

    model: str = Field(description="a run folder, a model folder or a hub id")
    prompt: str | None = Field(
        default=None, description="print one answer to this and end", json_schema_extra={"short": "-p"}
    )
    system: str = Field(default="", description="system text: what the model is told before the conversation")
    template: str | None = Field(default=None, description="chat template in place of the model's own")
    adapters: list[str] = Field(default=[], description="more adapters on the same base; /adapter NAME switches to one")
    feedback: Path | None = Field(
        default=None, description="folder for what is corrected; the run's own, or runs/feedback/NAME, if not given"
    )
    markdown: bool = Field(default=False, description="draw answers as Markdown in the terminal, not as they come")
    load_in: LoadInSetting = None
    device: str = Field(default="auto", description="auto, cpu, cuda or mps")


def run(settings: Settings) -> dict[str, Any]:
    """The one answer with its figures; after a conversation in the terminal, the number of its messages."""
    text = _message(settings)  # asked before the model is read: whoever gave none need not wait
    from chatwright.chat import terminal

    session = _session(settings)
    if text is None:
        terminal.converse(session)
        return {"model": settings.model, "messages": len(session.turns)}
    pieces = session.ask(text)
    if settings.json:
        for _ in pieces:
            pass
    else:
        terminal.write(pieces, sys.stdout, as_markdown=settings.markdown)
    for remark in terminal.remarks(session, 0):
        console.note(remark)
    return _result(session)


def _session(settings: Settings) -> "Session":
    """The model read, and the adapters that it may speak through."""
    from chatwright import commands
    from chatwright.chat.feedback import Feedback
    from chatwright.chat.opening import Opening
    from chatwright.chat.session import Session

    held = (settings.device, settings.template, settings.load_in)
    opening = Opening(settings.model, *held, commands.run, settings.capacity())
    feedback = None if settings.feedback is None else Feedback(settings.feedback)
    chatbot = opening.load(settings.model, settings.template)
    session = Session(chatbot, settings.sampling(), settings.system, settings.model, opening, feedback)
    session.markdown = settings.markdown
    first = session.adapters.active
    for name in settings.adapters:
        session.use_adapter(name)
    session.use_adapter(first)
    return session


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
