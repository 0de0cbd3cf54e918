"""Writes a model for other programs, and proves that it still says the same.

`hf` is a whole Hugging Face folder with an adapter folded in; `adapter` is the adapter alone, as PEFT reads it.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from chatwright import console
from chatwright.config import Settings as Common
from chatwright.errors import ConfigError, RedProof

POSITIONAL = ("model",)
EXAMPLES = (
    "chatwright export runs/lora --out merged",
    "chatwright export runs/lora --to hf --save-dtype bf16 --out merged-bf16",
    "chatwright export runs/lora --to adapter --out adapter",
)


class Settings(Common):
    """What is written, and where."""

    model: str = Field(description="a run folder, a model folder or a hub id")
    to: str = Field(default="hf", description="hf (a whole folder) or adapter")
    out: str = Field(description="folder to write; it must not hold anything yet")
    save_dtype: Literal["fp32", "bf16", "fp16"] = Field(default="fp32", description="precision of the written weights")
    proofs: Literal["strict", "warn"] = Field(
        default="strict", description="a red proof ends with exit code 6, or only warns"
    )


def run(settings: Settings) -> dict[str, Any]:
    """Writes the export, reads it again and holds its answers against the original's."""
    from chatwright import registry
    from chatwright.checkpoint import Checkpoint
    from chatwright.evals.reexport import proof
    from chatwright.models.device import DTYPES

    writer = registry.load("export", settings.to)
    out = Path(settings.out)
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise ConfigError(f"--out {out} is there already; give another folder")
    checkpoint = Checkpoint.load(settings.model, quiet=True)
    checkpoint.save_dtype = DTYPES[settings.save_dtype]
    writer.write(checkpoint, out)
    shown = proof(Checkpoint.load(settings.model, quiet=True), Checkpoint.load(out, quiet=True), settings.save_dtype)
    files = {path.name: path.stat().st_size for path in sorted(out.iterdir())}
    result = {"out": str(out), "to": settings.to, "files": files, "proofs": {shown.name: shown.state}}
    if not settings.json:
        console.out().print(f"{out}: {len(files)} files, {sum(files.values()) / 1e6:,.1f} MB")
        console.out().print(f"export {shown.state}: {shown.says}")
    if shown.state == "red" and settings.proofs == "strict":
        raise RedProof(f"the proof 'export' is red: {shown.says} It is written in {out}", result)
    return result
