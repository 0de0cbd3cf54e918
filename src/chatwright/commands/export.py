"""Writes a model for other programs, and proves that it still says the same.

`hf` is a whole Hugging Face folder with an adapter folded in; `adapter` is the adapter alone, as PEFT reads it. What the
run wrote down goes with it: its card, licence and measurements, and its proofs beside that of the export.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from chatwright import console, disk, hub
from chatwright.commands import _out
from chatwright.config import Settings as Common
from chatwright.errors import RedProof

if TYPE_CHECKING:
    from chatwright.commands._provenance import Known
    from chatwright.evals.proofs import Proof

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
    out: Path = Field(description="folder to write; it must not hold anything yet")
    save_dtype: Literal["fp32", "bf16", "fp16"] = Field(default="fp32", description="precision of the written weights")
    template: str | None = Field(default=None, description="chat template in place of the model's own")
    proofs: Literal["strict", "warn"] = Field(
        default="strict", description="a red proof ends with exit code 6, or only warns"
    )


def run(settings: Settings) -> dict[str, Any]:
    """Writes the export, reads it again and holds its answers against the original's."""
    from chatwright import registry
    from chatwright.checkpoint import find
    from chatwright.commands import _provenance as provenance

    out = settings.out
    _out.check(out, new=True)
    writer = registry.load("export", settings.to)
    found = provenance.known(settings.model, find(settings.model))
    _write(settings, found, writer)
    _carry(found, out, _unproven())  # stopped from here on, it stays one that is not pushed
    shown = _proof(settings)
    _carry(found, out, shown)
    files = {path.name: path.stat().st_size for path in sorted(out.iterdir()) if path.is_file()}
    result = {"out": str(out), "to": settings.to, "files": files, "proofs": {shown.name: shown.state}}
    if not settings.json:
        console.out().print(f"{out}: {len(files)} files, {sum(files.values()) / 1e6:,.1f} MB", markup=False)
        console.out().print(f"export {shown.state}: {shown.says}", markup=False)
    if shown.state == "red" and settings.proofs == "strict":
        raise RedProof(f"the proof 'export' is red: {shown.says} It is written in {out}", result)
    return result


def _write(settings: Settings, found: Known, writer: ModuleType) -> None:
    """The files of the model. Its weights are let go before the proof reads them anew: a merge has changed them."""
    from chatwright.checkpoint import Checkpoint
    from chatwright.models.device import DTYPES
    from chatwright.train import card

    checkpoint = Checkpoint.load(settings.model, template=settings.template, quiet=True)
    checkpoint.save_dtype = DTYPES[settings.save_dtype]
    # the hub id at the end of the road: the runs between are not where the export goes
    base = card.base_of(found.metadata, found.folder)
    metadata = {name: value for name, value in found.metadata.items() if name != "base_fingerprint"}
    writer.write(checkpoint, settings.out, {**metadata, "base_model": base} if base else metadata or None)


def _proof(settings: Settings) -> Proof:
    """The export proof; two models are held at once."""
    from chatwright.checkpoint import Checkpoint
    from chatwright.evals.reexport import proof

    original = Checkpoint.load(settings.model, template=settings.template, quiet=True)
    return proof(original, Checkpoint.load(settings.out, quiet=True), settings.save_dtype)


def _unproven() -> Proof:
    from chatwright.evals.proofs import Proof

    return Proof("export", "red", "the export was stopped before its answers were compared.")


def _carry(found: Known, out: Path, shown: Proof) -> None:
    """Puts proofs, report, licence and card beside the weights. A red proof of an earlier export stays."""
    from chatwright.commands import _provenance as provenance
    from chatwright.evals import proofs

    own = [one for one in found.proofs if one.name != shown.name or one.state == "red"]
    proofs.write(out, [*own, shown])
    if found.report is not None:
        disk.write_json(out / provenance.REPORT, found.report)
    with disk.room(out):
        for path in _texts(found.folder):
            shutil.copyfile(path, out / path.name)
    if not found.own_card:
        written = provenance.written_card(found, out, out.absolute().name, shown=[*own, shown])
        disk.write(out / provenance.README, written)


def _texts(folder: Path) -> Iterator[Path]:
    """The licence of the base, where there is one, then licence and card of the model itself."""
    from chatwright.checkpoint import adapter
    from chatwright.checkpoint.places import is_adapter
    from chatwright.commands import _provenance as provenance

    if is_adapter(folder):
        base = adapter.base_folder(folder, adapter.read(folder))
        yield from (path for path in _texts(base) if path.name != provenance.README)
    yield from (path for path in sorted(folder.iterdir()) if path.is_file() and hub.is_about_model(path.name))
