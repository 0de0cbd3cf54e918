"""Weights in safetensors files: one or shards, checked against config.json before memory is taken, read one by one."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from chatwright import registry
from chatwright.checkpoint.files import read_json, save_tensors, stay_inside, write_json
from chatwright.errors import DataError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
FLOATS = ("F64", "F32", "F16", "BF16")
SHARD = 2 * 10**9  # bytes of one file; what is larger is written in several, so that writing needs little memory
HEAD = 64  # numbers of each tensor that go into a fingerprint


class Weights(Mapping[str, Tensor]):
    """Tensors by name, each read from its file when it is asked for, so that a model never stands in memory twice.

    Each gets a mapping of the file of its own, which goes when the tensor does: one for all of them would keep every page
    that was read.
    """

    def __init__(self, paths: list[Path]) -> None:
        """Raises DataError for a file that is no safetensors file or is cut short."""
        self._open = ExitStack()
        self._files: dict[str, Any] = {}
        self._paths: dict[str, Path] = {}
        for path in paths:
            try:
                file = self._open.enter_context(safe_open(path, framework="pt"))
            except SafetensorError as error:
                raise DataError(f"{path} is not a safetensors file, or is cut short ({error})") from None
            self._files.update(dict.fromkeys(file.keys(), file))
            self._paths.update(dict.fromkeys(file.keys(), path))

    def __getitem__(self, name: str) -> Tensor:
        path = self._paths[name]
        try:
            with safe_open(path, framework="pt") as file:
                tensor: Tensor = file.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise DataError(f"{path} was changed or removed while it was read ({error})") from None
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._files[name].get_slice(name).get_shape())

    def first(self, name: str, count: int) -> Tensor:
        """The first numbers of a tensor, or of its first row, without reading the rest."""
        row: Tensor = self._files[name].get_slice(name)[0:1] if self.shape(name) else self[name]
        return row.flatten()[:count]

    def dtype(self, name: str) -> str:
        """As the file calls it: F32, BF16 …"""
        return str(self._files[name].get_slice(name).get_dtype())


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json`, with a `model_type` that is one of ours."""
    stay_inside(folder)
    config = read_json(folder / "config.json")
    if not isinstance(config.get("model_type"), str):
        raise DataError(f"{folder / 'config.json'} names no model_type; it is not the config of a language model")
    if config["model_type"] not in registry.names("models"):
        raise DataError(
            f"{folder / 'config.json'}: the model_type is {config['model_type']!r}; "
            f"supported are {', '.join(registry.names('models'))}"
        )
    if type(config.get("vocab_size")) is not int:
        raise DataError(f"{folder / 'config.json'}: the vocab_size is {config.get('vocab_size')!r}, not a whole number")
    return config


def read_weights(folder: Path, config: Mapping[str, Any]) -> Weights:
    """The weights of a model folder; their names, shapes and types are held against config.json first."""
    model = registry.load("models", config["model_type"]).MODEL
    wanted: dict[str, tuple[int, ...]] = model.expected_shapes(config)
    weights = Weights(_files(folder))
    seen: set[str] = set()
    for name in weights:
        own_name = model.canonical_name(name)
        shape, asked = weights.shape(name), wanted.get(own_name)
        if asked is not None and (shape != asked or weights.dtype(name) not in FLOATS or own_name in seen):
            what = f"{name!r} has the shape {shape} and the type {weights.dtype(name)}"
            raise DataError(f"{folder}: {what}, but config.json asks for {asked} floats, once")
        seen.add(own_name)
    missing = sorted(wanted.keys() - seen)
    if missing:
        raise DataError(f"{folder}: the weights lack {missing[0]!r} ({len(missing)} in all); get a whole copy")
    return weights


def write_weights(
    weights: Mapping[str, Tensor], folder: Path, *, dtype: torch.dtype = torch.float32, shard: int = SHARD
) -> None:
    """Writes tensors in `dtype` into one file, or into shards of about `shard` bytes with an index."""
    groups: list[list[str]] = [[]]
    size = 0
    for name, weight in weights.items():
        if groups[-1] and size + dtype.itemsize * weight.numel() > shard:
            groups.append([])
            size = 0
        groups[-1].append(name)
        size += dtype.itemsize * weight.numel()
    place = {}
    for number, names in enumerate(groups, start=1):
        file = WEIGHTS if len(groups) == 1 else f"model-{number:05}-of-{len(groups):05}.safetensors"
        tensors = {name: weights[name].to("cpu", dtype).contiguous() for name in names}
        save_tensors(tensors, folder / file)
        place.update(dict.fromkeys(names, file))
    if len(groups) == 1:
        return
    total = sum(dtype.itemsize * weight.numel() for weight in weights.values())
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": dict(sorted(place.items()))})


def fingerprint(folder: Path) -> str:
    """SHA-256 over the names, shapes and first numbers of every tensor: tells one training of a model from another."""
    weights = Weights(_files(folder))
    found = hashlib.sha256()
    for name in sorted(weights):
        first = weights.first(name, HEAD).float()
        found.update(f"{name} {weights.shape(name)} ".encode() + first.numpy().tobytes())
    return found.hexdigest()


def _files(folder: Path) -> list[Path]:
    """The one file, or the shards that the index names; DataError where one is missing or outside the folder."""
    names: list[Any] = [WEIGHTS]
    if (folder / INDEX).exists():
        weight_map = read_json(folder / INDEX).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise DataError(f"{folder / INDEX} has no weight_map; get a whole copy of the model")
        names = list(dict.fromkeys(weight_map.values()))
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise DataError(f"{folder / INDEX} names {name!r}; shards are .safetensors files inside the folder")
        if not (folder / name).is_file():
            pickles = sorted(p.name for p in folder.iterdir() if p.suffix in (".bin", ".pt", ".pth"))
            found = f"; {pickles[0]} is a pickle, which is never opened here" if pickles else ""
            hint = ": chatwright convert makes safetensors of it" if pickles else ""
            raise DataError(f"{folder / name} is missing{found}{hint}")
    return [folder / name for name in names]
