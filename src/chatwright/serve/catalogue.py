"""What is served: each model under the id that it was given when the server started. No id of a request is a path."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from chatwright.checkpoint import Checkpoint, LoadIn
from chatwright.errors import ConfigError
from chatwright.serve import errors
from chatwright.serve.spelled import Spelling

OWN_DEFAULTS = {"temperature": 1.0}  # OpenAI's, where neither the request nor the command line nor the model says
FROM_MODEL = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")  # of generation_config.json


@dataclass(frozen=True)
class Wanted:
    """What to serve, as the command line says it: `M` or `ID=M`; adapters `A`, `NAME=A` or `BASE:NAME=A`."""

    models: Sequence[str]
    adapters: Sequence[str] = ()
    aliases: Sequence[str] = ()
    template: str | None = None
    load_in: LoadIn | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Served:
    """One model, or one adapter on it. `longest` are the most bytes that a token stands for."""

    id: str
    checkpoint: Checkpoint
    created: int
    defaults: Mapping[str, Any]
    longest: int

    @property
    def context(self) -> int:
        """Tokens of a prompt and its answer together."""
        return self.checkpoint.model.config.context_length

    @cached_property
    def spelling(self) -> Spelling:
        """What its tokens are as texts."""
        return Spelling(self.checkpoint.tokenizer)


class Catalogue:
    """The models by id, and the other names under which they are asked for."""

    def __init__(self, served: Iterable[Served], aliases: Mapping[str, str]) -> None:
        """Raises ConfigError for an id that comes twice and for an alias that leads nowhere."""
        self._by_id: dict[str, Served] = {}
        for one in served:
            if one.id in self._by_id:
                raise ConfigError(f"two models are called {one.id!r}; name them: chatwright serve ID=M ID2=M2")
            self._by_id[one.id] = one
        for alias, target in aliases.items():
            if alias in self._by_id or target not in self._by_id:
                why = "is a model's own name" if alias in self._by_id else f"leads to {target!r}, which is not served"
                raise ConfigError(f"--alias {alias}={target}: {alias!r} {why}; there is {', '.join(self._by_id)}")
        self._aliases = dict(aliases)

    @property
    def checkpoints(self) -> dict[str, Checkpoint]:
        """What the scheduler is made of."""
        return {name: one.checkpoint for name, one in self._by_id.items()}

    @property
    def names(self) -> list[str]:
        """Every name that a request may use: ids, then aliases."""
        return [*self._by_id, *self._aliases]

    def find(self, name: str) -> Served:
        """The model behind a name of a request. Raises Refused (404)."""
        found = self._by_id.get(self._aliases.get(name, name))
        if found is None:
            raise errors.unknown_model(name, self.names)
        return found


def load(wanted: Wanted, created: int) -> Catalogue:
    """Reads everything that is wanted. Raises ConfigError or DataError."""
    aliases = dict(_pair("--alias", text) for text in wanted.aliases)
    bases: dict[str, Checkpoint] = {}
    for text in wanted.models:
        name, path = named(text)
        if name in bases:
            raise ConfigError(f"two models are called {name!r}; name them: chatwright serve ID=M ID2=M2")
        bases[name] = Checkpoint.load(path, template=wanted.template, load_in=wanted.load_in)
    every = dict(bases)
    for text in wanted.adapters:
        name, path = named(text)
        base, colon, short = name.partition(":")
        base, short = (base, short) if colon else (next(iter(bases)), name)
        if base not in bases:
            raise ConfigError(f"--adapters {text}: there is no model {base!r}; there is {', '.join(bases)}")
        if f"{base}:{short}" in every:
            raise ConfigError(f"--adapters {text}: {base}:{short} is there twice; name it: NAME=FOLDER")
        every[f"{base}:{short}"] = bases[base].with_adapter(path)
    for checkpoint in bases.values():
        checkpoint.activate()
    return Catalogue([_served(name, one, wanted.defaults, created) for name, one in every.items()], aliases)


def named(text: str) -> tuple[str, str]:
    """`ID=M` -> (ID, M). Without an ID it is M as it was typed, but a folder by its full path goes by its last name:
    where it lies on this machine is nobody's business."""
    name, equals, path = text.partition("=")
    if equals and "/" not in name:
        if not re.fullmatch(r"[\w.:@-]{1,100}", name):
            raise ConfigError(f"the id {name[:80]!r} has other than letters, digits, . _ : @ -; give a simpler one")
        return name, path
    place = Path(text)
    if place.is_absolute() or ".." in place.parts:
        return _last_name(place), text
    return text.strip("/").removeprefix("./"), text


def _last_name(place: Path) -> str:
    """`/home/me/runs/pirate/model` -> `pirate`."""
    place = place.resolve()
    return place.parent.name if place.name == "model" and place.parent.name else place.name


def _pair(setting: str, text: str) -> tuple[str, str]:
    name, _, target = text.partition("=")
    if not name or not target:
        raise ConfigError(f"{setting} is {text!r}; give it as NAME=ID")
    return name, target


def _served(name: str, checkpoint: Checkpoint, defaults: Mapping[str, Any], created: int) -> Served:
    own = {key: checkpoint.generation[key] for key in FROM_MODEL if _is_number(checkpoint.generation.get(key))}
    if checkpoint.generation.get("do_sample") is False:
        own["temperature"] = 0.0  # its other keys have no effect then
    longest = max(checkpoint.tokenizer.byte_lengths, default=1)
    return Served(name, checkpoint, created, {**OWN_DEFAULTS, **own, **defaults}, max(1, longest))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
