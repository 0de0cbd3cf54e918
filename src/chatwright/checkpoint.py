"""The one format on disk: a Hugging Face folder with model, tokenizer and chat template, read and written here.

`M` may be a run folder, its `model/`, one of its `checkpoints/step-N/`, any folder with a `config.json`, or a hub id.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from chatwright import console, disk, hub, registry
from chatwright.errors import ConfigError, DataError, NoCheckpoint
from chatwright.models.protocol import LanguageModel
from chatwright.text import template as templates
from chatwright.text.records import Conversation
from chatwright.text.template import ChatTemplate, Example
from chatwright.text.tokenizer import Tokenizer

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
FLOATS = ("F64", "F32", "F16", "BF16")


@dataclass
class Checkpoint:
    """A model with the two things that turn conversations into its ids. `own_template` is False for a base model."""

    model: LanguageModel
    tokenizer: Tokenizer
    template: ChatTemplate
    own_template: bool = True
    generation: dict[str, Any] = field(default_factory=dict)  # keys of generation_config.json that we do not set
    origin: str = ""

    @classmethod
    def load(cls, name: str | Path, *, template: str | None = None, quiet: bool = False) -> "Checkpoint":
        """Reads a model by path or hub id, in fp32 on the CPU.

        `template` overrides the model's own; with neither, `plain` is used and said on stderr.
        Raises ConfigError or DataError in one sentence for anything that is not a usable model.
        """
        folder = find(name)
        config = read_config(folder)
        family = registry.load("models", config["model_type"])
        tokenizer, chat, own = _load_text(folder, template, quiet=quiet)
        if tokenizer.vocab_size > config["vocab_size"]:
            raise DataError(
                f"{folder}: the tokenizer has {tokenizer.vocab_size} tokens, but the model only {config['vocab_size']} "
                "embeddings; the two do not belong together"
            )
        weights = read_weights(folder, config)
        with torch.device("meta"):
            model = family.build(config)
        model.to_empty(device="cpu")
        model.load_hf(weights)
        generation_config = folder / "generation_config.json"
        generation = read_json(generation_config) if generation_config.exists() else {}
        return cls(model, tokenizer, chat, own, generation, str(name)).with_template(chat, own)

    def with_template(self, template: ChatTemplate, own: bool = True) -> "Checkpoint":
        """The same model under another template, its vocabulary grown by the control tokens that it lacks."""
        missing = [token for token in template.special_tokens if self.tokenizer.id_of(token) is None]
        tokenizer = self.tokenizer.with_special(missing) if missing else self.tokenizer
        model = self.model
        if tokenizer.vocab_size > model.config.vocab_size:
            model = model.resize(tokenizer.vocab_size)
        return Checkpoint(model, tokenizer, template, own, self.generation, self.origin)

    def render(self, conversation: Conversation, *, reply: bool = False) -> Example:
        """Ids and mask of a conversation, as training sees it, or as the prompt for the next answer."""
        return self.template.render(conversation, self.tokenizer, reply=reply)

    @property
    def stop_ids(self) -> tuple[int, ...]:
        return self.template.stop_ids(self.tokenizer)

    def save(self, folder: Path, *, metadata: Mapping[str, Any] | None = None, card: str = "") -> None:
        """Writes the folder whole or not at all; equal models give equal bytes. Raises DiskFull."""
        with disk.new_folder(folder) as temporary:
            self.write(temporary, metadata=metadata, card=card)

    def write(self, folder: Path, *, metadata: Mapping[str, Any] | None = None, card: str = "") -> None:
        """The files of `save`, into a folder that somebody else makes atomic."""
        weights = {name: weight.to("cpu", torch.float32).contiguous() for name, weight in self.model.to_hf().items()}
        # more metadata than this would be written in a random order, and equal runs would differ in their bytes
        save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
        _write_json(folder / "config.json", self._config())
        _write_json(folder / "generation_config.json", self._generation_config())
        self.tokenizer.save(folder)
        _write_json(folder / "tokenizer_config.json", self._tokenizer_config())
        if self.own_template:
            (folder / "chat_template.jinja").write_text(self.template.to_jinja(), encoding="utf-8")
        if metadata is not None:
            _write_json(folder / "training_metadata.json", metadata)
        if card:
            (folder / "README.md").write_text(card, encoding="utf-8")

    def _config(self) -> dict[str, Any]:
        """Sorted by key, so that saving what was loaded gives the same bytes."""
        end = self.tokenizer.end_of_text
        config = {**self.model.config.to_hf(), "bos_token_id": end, "eos_token_id": end, "dtype": "float32"}
        return dict(sorted(config.items()))

    def _generation_config(self) -> dict[str, Any]:
        """The ids that end an answer live here, not in config.json: this file governs `generate`."""
        end = self.tokenizer.end_of_text
        return {
            "max_new_tokens": 256,
            **self.generation,
            "bos_token_id": end,
            "eos_token_id": list(self.stop_ids) if self.own_template else end,
            "pad_token_id": end,
        }

    def _tokenizer_config(self) -> dict[str, Any]:
        spelling = {number: token for token, number in self.tokenizer.special_tokens.items()}
        end = spelling.get(-1 if self.tokenizer.end_of_text is None else self.tokenizer.end_of_text)
        settings = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": self.model.config.context_length,
            "bos_token": end,
            "end_of_text": end,  # ours: the eos token ends a turn, this one a document
            "eos_token": spelling.get(self.stop_ids[0]) if self.own_template else end,
            "pad_token": end,
            "clean_up_tokenization_spaces": False,
        }
        return {**settings, "chat_template": self.template.to_jinja()} if self.own_template else settings


def find(name: str | Path) -> Path:
    """The folder with the `config.json` of `M`; a local path wins over a hub id. ConfigError when there is none."""
    path = Path(name)
    if (path / "config.json").is_file():
        return path
    if (path / "model" / "config.json").is_file():
        return path / "model"
    if (path / "checkpoints").is_dir():
        return newest_checkpoint(path)
    if path.is_dir():
        raise ConfigError(f"{path} holds no model: there is no config.json in it, nor in its model/ folder")
    if path.exists():
        raise ConfigError(f"{path} is a file; a model is a folder with a config.json, or a hub id such as gpt2")
    if hub.is_repo_id(str(name)):
        return hub.download(str(name))
    raise ConfigError(f"{path} does not exist; a model is a folder with a config.json, or a hub id such as gpt2")


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


def load_text(name: str | Path, template: str | None = None) -> tuple[Tokenizer, ChatTemplate]:
    """Tokenizer and template of `M`, without its weights."""
    tokenizer, chat, _ = _load_text(find(name), template, quiet=False)
    missing = [token for token in chat.special_tokens if tokenizer.id_of(token) is None]
    return (tokenizer.with_special(missing) if missing else tokenizer), chat


def load_tokenizer(folder: Path) -> Tokenizer:
    """A vocabulary from the folder of a tokenizer, a run's or a model's."""
    return Tokenizer.load(folder / "model" if (folder / "model").is_dir() else folder)


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json`, with a `model_type` that is one of ours."""
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


def read_weights(folder: Path, config: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of one file or of shards; their shapes are held against config.json before memory is taken."""
    family = registry.load("models", config["model_type"])
    wanted: dict[str, tuple[int, ...]] = family.expected_shapes(config)
    with ExitStack() as stack:
        files = [stack.enter_context(_opened(path)) for path in _weight_files(folder)]
        found: dict[str, Any] = {}
        for file in files:
            found.update(dict.fromkeys(file.keys(), file))
        seen: set[str] = set()
        for name, file in found.items():
            part, own_name = file.get_slice(name), family.canonical_name(name)
            shape, asked = tuple(part.get_shape()), wanted.get(own_name)
            if asked is not None and (shape != asked or part.get_dtype() not in FLOATS or own_name in seen):
                what = f"{name!r} has the shape {shape} and the type {part.get_dtype()}"
                raise DataError(f"{folder}: {what}, but config.json asks for {asked} floats, once")
            seen.add(own_name)
        missing = sorted(wanted.keys() - seen)
        if missing:
            raise DataError(f"{folder}: the weights lack {missing[0]!r} ({len(missing)} in all); get a whole copy")
        return {name: file.get_tensor(name) for name, file in found.items()}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; DataError names the file when it is missing or is none."""
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} is missing") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON ({error})") from None
    if not isinstance(contents, dict):
        raise DataError(f"{path} holds {type(contents).__name__}, not a JSON object")
    return contents


def _load_text(folder: Path, template: str | None, *, quiet: bool) -> tuple[Tokenizer, ChatTemplate, bool]:
    tokenizer = Tokenizer.load(folder)
    if template is not None:
        return tokenizer, templates.load(template), True
    source = _template_source(folder)
    if source is not None:
        return tokenizer, templates.from_jinja(source), True
    if not quiet:
        console.note(f"{folder} has no chat template; using --template plain")
    return tokenizer, templates.load("plain"), False


def _template_source(folder: Path) -> str | None:
    """The Jinja text, from its own file or from tokenizer_config.json, where older tools keep it."""
    path = folder / "chat_template.jinja"
    if path.exists():
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is not UTF-8 ({error})") from None
    settings = folder / "tokenizer_config.json"
    source = read_json(settings).get("chat_template") if settings.exists() else None
    return source if isinstance(source, str) else None


def _weight_files(folder: Path) -> list[Path]:
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
            hint = f"; {pickles[0]} is a pickle, which is never opened: convert it to safetensors" if pickles else ""
            raise DataError(f"{folder / name} is missing{hint}")
    return [folder / name for name in names]


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise DataError(f"{path} is not a safetensors file, or is cut short ({error})") from None


def _write_json(path: Path, contents: Any) -> None:
    path.write_text(json.dumps(contents, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
