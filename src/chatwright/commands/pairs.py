"""Makes preferences of a model's own faults: what it says wrong beside what the data, or it at its best, answers.

Each prompt of the data is answered several times; an answer that loops, speaks for the user or runs on becomes the
rejected one. `dpo` takes the file as it is.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from chatwright import console, disk
from chatwright.commands import _out
from chatwright.commands._loading import LoadInSetting
from chatwright.data.settings import DataSettings, Names
from chatwright.errors import DataError
from chatwright.text.records import Conversation

if TYPE_CHECKING:
    from chatwright.generate.chatbot import Chatbot
    from chatwright.generate.completion import Completion

POSITIONAL = ("model",)
EXAMPLES = (
    "chatwright pairs runs/sft --data chats.jsonl --kind loops --out loops.jsonl",
    "chatwright pairs runs/sft --data chats.jsonl --answers 8 --chosen own --out pairs.jsonl",
    "chatwright dpo runs/sft --data loops.jsonl --unlikelihood 0.5 --out runs/fewer-loops",
)
Kind = Literal["loops", "speaks-for-user", "runs-on", "empty"]


class Settings(DataSettings):
    """Whose faults, on which prompts, and what stands against them."""

    model: str = Field(description="a run folder, a model folder or a hub id")
    data: Names = Field(min_length=1, description="conversations, whose last answer is what should have been said")
    out: Path = Field(description="file for the preferences, .jsonl")
    kind: list[Kind] = Field(
        default=["loops", "speaks-for-user", "runs-on"], min_length=1, description="faults that are looked for"
    )
    chosen: Literal["data", "own"] = Field(
        default="data", description="the better answer: the data's, or the model's own where one is without fault"
    )
    answers: int = Field(default=4, ge=1, description="answers to each prompt")
    each: int = Field(default=1, ge=1, description="pairs of one prompt, at most")
    max_samples: int | None = Field(default=None, ge=1, description="prompts, at most")
    max_tokens: int = Field(default=256, ge=1, description="longest answer; one that is still going on there runs on")
    temperature: float = Field(default=1.0, ge=0, le=100, description="of the answers; 0 gives each prompt one only")
    seed: int = Field(default=0, ge=0, description="the same seed gives the same answers")
    template: str | None = Field(default=None, description="chat template in place of the model's own")
    load_in: LoadInSetting = None
    device: str = Field(default="auto", description="auto, cpu, cuda or mps")


def run(settings: Settings) -> dict[str, Any]:
    """Counts of prompts, answers, faults and pairs, and where these are."""
    from chatwright.generate.chatbot import Chatbot

    _out.check_file("--out", settings.out)
    asked = _asked(settings)
    bot = Chatbot.load(settings.model, device=settings.device, template=settings.template, load_in=settings.load_in)
    counts: Counter[str] = Counter()
    answered = zip(asked, _said(settings, bot, asked), strict=True)
    rows = [row for talk, said in answered for row in _rows(settings, talk, said, counts)]
    disk.write(settings.out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    answers = len(asked) * _each(settings)
    reached = {
        "out": str(settings.out),
        "prompts": len(asked),
        "answers": answers,
        "faults": {kind: counts[kind] for kind in settings.kind},
        "pairs": len(rows),
    }
    if not settings.json:
        found = ", ".join(f"{counts[kind]:,} {kind}" for kind in settings.kind)
        console.out().print(f"{answers:,} answers to {len(asked):,} prompts: {found}", markup=False)
        console.out().print(f"{len(rows):,} pairs: {settings.out}", markup=False)
    if not rows:
        console.warn(
            f"none of {answers:,} answers has a fault of the kinds {', '.join(settings.kind)}; the file is empty. Give more "
            "--answers, a higher --temperature, or other prompts"
        )
    return reached


def _asked(settings: Settings) -> list[Conversation]:
    """The conversations that end with an answer, which is what should have been said."""
    from chatwright.data import source

    found: list[Conversation] = []
    for name in settings.data:
        read = source.read(
            name,
            kind="conversations",
            options=settings.read_options(),
            skip_bad_rows=settings.skip_bad_rows,
            max_bad_share=settings.max_bad_share,
        )
        found += [one for one in read.records if isinstance(one, Conversation) and one.messages[-1].role == "assistant"]
    if not found:
        raise DataError(
            f"{settings.data[0]}: no conversation ends with an answer; pairs need what should have been said"
        )
    return found[: settings.max_samples]


def _each(settings: Settings) -> int:
    """Answers to a prompt: without chance there is only one."""
    return settings.answers if settings.temperature else 1


def _said(settings: Settings, bot: Chatbot, asked: Sequence[Conversation]) -> Iterator[list[Completion]]:
    """The model's answers to each prompt, every one with luck of its own."""
    from chatwright.evals.benchmark import ask
    from chatwright.generate.sampling import Sampling

    each = _each(settings)
    prompts = [talk[:-1] for talk in asked for _ in range(each)]
    first = settings.seed * len(prompts)
    ways = [Sampling(settings.max_tokens, settings.temperature, seed=first + n) for n in range(len(prompts))]
    said = ask(bot, prompts, ways, "answering prompts")
    return (said[n : n + each] for n in range(0, len(said), each))


def _rows(
    settings: Settings, talk: Conversation, said: Sequence[Completion], counts: Counter[str]
) -> Iterator[dict[str, Any]]:
    """The pairs of one prompt: its faulty answers, the better one before each."""
    from chatwright.data import kept
    from chatwright.evals.faults import fault
    from chatwright.text.records import Message

    named = [(fault(one), one) for one in said]
    counts.update(name for name, _ in named)
    good = [one.text.strip() for name, one in named if not name] if settings.chosen == "own" else []
    better = Message("assistant", good[0]) if good else talk.messages[-1]
    wrong = {one.text.strip(): (name, one) for name, one in named if name in settings.kind and one.text.strip()}
    for name, one in list(wrong.values())[: settings.each]:
        worse = Message("assistant", one.text.strip(), ended=one.finish not in ("length", "context"))
        yield {**kept.preference_row(talk.messages[:-1], better, worse), "kind": name}
