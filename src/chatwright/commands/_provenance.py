"""What is known of a model that goes to others: what its run wrote down, proved and measured. push and export read it.

In comes `M` and its folder, out comes the card. An export keeps its proofs in its own folder, a run above its model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatwright.checkpoint import read_json
from chatwright.checkpoint.places import ADAPTER, is_adapter
from chatwright.checkpoint.texts import template_source
from chatwright.evals import proofs
from chatwright.evals.proofs import Proof
from chatwright.models.reward import is_reward
from chatwright.train import card

README, METADATA = "README.md", "training_metadata.json"
REPORT = Path("report") / "report.json"


@dataclass(frozen=True)
class Known:
    """`folder` is the model's, `run` its run's (the same where there is none); `metadata` as it was written."""

    folder: Path
    run: Path
    metadata: dict[str, Any]
    proofs: tuple[Proof, ...]

    @property
    def report(self) -> dict[str, Any] | None:
        """What was evaluated, where it was."""
        return read_json(self.run / REPORT) if (self.run / REPORT).is_file() else None

    @property
    def own_card(self) -> str:
        """The README.md that somebody made their own, and that is left as it is; "" where there is none."""
        path = self.folder / README
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        return "" if card.is_ours(text) else text


def known(model: str, folder: Path) -> Known:
    """What there is to know of `M`, which was found in `folder`. DataError for files that are broken."""
    metadata = read_json(folder / METADATA) if (folder / METADATA).is_file() else {}
    if not Path(model).exists():  # somebody's model, from the hub
        metadata = {"base_model": model, **metadata}
    run = run_of(folder)
    return Known(folder, run, metadata, tuple(proofs.load(run)))


def run_of(folder: Path) -> Path:
    """The run that a model folder is the model/ or one of the checkpoints/step-N of; itself where it has proofs."""
    place = folder if folder.name not in ("", "..") else folder.resolve()
    if (place / proofs.FILE).is_file():
        return place
    if place.name == "model":
        return place.parent
    return place.parent.parent if place.absolute().parent.name == "checkpoints" else place


def written_card(
    found: Known, folder: Path, title: str, *, repo: str = "", shown: Sequence[Proof] | None = None
) -> str:
    """The README.md for `folder`, which is the model's own or what was made of it."""
    metadata = found.metadata
    if is_adapter(folder):
        metadata = {**metadata, "base_model": read_json(folder / ADAPTER)["base_model_name_or_path"]}
    whole = card.Card(
        title=title,
        folder=found.folder,
        metadata=metadata,
        chat=template_source(folder) is not None,
        adapter=is_adapter(folder),
        scores=not is_adapter(folder) and is_reward(read_json(folder / "config.json")),
        repo=repo,
        proofs=found.proofs if shown is None else shown,
        report=found.report,
    )
    return card.text(whole)
