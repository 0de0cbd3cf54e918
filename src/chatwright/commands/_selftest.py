"""The proof of `doctor --resume M`: a run that was interrupted and resumed ends with the bytes of an undisturbed one."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from chatwright import disk
from chatwright.commands import sft
from chatwright.evals.proofs import Proof

STEPS = 6  # interrupted after half of them
ROWS = 64  # conversations of the primer that it learns from
FILES = ("model/model.safetensors", f"checkpoints/step-{STEPS:06d}/resume/optimizer.safetensors")


def resume_proof(model: str, device: str = "auto") -> Proof:
    """Tunes M for a few steps in a temporary folder, then again from the checkpoint half-way, and compares the bytes."""
    with tempfile.TemporaryDirectory(prefix="chatwright-") as name:
        undisturbed, resumed = Path(name) / "undisturbed", Path(name) / "resumed"
        _tune(model, undisturbed, device, resume=False)
        half = Path("checkpoints") / f"step-{STEPS // 2:06d}"
        shutil.copytree(undisturbed / half, resumed / half)
        for file in ("config.yaml", "sanity.json"):
            shutil.copy(undisturbed / file, resumed / file)
        _tune(model, resumed, device, resume=True)
        sums = {file: (disk.sha256(undisturbed / file), disk.sha256(resumed / file)) for file in FILES}
    different = [file for file, (first, second) in sums.items() if first != second]
    figures: dict[str, Any] = {"steps": STEPS, "interrupted_after": STEPS // 2, "sha256": sums[FILES[0]][0]}
    if different:
        return Proof("resume", "red", f"{different[0]} differs between the undisturbed and the resumed run.", figures)
    says = f"{STEPS} steps, and {STEPS // 2} steps + resume + {STEPS // 2}, end with the same bytes in weights and optimizer."
    return Proof("resume", "green", says, figures)


def _tune(model: str, out: Path, device: str, *, resume: bool) -> None:
    given = {
        "model": model,
        "data": f"primer:conversations#{ROWS}",
        "out": str(out),
        "steps": STEPS,
        "batch_size": 2,
        "save_every": STEPS // 2,
        "keep": STEPS,
        "compare": False,
        "from_scratch": True,  # what the weights know is not the question here
        "skip_bad_rows": True,
        "max_bad_share": 1.0,
        "proofs": "warn",
        "device": device,
        "resume": resume,
        "json": True,
    }
    sft.run(sft.Settings.model_validate(given))
