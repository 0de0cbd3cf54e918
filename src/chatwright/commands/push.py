"""Uploads a model to the hub, with a card that says what it is, what was measured and how to load it.

Only the files that make a model are sent, by their names, and its licence: nothing else that lies beside them, nothing
from outside its folder, and no path of this machine. A run or an export with a red proof is refused.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from chatwright import console, hub
from chatwright.config import Settings as Common
from chatwright.errors import ConfigError, DataError, RedProof

POSITIONAL = ("model", "repo")
EXAMPLES = (
    "chatwright push runs/mine me/my-model --dry-run",
    "chatwright push runs/mine me/my-model --private",
    'chatwright push runs/lora me/my-adapter --revision rank-8 --message "Rank 8"',
)


class Settings(Common):
    """What goes where."""

    model: str = Field(description="a run folder, a model folder or a hub id")
    repo: str = Field(description="where to put it: owner/name; it is made if it is not there")
    private: bool = Field(default=False, description="make the repository for you alone")
    revision: str | None = Field(default=None, description="branch to put it on, made if it is not there")
    message: str = Field(default="Upload with chatwright", min_length=1, description="what the commit says")
    dry_run: bool = Field(default=False, description="only show what would be sent")
    proofs: Literal["strict", "warn"] = Field(
        default="strict", description="a red proof ends with exit code 6, or only warns"
    )


def run(settings: Settings) -> dict[str, Any]:
    """What was sent and left out, with sizes in bytes, and where it is now."""
    if not hub.is_repo_id(settings.repo) or settings.repo.count("/") != 1 or "@" in settings.repo:
        raise ConfigError(f"{settings.repo!r} is no repository; give owner/name (a branch with --revision)")
    parcel = _packed(settings)
    sizes = {name: _size(contents) for name, contents in parcel.files.items()}
    result: dict[str, Any] = {
        "repo": settings.repo,
        "revision": settings.revision or "main",
        "dry_run": settings.dry_run,
        "files": sizes,
        "left_out": parcel.left_out,
        "proofs": parcel.proofs,
    }
    if not settings.json:
        _show(settings, sizes, parcel.left_out)
    if settings.dry_run:
        return result
    pushed = hub.upload(
        settings.repo,
        parcel.files,
        private=settings.private,
        revision=settings.revision,
        message=settings.message,
    )
    if not settings.json:
        for name in pushed.removed:
            console.out().print(f"removed, because it was of the model before: {name}", markup=False)
        console.out().print(pushed.url, markup=False)
    return {**result, "url": pushed.url, "commit": pushed.commit, "removed": list(pushed.removed)}


@dataclass(frozen=True)
class Parcel:
    """The files by their names in the repository, what stays behind, and each proof with its colour."""

    files: dict[str, Path | bytes]
    left_out: list[str]
    proofs: dict[str, str]


def _packed(settings: Settings) -> Parcel:
    """What there is to send. Raises RedProof, and ConfigError for what nobody could load from the hub."""
    from chatwright.checkpoint import find
    from chatwright.commands import _provenance as provenance

    folder = find(settings.model)
    _check_loads(folder, settings.model)
    found = provenance.known(settings.model, folder)
    for proof in (one for one in found.proofs if one.state == "red"):
        says = f"the proof {proof.name!r} of {found.run} is red: {proof.says}"
        if settings.proofs == "strict":
            raise RedProof(f"{says} Nothing is uploaded; --proofs warn uploads it all the same")
        console.warn(says)
    present = sorted(folder.iterdir())
    kept = {path.name: path for path in present if path.is_file() and _is_sent(path.name)}
    files: dict[str, Path | bytes] = {**kept}
    if provenance.METADATA in kept:
        files[provenance.METADATA] = _shareable(kept[provenance.METADATA])
    if not found.own_card:
        title = settings.repo.partition("/")[2]
        files[provenance.README] = provenance.written_card(found, folder, title, repo=settings.repo).encode()
    left_out = [path.name + "/" * path.is_dir() for path in present if path.name not in files]
    return Parcel(dict(sorted(files.items())), left_out, {proof.name: proof.state for proof in found.proofs})


def _shareable(metadata: Path) -> bytes:
    """training_metadata.json, of the paths on this machine only their ends."""
    from chatwright.checkpoint import read_json
    from chatwright.train import card

    return (json.dumps(card.without_paths(read_json(metadata)), indent=2, ensure_ascii=False) + "\n").encode()


def _check_loads(folder: Path, name: str) -> None:
    """Refuses a folder that lacks its weights, and an adapter on a base that only this machine has."""
    from chatwright.checkpoint import adapter as adapters
    from chatwright.checkpoint import read_config
    from chatwright.checkpoint.places import is_adapter

    if not any(path.suffix == ".safetensors" and hub.is_model_file(path.name) for path in folder.iterdir()):
        raise DataError(f"{folder} has no weights in safetensors files; there is no model to upload")
    if not is_adapter(folder):
        read_config(folder)
        return
    base = adapters.read(folder).base
    if not hub.is_repo_id(base) or Path(base).exists() or (folder.parent / "base").is_dir():
        raise ConfigError(
            f"{folder} is an adapter on {base}, a base that only this machine has; fold it in first: "
            f"chatwright export {name} --out DIR, then push DIR"
        )


def _is_sent(name: str) -> bool:
    return hub.is_model_file(name) or hub.is_about_model(name)


def _size(contents: Path | bytes) -> int:
    return len(contents) if isinstance(contents, bytes) else contents.stat().st_size


def _show(settings: Settings, sizes: dict[str, int], left_out: list[str]) -> None:
    """The files with their sizes, as they will be or would be sent."""
    out = console.out()
    for name, size in sizes.items():
        out.print(f"{size:>15,}  {name}", markup=False)
    total = f"{len(sizes)} files, {sum(sizes.values()) / 1e6:,.1f} MB"
    branch = f"@{settings.revision}" if settings.revision else ""
    out.print(f"{total}, {'would go' if settings.dry_run else 'go'} to {settings.repo}{branch}", markup=False)
    if left_out:
        console.note(f"not part of the model, and not sent: {', '.join(left_out)}")
