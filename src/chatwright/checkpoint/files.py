"""Files of a model folder: JSON read with a sentence for each way to be broken, all written the same way every time."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from chatwright import hub
from chatwright.errors import DataError

LARGEST_JSON = 64 * 2**20  # bytes; the index of a model in a thousand shards takes a few MB


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; DataError names the file when it is missing, is none, or is absurdly large."""
    try:
        size = path.stat().st_size
        if size > LARGEST_JSON:
            raise DataError(f"{path} has {size >> 20} MB; a model's JSON files have less than {LARGEST_JSON >> 20} MB")
        contents = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} is missing") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON ({error})") from None
    if not isinstance(contents, dict):
        raise DataError(f"{path} holds {type(contents).__name__}, not a JSON object")
    return contents


def write_json(path: Path, contents: Any) -> None:
    path.write_text(json.dumps(contents, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """A safetensors file, for whoever may read what this user writes; the library makes it for the owner alone."""
    # more metadata than this would be written in a random order, and equal runs would differ in their bytes
    save_file(dict(tensors), path, metadata={"format": "pt"})
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def stay_inside(folder: Path, files: Iterable[Path] | None = None) -> None:
    """Raises DataError for a link in a model folder that leads out of it; a hub cache links into its own repository.

    `files`: the only ones of the folder that matter, where it is not a model's own.
    """
    root = folder.resolve()
    # the blobs of a repository may be links into those that all repositories of the cache share
    allowed = [root.parents[1], root.parents[2] / "blobs"] if hub.is_cache(root) else [root]
    for entry in folder.iterdir() if files is None else files:
        if entry.is_symlink() and not any(entry.resolve().is_relative_to(place) for place in allowed):
            raise DataError(f"{entry} is a link out of its folder, to {entry.resolve()}; put the file itself there")
