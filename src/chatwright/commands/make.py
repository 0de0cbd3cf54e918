"""Makes a chatbot of your own chats or rows in one go: looked at, trained, compared, and searched for what was hidden.

The data is any that `sft` takes; of an export of chats, the messages of --me are what the bot learns to say.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from chatwright import console, disk
from chatwright.commands import _out
from chatwright.data.settings import DataSettings
from chatwright.errors import ConfigError

if TYPE_CHECKING:
    from chatwright.commands._training import Data
    from chatwright.evals.proofs import Proof

POSITIONAL = ("data",)
EXAMPLES = (
    'chatwright make "WhatsApp Chat with Anna.txt" --base gpt2 --me "Ben Okafor" --out bots/ben',
    "chatwright make result.json --base primer --out bots/mine",
    "chatwright make chats.jsonl --base EleutherAI/pythia-160m --epochs 2 --out bots/support",
)
CONSENT = "consent.txt"  # in the bot's folder: it has been asked


class Settings(DataSettings):
    """What the bot learns from, what it starts from, and where it goes. Everything else has a default that fits."""

    data: str = Field(description="an export of chats, or any file, folder or hub dataset that sft takes")
    base: str = Field(
        default="gpt2", description="the model to start from: a hub id, a folder, or primer, which needs no network"
    )
    out: str = Field(description="folder of the bot")
    epochs: float = Field(default=3.0, gt=0, allow_inf_nan=False, description="times through the chats")
    lr: float | None = Field(default=None, gt=0, allow_inf_nan=False, description="highest learning rate")
    seq_len: int = Field(default=512, ge=2, description="tokens of a row; the model's window where that is shorter")
    max_truncated_share: float = Field(
        default=0.2, ge=0, le=1, description="of the conversations, that may lose their end at --seq-len"
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="fixes the order of the data and what is drawn")
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1 or mps")
    resume: bool = Field(default=False, description="go on with the run in --out")
    proofs: Literal["strict", "warn"] = Field(
        default="strict", description="a red proof ends with exit code 6, or only warns"
    )
    yes: bool = Field(default=False, description="the others in the chats have been asked; do not ask me")


def run(settings: Settings) -> dict[str, Any]:
    """The figures of the training, with the account of what was hidden and whether any of it comes back."""
    from chatwright.commands import _making as making
    from chatwright.commands import sft

    _out.check(Path(settings.out))
    chats = making.read(settings)
    if not settings.json:
        making.tell(chats)
    _ask(settings, chats.others)
    base = making.base(settings)
    look = making.look(settings, base)

    def more(folder: Path, data: "Data") -> "list[Proof]":
        return making.privacy_proofs(settings, folder, data, chats)

    reached = sft.learn(making.sft_settings(settings, base, look), more)
    commands = [f"chatwright chat {settings.out}", f'chatwright chat {settings.out} -p "Hello!"']
    if not settings.json:
        out = console.out()
        out.print(f"\nYour bot is in {settings.out}. Talk to it:", markup=False, highlight=False)
        for command in commands:
            out.print(f"  {command}", style="cyan", markup=False, highlight=False, soft_wrap=True)
    found = [one.as_dict() for one in chats.reports]
    return {**reached, "base": base, "check": look["html"], "chats": found, "next": commands}


def _ask(settings: Settings, others: int) -> None:
    """Asks once, in words, about the people who wrote the other half; where nobody can answer, it is said."""
    asked = Path(settings.out) / CONSENT
    if settings.yes or not others or asked.exists():
        return
    people = "one other person wrote" if others == 1 else f"{others} other people wrote"
    console.warn(
        f"{people} part of these chats, and the bot will have read their words; ask them before you train on those or "
        "give the bot to anybody"
    )
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    try:
        answer = input("Do they agree? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().casefold() not in ("y", "yes"):
        raise ConfigError("nothing was trained; give the same command again when they agree")
    disk.write(asked, "The owner of these chats said that the others in them agree.\n")
