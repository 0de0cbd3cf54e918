"""Where a model lies: `M` may be a run folder, its `model/`, one of its `checkpoints/step-N/`, a model folder, a hub id."""

from pathlib import Path

from chatwright import console, disk, hub
from chatwright.errors import ConfigError, NoCheckpoint

CONFIG = "config.json"
ADAPTER = "adapter_config.json"


def find(name: str | Path) -> Path:
    """The folder with the `config.json` (or `adapter_config.json`) of `M`; a local path wins over a hub id.

    Raises ConfigError when there is none.
    """
    path = Path(name)
    try:
        path.exists()
    except OSError as error:
        raise ConfigError(f"{str(name)[:80]!r} is no path ({error.strerror})") from None
    for folder in (path, path / "model"):
        if (folder / CONFIG).is_file() or is_adapter(folder):
            return folder
    if (path / "checkpoints").is_dir():
        return newest_checkpoint(path)
    if path.is_dir():
        raise ConfigError(f"{path} holds no model: there is no {CONFIG} in it, nor in its model/ folder")
    if path.exists():
        raise ConfigError(f"{path} is a file; a model is a folder with a {CONFIG}, or a hub id such as gpt2")
    if hub.is_repo_id(str(name)):
        return hub.download(str(name))
    raise ConfigError(f"{path} does not exist; a model is a folder with a {CONFIG}, or a hub id such as gpt2")


def cached(name: str, revision: str | None = None) -> Path | None:
    """The folder of a hub id in the hub's cache, as it was when it was last fetched; the hub is not asked."""
    from huggingface_hub import try_to_load_from_cache

    whole = f"{name}@{revision}" if revision else name
    if not hub.is_repo_id(whole):
        return None
    repo, wanted = hub.split(whole)
    try:
        found = try_to_load_from_cache(repo, CONFIG, revision=wanted)
    except ValueError:  # the hub's client is stricter about names
        return None
    return Path(found).parent if isinstance(found, str) else None


def is_adapter(folder: Path) -> bool:
    """Whether the folder holds a LoRA adapter, and not a whole model."""
    return (folder / ADAPTER).is_file() and not (folder / CONFIG).is_file()


def newest_checkpoint(run: Path) -> Path:
    """The newest checkpoint of a run that matches its manifest; damaged ones are named on stderr and left alone.

    Raises NoCheckpoint when there is none, or when none is whole.
    """
    folders = checkpoints(run)
    for folder in reversed(folders):
        try:
            disk.verify(folder)
        except NoCheckpoint as error:
            console.warn(f"{error}; trying the checkpoint before it")
        else:
            return folder
    if folders:
        raise NoCheckpoint(f"none of the {len(folders)} checkpoints of {run} is whole; nothing was deleted")
    raise NoCheckpoint(f"{run / 'checkpoints'} holds no checkpoint yet")


def checkpoints(run: Path) -> list[Path]:
    """Every checkpoints/step-N of a run, damaged ones too, the oldest first."""
    found = (run / "checkpoints").glob("step-*")
    return sorted((path for path in found if path.name.removeprefix("step-").isdecimal()), key=step_of)


def step_of(folder: Path) -> int:
    """The N of a folder step-N; by number, because step-1000000 sorts before step-999999 by name."""
    return int(folder.name.removeprefix("step-"))
