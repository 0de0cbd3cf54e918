"""What lies where an old checkpoint is: its pickles, the settings beside them, its vocabulary. Opens no pickle."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatwright.checkpoint import load_tokenizer, read_json
from chatwright.checkpoint.files import stay_inside
from chatwright.convert.layouts.old import Settings
from chatwright.errors import ConfigError, DataError
from chatwright.text.tokenizer import Tokenizer

PICKLES = (".bin", ".pt", ".pth", ".ckpt")
WEIGHTS = "pytorch_model.bin"
INDEX = "pytorch_model.bin.index.json"
GPT2_FILES = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))  # Hugging Face's and OpenAI's names
# Texts that are kept as they are: what belongs to a vocabulary and its template, and what to the model
OF_VOCABULARY = (
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
    "chat_template.jinja",
)  # fmt: skip
OF_MODEL = ("generation_config.json", "LICENSE", "LICENSE.txt", "LICENSE.md")
SIZES = ("n_heads", "n_head")  # a JSON file that has neither holds no settings of a layout that needs them
LARGEST_JSON = 2**20  # bytes; a config has a few hundred


@dataclass(frozen=True)
class Source:
    """OLD as it was given, the folder that it is or lies in, and its pickles."""

    name: Path
    folder: Path
    files: tuple[Path, ...]

    @classmethod
    def find(cls, old: Path) -> "Source":
        """A pickle, or a folder with one model in pickles; ConfigError for anything else."""
        if old.is_file():
            if old.suffix not in PICKLES:
                raise ConfigError(f"{old} is no {', '.join(PICKLES)} file; give the pickle, or the folder it lies in")
            stay_inside(old.parent, [old])  # the folder may hold anything; what is read of it is checked then
            return cls(old, old.parent, (old,))
        if not old.is_dir():
            raise ConfigError(f"{old} does not exist; give a {', '.join(PICKLES)} file, or a folder that holds one")
        stay_inside(old)
        return cls(old, old, tuple(_pickles(old)))

    def texts(self, names: Iterable[str]) -> Iterator[Path]:
        """Those of the files that are there; DataError for one that is damaged."""
        for path in (self.folder / name for name in names):
            if path.is_file():
                stay_inside(self.folder, [path])
                if path.suffix == ".json":
                    read_json(path)
                yield path

    def settings(self) -> list[Settings]:
        """The objects of the config.json beside the pickles, then of the only other JSON file that has some."""
        beside = self.folder / "config.json"
        stay_inside(self.folder, [beside])
        found = list(nested(str(beside), read_json(beside))) if beside.is_file() else []
        others = []
        for path in sorted(self.folder.glob("*.json")):
            if path != beside and path.is_file() and path.stat().st_size <= LARGEST_JSON:
                try:
                    stay_inside(self.folder, [path])
                    inside = list(nested(str(path), read_json(path)))
                except DataError:
                    continue  # some other file, and of no use here
                if any(key in one.values for one in inside for key in SIZES):
                    others.append(inside)
        return found + (others[0] if len(others) == 1 else [])


def nested(place: str, values: dict[str, Any]) -> Iterator[Settings]:
    """The object itself, then the objects that are its values: training programs keep the model's settings in one."""
    yield Settings(place, values)
    for key, value in values.items():
        if isinstance(value, dict):
            yield Settings(f"{place}, {key}", value)


def read_tokenizer(source: Source, given: Path | None) -> Tokenizer:
    """The vocabulary of --tokenizer, else the one beside the weights; ConfigError when there is none."""
    if given is not None and not given.is_dir():
        raise ConfigError(
            f"--tokenizer {given} is no folder; give one with a tokenizer.json, or with GPT-2's two files"
        )
    folder = source.folder if given is None else given
    if given is None:
        read = {"model", *OF_VOCABULARY[:3], *(name for pair in GPT2_FILES for name in pair)}
        stay_inside(folder, [*folder.glob("tokenizer*.json"), *(folder / name for name in sorted(read))])
    if Tokenizer.is_in(folder) or (folder / "model").is_dir():
        return load_tokenizer(folder)
    for names in GPT2_FILES:
        ids, merges = (folder / name for name in names)
        if ids.is_file() and merges.is_file():
            _check_plain_gpt2(folder)
            return Tokenizer.from_gpt2_files(ids, merges)
    if given is None:
        raise ConfigError(
            f"{source.name} brings no vocabulary; give --tokenizer DIR, a folder with the tokenizer.json that the model "
            "was trained with"
        )
    raise ConfigError(f"--tokenizer {given} holds neither a tokenizer.json nor {' and '.join(GPT2_FILES[0])}")


def _pickles(folder: Path) -> list[Path]:
    """Hugging Face's file or shards, or the only pickle of the folder."""
    names: list[Any] = [WEIGHTS]
    if (folder / INDEX).is_file():
        weight_map = read_json(folder / INDEX).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise DataError(f"{folder / INDEX} has no weight_map; get a whole copy of the model")
        names = list(weight_map.values())
        for name in names:
            if not isinstance(name, str) or Path(name).name != name or not name.endswith(".bin"):
                raise DataError(f"{folder / INDEX} names {name!r}; shards are .bin files inside the folder")
            if not (folder / name).is_file():
                raise DataError(f"{folder / name} is missing; get a whole copy of the model")
        names = list(dict.fromkeys(names))
    elif not (folder / WEIGHTS).is_file():
        names = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES and path.is_file())
    if len(names) == 1 or (folder / INDEX).is_file():
        return [folder / name for name in names]
    if names:
        raise ConfigError(f"{folder} holds {len(names)} pickles; give one of them: {', '.join(names[:5])}")
    if any(folder.glob("*.safetensors")):
        raise ConfigError(f"{folder} holds safetensors and no pickle; every verb reads it as it is")
    raise ConfigError(f"{folder} holds no {', '.join(PICKLES)} file; give the folder of an old checkpoint")


def _check_plain_gpt2(folder: Path) -> None:
    """ConfigError where the two files are only a part of the vocabulary, or another model's rules go with them."""
    if (folder / "added_tokens.json").is_file():
        raise ConfigError(
            f"{folder} has added_tokens.json and no tokenizer.json; give --tokenizer DIR with a tokenizer.json"
        )
    settings = folder / "tokenizer_config.json"
    kind = read_json(settings).get("tokenizer_class") if settings.is_file() else None
    if kind is not None and not str(kind).startswith("GPT2Tokenizer"):
        raise ConfigError(f"{folder} has a {kind} and no tokenizer.json; give --tokenizer DIR with a tokenizer.json")
