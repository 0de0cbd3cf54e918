"""The steps of `make`: the chats read, the base found, the data looked at, settings that fit, and what was hidden sought.

In come the settings of `make`, out come those of `check` and `sft`, which do the work.
"""

import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from chatwright import console
from chatwright.checkpoint.shape import shape_of
from chatwright.commands import check, doctor, quickstart
from chatwright.commands import sft as sft_verb
from chatwright.commands._road_end import LAST
from chatwright.commands._training import Data
from chatwright.data import source
from chatwright.data.chats import ChatReport
from chatwright.data.settings import DataSettings
from chatwright.evals import memory
from chatwright.evals.proofs import Proof
from chatwright.generate.chatbot import Chatbot
from chatwright.models.device import device_of
from chatwright.text.records import Conversation

if TYPE_CHECKING:
    from chatwright.commands.make import Settings

REDACTION = "redaction.json"  # in the bot's folder; for its owner's eyes, with the originals in it
HERE = Path("runs") / "quickstart"  # where `chatwright quickstart` leaves the primer's chatbot
BYTES = 16  # of a trained parameter: weight, gradient and AdamW's two moments in fp32
FROZEN = 2  # of one that is held in bf16
ROOM = 0.6  # of the free memory that these may take; the rest is for activations
RANK = 16
FEWEST = 60  # steps, where the data has as much to say; it is not read more often than MOST_EPOCHS times for it
MOST_EPOCHS = 20
BATCH = 4
LR, LR_SIZE = 5e-5, 124_000_000  # of GPT-2 124M; models smaller by a factor take a rate higher by as much,
SMALL_LR = 5e-4  # up to this one


@dataclass(frozen=True)
class Chats:
    """What was made of each export, nothing for data that is none, and the conversations, told apart by their split."""

    reports: list[ChatReport]
    trained: list[Conversation]
    held_out: list[Conversation]

    @property
    def others(self) -> int:
        """People who wrote, apart from the owner."""
        return sum(len(one.others) for one in self.reports)


def read(settings: "Settings") -> Chats:
    """Reads everything once. DataError where too much of it cannot be used."""
    stream = source.open(settings.data, "conversations", settings.read_options())
    parts: dict[bool, list[Conversation]] = {True: [], False: []}
    for found in stream:
        if isinstance(found, Conversation) and found.source.split:  # of an export, which memory has room for
            parts[found.source.split == "train"].append(found)
    source.judge(stream.report, settings.skip_bad_rows, settings.max_bad_share)
    return Chats(stream.chats, parts[True], parts[False])


def tell(chats: Chats) -> None:
    """What was hidden, on stdout; who is who only where a person looks at it."""
    out = console.out()
    for chat in chats.reports:
        if chat.redaction is not None:
            lines = [*chat.redaction.lines(), *(chat.redaction.legend() if sys.stdout.isatty() else ())]
            for line in lines:
                out.print(console.clean(line), markup=False, highlight=False)


def base(settings: "Settings") -> str:
    """The model to start from; the primer's chatbot is made where there is none, which takes minutes, once."""
    if settings.base != "primer":
        return settings.base
    for place in (HERE, _own_place()):
        if (place / LAST / "model" / "config.json").exists():
            return str(place / LAST)
    console.note(f"the primer's chatbot is made first, in some eight minutes, and kept in {_own_place()}")
    quickstart.run(quickstart.Settings(out=_own_place(), json=True, proofs="warn"))
    return str(_own_place() / LAST)


def look(settings: "Settings", model: str) -> dict[str, Any]:
    """What `check` finds in the data, with its page in the bot's folder; it ends here where training would."""
    page = Path(settings.out) / "check.html"
    given = {**_reading(settings), "data": settings.data, "model": model, "seq_len": _window(settings, model)}
    return check.run(check.Settings(**given, html=page, rows=0, json=True))


def sft_settings(settings: "Settings", model: str, found: dict[str, Any]) -> sft_verb.Settings:
    """Steps for as many rows as there are, all of the model or an adapter, as the memory allows."""
    rows = max(1.0, found["lengths"]["total"] / _window(settings, model))
    most = max(1, math.ceil(MOST_EPOCHS * rows / BATCH))
    steps = max(math.ceil(settings.epochs * rows / BATCH), min(FEWEST, most))
    given: dict[str, Any] = {
        **_reading(settings),
        "model": model,
        "data": [settings.data],
        "out": settings.out,
        "steps": steps,
        "batch_size": BATCH,
        "seq_len": _window(settings, model),
        "seed": settings.seed,
        "device": settings.device,
        "resume": settings.resume,
        "json": settings.json,
        "proofs": settings.proofs,
        **_method(settings, model),
    }
    if settings.lr is not None:
        given["lr"] = settings.lr
    elif "lora" not in given:  # small models learn little at the rate of large ones
        given["lr"] = min(SMALL_LR, LR * LR_SIZE / shape_of(model).size)
    return sft_verb.Settings.model_validate(given)


def privacy_proofs(settings: "Settings", folder: Path, data: Data, chats: Chats) -> list[Proof]:
    """What was hidden, and whether the finished bot says any of it, or long pieces of what it has never read."""
    redactions = [chat.redaction for chat in chats.reports if chat.redaction is not None]
    secrets = sorted({secret for one in redactions for secret in one.secrets})
    trained, held_out = chats.trained or data.samples("train"), chats.held_out or data.samples("validation", "test")
    bot = Chatbot.load(str(folder), device=settings.device)
    found = memory.probe(bot, secrets, held_out, trained)
    for number, one in enumerate(redactions, start=1):
        one.write(folder / (REDACTION if len(redactions) == 1 else f"{number}-{REDACTION}"))
    return [*(_hidden(one.as_dict(), one.lines()) for one in redactions), memory.proof(found)]


def _own_place() -> Path:
    """Where the primer's chatbot is kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chatwright" / "primer"


def _hidden(figures: dict[str, Any], lines: Sequence[str]) -> Proof:
    return Proof("redaction", "green", f"{lines[1]}. {lines[0][:1].upper()}{lines[0][1:]}.", figures)


def _reading(settings: "Settings") -> dict[str, Any]:
    """The settings of reading, as every verb that reads has them."""
    return {name: getattr(settings, name) for name in DataSettings.model_fields if name not in ("json",)}


def _window(settings: "Settings", model: str) -> int:
    """--seq-len, or the model's window where that is shorter."""
    return min(settings.seq_len, shape_of(model).context_length)


def _method(settings: "Settings", model: str) -> dict[str, Any]:
    """All of the model, an adapter beside it in bf16, or an adapter beside it in four bits: the first that fits."""
    size, free = shape_of(model).size, _free_memory(settings.device)
    if free is None or size * BYTES <= free * ROOM:
        return {}
    says = f"{size:,} parameters, all of them learning, do not fit into the {free / 1e9:.1f} GB that are free"
    way = {"lora": {"rank": RANK}, "checkpointing": True}
    if size * FROZEN <= free * ROOM:
        console.note(f"{says}: an adapter learns beside them")
        return way
    console.note(f"{says}: they are held in four bits, and an adapter learns beside them")
    return {**way, "load_in": "4bit"}


def _free_memory(device: str) -> float | None:
    """Bytes that are free where the model will be, as far as the system says."""
    place = device_of(device)
    if place.type == "cuda":
        return float(torch.cuda.mem_get_info(place)[0])
    gib = doctor.room()["memory_free_gib"]
    return None if gib is None else gib * doctor.GIB
