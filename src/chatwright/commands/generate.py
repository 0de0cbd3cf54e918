"""Continues a text, as a base model does: no template, no roles, until its end-of-text token.

The text is read from standard input where it is - or is not given. Only the continuation goes to stdout.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from chatwright import console
from chatwright.commands import _stdin
from chatwright.commands._engine import EngineSettings
from chatwright.commands._loading import LoadInSetting
from chatwright.commands._sampling import SamplingSettings
from chatwright.errors import ConfigError

if TYPE_CHECKING:
    from chatwright.generate.completion import Completion
from chatwright.generate.engine import Engine

POSITIONAL = ("model", "text")
EXAMPLES = (
    'chatwright generate gpt2 "Once upon a time" --temperature 0.8 --top-p 0.95',
    'chatwright generate runs/base "The capital of France" --n 3 --temperature 1 --json',
    "head -c 500 play.txt | chatwright generate runs/shakespeare",
)


class Settings(SamplingSettings, EngineSettings):
    """The model, the text to continue, and how the next tokens are picked."""

    model: str = Field(description="a run folder, a model folder or a hub id")
    text: str | None = Field(default=None, description="the text to continue; - reads standard input")
    n: int = Field(default=1, ge=1, le=1024, description="how many continuations, with the seeds from --seed on")
    echo: bool = Field(default=False, description="print the text before its continuation")
    load_in: LoadInSetting = None
    device: str = Field(default="auto", description="auto, cpu, cuda or mps")


def run(settings: Settings) -> dict[str, Any]:
    """The text and its continuations, each with its number of tokens and why it ended."""
    text = _text(settings)
    ids, engine = _prepared(settings, text)
    sampling = settings.sampling()
    if settings.n > 1 and sampling.temperature == 0:
        console.warn("at temperature 0 all continuations are the same; give --temperature 0.8")
    numbers = [engine.add(ids, replace(sampling, seed=sampling.seed + i)) for i in range(settings.n)]
    done: dict[int, Completion] = {}
    pieces = _pieces(engine, done)
    if settings.n == 1 and not settings.json:
        _show(pieces, text if settings.echo else "")
    else:
        for _ in pieces:
            pass
    completions = [done[number] for number in numbers]
    if settings.n > 1 and not settings.json:
        for i, completion in enumerate(completions, start=1):
            print(f"{'' if i == 1 else chr(10)}--- {i} of {settings.n} ({completion.finish})")
            _show(iter([completion.text]), text if settings.echo else "")
    rows = [{"text": one.text, "finish": one.finish, "tokens": len(one.ids)} for one in completions]
    return {"model": settings.model, "prompt": text, "prompt_tokens": len(ids), "completions": rows}


def _text(settings: Settings) -> str:
    """The text as it stands, but for the line end that `echo` puts behind it."""
    if settings.text is not None and settings.text != "-":
        text = settings.text
    elif settings.text == "-" or _stdin.piped():
        text = _stdin.read().removesuffix("\n")
    else:
        raise ConfigError('there is no text to continue; give it in quotes: chatwright generate M "Once upon a time"')
    if not text:
        raise ConfigError("the text to continue is empty; give at least one word")
    return text


def _prepared(settings: Settings, text: str) -> "tuple[list[int], Engine]":
    """The ids of the text, and an engine for the model."""
    from chatwright.checkpoint import Checkpoint
    from chatwright.generate.engine import Engine
    from chatwright.models.device import device_of
    from chatwright.models.inference import prepare

    # the model's own template is of no use here, and one that is not understood is no reason to refuse
    checkpoint = Checkpoint.load(settings.model, template="plain", quiet=True, load_in=settings.load_in)
    tokenizer = checkpoint.tokenizer
    prepare(checkpoint.model.to(device_of(settings.device)).eval())
    stop_ids = [] if tokenizer.end_of_text is None else [tokenizer.end_of_text]
    begin = [] if tokenizer.begin_of_text is None else [tokenizer.begin_of_text]
    engine = Engine(checkpoint.model, tokenizer, stop_ids, settings.capacity())
    return [*begin, *tokenizer.encode(text)], engine


def _pieces(engine: "Engine", done: "dict[int, Completion]") -> Iterator[str]:
    """Runs the engine to the end; gives the text of all sequences as it comes, and fills `done`."""
    while engine.busy:
        for piece in engine.step():
            yield piece.text
            if piece.completion is not None:
                done[piece.sequence] = piece.completion


def _show(pieces: Iterator[str], before: str) -> None:
    """Streams to stdout, cleaned of escape sequences, with a line end behind it."""
    cleaner = console.CleanStream()
    sys.stdout.write(console.clean(before))
    for piece in pieces:
        sys.stdout.write(cleaner.push(piece))
        sys.stdout.flush()
    print(cleaner.flush())
