"""What a run needs to go on as if nothing had happened: weights, optimizer, cursor, step, and the machine it ran on.

Nothing random is stored: every random choice is made from (seed, step), so there is no generator whose state matters.
"""

import json
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from pydantic_core import to_jsonable_python
from safetensors.torch import load_file, save_file
from torch import nn

from chatwright import console, disk
from chatwright.checkpoint import Checkpoint, checkpoints, newest_checkpoint, read_json
from chatwright.errors import ConfigError, DataError
from chatwright.models.kernels.library import library
from chatwright.train.run_folder import RunFolder

BESIDE = "beside.safetensors"


def trained(policy: Checkpoint, beside: nn.Module | None) -> nn.Module:
    """One module of all that an optimizer moves; the policy alone has its own parameters' names."""
    return policy.model if beside is None else nn.ModuleDict({"policy": policy.model, "beside": beside})


@dataclass
class Progress:
    """Where a run stands after `step` optimizer steps."""

    step: int = 0
    cursor: dict[str, Any] | None = None
    tokens: int = 0
    seconds: float = 0.0
    best_loss: float | None = None
    best_step: int = 0
    without_better: int = 0
    visited: int = 0  # the last step whose validation, sample and checkpoint are done
    loss_scale: dict[str, Any] | None = None  # of fp16


def save(
    run: RunFolder,
    policy: Checkpoint,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    settings: dict[str, Any],
    beside: nn.Module | None = None,
) -> Path:
    """Writes checkpoints/step-N, a whole model folder with resume/ in it, sealed by its manifest. Raises DiskFull.

    `beside` is what is trained with the policy and only kept to be gone on with.
    """
    folder = run.checkpoints / f"step-{progress.step:06d}"
    with disk.new_folder(folder, manifest=True) as temporary:
        policy.write(temporary)
        (temporary / "resume").mkdir()
        tensors = _optimizer_tensors(trained(policy, beside), optimizer)
        save_file(tensors, temporary / "resume" / "optimizer.safetensors")
        if beside is not None:
            own = {name: value.detach().cpu().contiguous() for name, value in beside.state_dict().items()}
            save_file(own, temporary / "resume" / BESIDE)
        state = {"progress": asdict(progress), "machine": machine(), "settings": settings}
        (temporary / "resume" / "state.json").write_text(json.dumps(state, indent=2))
    return folder


def load(
    run: RunFolder,
    policy: Checkpoint,
    optimizer: torch.optim.Optimizer,
    settings: Mapping[str, Any],
    default: Mapping[str, Any],
    beside: nn.Module | None = None,
) -> Progress:
    """Puts the newest whole checkpoint into policy, optimizer and what is trained beside the policy.

    Raises NoCheckpoint; ConfigError for other settings.
    """
    folder = newest_checkpoint(run.path)
    state = read_json(folder / "resume" / "state.json")
    check_settings(run, state["settings"], settings, default)
    torch.set_num_threads(state["machine"]["threads"])  # sums are added up in another order by another number of them
    changed = [f"{k} {v} is now {machine()[k]}" for k, v in state["machine"].items() if machine()[k] != v]
    if changed:
        console.warn(
            f"resuming elsewhere ({'; '.join(changed)}): the result will be close, but not the same bit for bit"
        )
    policy.restore(folder)
    if beside is not None:
        beside.load_state_dict(load_file(folder / "resume" / BESIDE))
    _load_optimizer(trained(policy, beside), optimizer, folder / "resume" / "optimizer.safetensors")
    return Progress(**state["progress"])


def check(run: RunFolder, settings: Mapping[str, Any], kind: type[BaseModel]) -> None:
    """Raises ConfigError where the run in this folder had other settings; nothing where there is none to go on with.

    For what costs something and comes before `load`, which has the last word: it also looks whether a checkpoint is whole.
    """
    for folder in checkpoints(run.path)[-1:]:
        with suppress(DataError, OSError):
            state = read_json(folder / "resume" / "state.json")
            check_settings(run, state.get("settings", {}), settings, defaults(kind))


def check_settings(
    run: RunFolder, had: Mapping[str, Any], settings: Mapping[str, Any], default: Mapping[str, Any], group: str = ""
) -> None:
    """Raises ConfigError naming the first setting that a run had otherwise.

    One that its version did not know yet had the value that is now the default: it did what that version did.
    """
    for name, value in settings.items():
        usual = default.get(name)
        former = had.get(name, usual)
        if isinstance(value, dict) and isinstance(former, dict):
            check_settings(run, former, value, usual if isinstance(usual, dict) else {}, f"{group}{name}.")
        elif former != value:
            raise ConfigError(
                f"{run.path} was trained with {group}{name} {former!r}, not {value!r}; "
                "resume with the settings it had, or give another --out"
            )


def defaults(settings: type[BaseModel]) -> dict[str, Any]:
    """What every setting is that nobody gives, as a run writes it down."""
    optional = {name: field for name, field in settings.model_fields.items() if not field.is_required()}
    return {name: to_jsonable_python(field.get_default()) for name, field in optional.items()}


def machine() -> dict[str, Any]:
    """What arithmetic depends on besides the program: bits are only promised between equal ones."""
    processor = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    own = "none" if library() is None else "compiled"  # what answers are written with while practising
    versions = {"torch": str(torch.__version__), "kernels": own}
    return {"processor": processor, **versions, "threads": torch.get_num_threads()}


def _optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    return {
        f"{key}/{name}": value.detach().cpu().contiguous()
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _load_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, path: Path) -> None:
    parameters = dict(model.named_parameters())
    for full, value in load_file(path).items():
        key, name = full.split("/", 1)
        parameter = parameters[name]
        # AdamW keeps its step counter on the CPU unless it is fused, then beside the parameter
        optimizer.state[parameter][key] = value.to(parameter.device)
