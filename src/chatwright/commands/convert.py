"""Makes the Hugging Face folder of an old checkpoint: a pickle, of Hugging Face's, nanoGPT's or the book's layout.

The only verb that opens pickles (.bin, .pt, .pth, .ckpt), in a process of its own that runs no code they bring.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from chatwright import config, console
from chatwright.commands import _out

POSITIONAL = ("old",)
EXAMPLES = (
    "chatwright convert old/gpt2-medium --out models/gpt2-medium",
    "chatwright convert nanoGPT/out/ckpt.pt --tokenizer models/gpt2 --out models/mine",
    "chatwright convert gpt2-small-124M.pth --heads 12 --tokenizer models/gpt2 --out models/book",
)


class Settings(config.Settings):
    """The old checkpoint, where its folder goes, and what the checkpoint does not say about itself."""

    old: Path = Field(description="a .bin, .pt, .pth or .ckpt file, or a folder with one model in such files")
    out: Path = Field(description="new folder for the model")
    tokenizer: Path | None = Field(
        default=None, description="folder with tokenizer.json (or GPT-2's two files), where OLD brings no vocabulary"
    )
    config_from: Path | None = Field(
        default=None, description="JSON file with the model's settings, in place of what lies beside OLD"
    )
    heads: int | None = Field(default=None, ge=1, description="attention heads, for the book's layout without settings")
    activation: Literal["gelu", "gelu_new"] | None = Field(
        default=None, description="gelu_new for a nanoGPT from before 2023's change to the exact GELU"
    )


def run(settings: Settings) -> dict[str, Any]:
    """What was recognised and what was written: layout, tensors, parameters, bytes, and notes on what was assumed."""
    from chatwright.convert.conversion import Wanted, convert
    from chatwright.convert.layouts.old import Options

    _out.check(settings.out, new=True)
    options = Options(settings.heads, settings.activation)
    report = convert(settings.old, Wanted(settings.out, settings.tokenizer, settings.config_from, options))
    for line in report.notes:
        console.note(line)
    if not settings.json:
        out = console.out()
        out.print(f"{report.old}: {report.layout}, {report.old_tensors} tensors", markup=False)
        out.print(
            f"{report.out}: {report.model_type}, {report.parameters:,} parameters in {report.tensors} tensors, "
            f"{report.bytes / 1e6:.1f} MB",
            markup=False,
        )
    return asdict(report)
