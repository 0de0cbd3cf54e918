"""An old checkpoint in, the Hugging Face folder out: find, unpickle elsewhere, recognise, translate, write whole."""

import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from chatwright import disk, registry
from chatwright.checkpoint import Checkpoint, read_json
from chatwright.convert import pickled
from chatwright.convert.layouts.old import Old, Options, Settings, Translated, family
from chatwright.convert.source import OF_MODEL, OF_VOCABULARY, Source, nested, read_tokenizer
from chatwright.errors import ConfigError, DataError
from chatwright.models.decoder import Decoder
from chatwright.text import template as templates
from chatwright.text.tokenizer import Tokenizer

FALLBACK = "huggingface"  # asked last, because its config.json may lie beside anything
SCRATCH = "unpickled"
# config.json says these of the tokens; a vocabulary alone may not know them
TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


@dataclass(frozen=True)
class Wanted:
    """Where to write, and what the command line adds to the old checkpoint."""

    out: Path
    tokenizer: Path | None = None
    config_from: Path | None = None
    options: Options = field(default_factory=Options)


@dataclass(frozen=True)
class Report:
    """What was found and written. `bytes` counts the new folder; `tensors` and `parameters` the model in it."""

    layout: str
    model_type: str
    old: str
    out: str
    old_tensors: int
    tensors: int
    parameters: int
    bytes: int
    vocab_size: int
    context_length: int
    notes: tuple[str, ...]


def convert(old: Path, wanted: Wanted) -> Report:
    """Writes `wanted.out`, whole or not at all, over what is there. Raises ConfigError or DataError in one sentence, DiskFull."""
    source = Source.find(old)
    beside = _settings(source, wanted.config_from)
    tokenizer = read_tokenizer(source, wanted.tokenizer)
    with disk.new_folder(wanted.out) as temporary:
        scratch = temporary / SCRATCH  # on the disk where there must be room anyway
        scratch.mkdir()
        found = pickled.read(source.files, scratch)
        own = nested(str(old), found.entries)
        order = [*beside, *own] if wanted.config_from else [*own, *beside]
        checkpoint = Old(str(old), found.tensors, tuple(order), wanted.options)
        layout = recognised(checkpoint)
        translated = layout.translate(checkpoint)
        check_vocabulary(checkpoint, tokenizer, translated.config["vocab_size"])
        model = _write(translated, tokenizer, temporary)
        if layout.KEEPS_TEXTS:
            names = OF_MODEL if wanted.tokenizer else OF_MODEL + OF_VOCABULARY
            _keep(source.texts(names), translated.config, temporary)
        shutil.rmtree(scratch)
        size = sum(path.stat().st_size for path in temporary.rglob("*") if path.is_file())
    return Report(
        layout=translated.layout,
        model_type=translated.config["model_type"],
        old=str(old),
        old_tensors=len(found.tensors),
        out=str(wanted.out),
        tensors=len(translated.weights),
        parameters=sum(weight.numel() for weight in translated.weights.values()),
        bytes=size,
        vocab_size=model.config.vocab_size,
        context_length=model.config.context_length,
        notes=(*translated.notes, *_padding(model.config.vocab_size, tokenizer)),
    )


def recognised(old: Old) -> ModuleType:
    """The layout of the checkpoint; ConfigError when it has none that is known, or when an option is not for it."""
    names = sorted(registry.names("convert.layouts"), key=lambda name: name == FALLBACK)
    layouts = [registry.load("convert.layouts", name) for name in names]
    layout = next((layout for layout in layouts if layout.recognises(old)), None)
    if layout is None:
        first = next(iter(old.tensors), "")
        raise ConfigError(
            f"{old.name}: its {len(old.tensors)} tensors ({first[:80]!r}, …) are of no known layout; if the names are "
            "Hugging Face's or nanoGPT's, give the settings of the model with --config-from FILE.json"
        )
    for option, value in asdict(old.options).items():
        if value is not None and option not in layout.OPTIONS:
            raise ConfigError(f"--{option} is {value!r}, but the settings of {old.name} say that; leave it out")
    return layout


def check_vocabulary(old: Old, tokenizer: Tokenizer, rows: int) -> None:
    """DataError when the model has too few rows for the ids of the tokenizer."""
    if tokenizer.vocab_size > rows:
        raise DataError(
            f"{old.name}: the tokenizer has {tokenizer.vocab_size} tokens, but the model only {rows} embeddings; "
            "the two do not belong together"
        )


def _settings(source: Source, config_from: Path | None) -> list[Settings]:
    """What --config-from says, and else what lies beside the checkpoint."""
    return source.settings() if config_from is None else list(nested(str(config_from), read_json(config_from)))


def _write(translated: Translated, tokenizer: Tokenizer, folder: Path) -> Decoder:
    """Writes the model as every other verb writes one."""
    config = translated.config
    with torch.device("meta"):
        model = family(config["model_type"]).build(config)
    model.to_empty(device="cpu")
    model.load_hf(translated.weights)
    Checkpoint(model, tokenizer, templates.load("plain"), own_template=False).write(folder)
    return model


def _keep(texts: Iterable[Path], config: dict[str, Any], folder: Path) -> None:
    """Puts the old folder's own texts, template and token ids in the place of those that were made up for it."""
    for path in texts:
        shutil.copyfile(path, folder / path.name)
    written = read_json(folder / "config.json")
    kept = written | {key: config[key] for key in TOKEN_IDS if key in config}
    disk.write_json(folder / "config.json", dict(sorted(kept.items())))


def _padding(rows: int, tokenizer: Tokenizer) -> list[str]:
    spare = rows - tokenizer.vocab_size
    return [f"{spare:,} of the {rows:,} embedding rows belong to no token of the vocabulary, and stay"] if spare else []
