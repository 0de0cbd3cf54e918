"""What a layout is given, and what it gives back: tensors and settings in, Hugging Face's config and weights out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from chatwright import registry
from chatwright.errors import DataError
from chatwright.models.decoder import Decoder


@dataclass(frozen=True)
class Settings:
    """A JSON object, or a dictionary of a pickle, and where it was found."""

    place: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Options:
    """What the command line says about an old checkpoint that the checkpoint itself may not."""

    heads: int | None = None
    activation: str | None = None


@dataclass(frozen=True)
class Old:
    """An old checkpoint. `settings`: dictionaries that may hold its sizes, the likeliest first."""

    name: str
    tensors: Mapping[str, Tensor]
    settings: tuple[Settings, ...]
    options: Options = Options()

    def settings_with(self, *keys: str) -> Settings | None:
        """The first dictionary that has all the keys."""
        return next((one for one in self.settings if all(key in one.values for key in keys)), None)

    def sizes(self, name: str, dimensions: int) -> tuple[int, ...]:
        """The shape of a tensor with so many dimensions; DataError when there is none."""
        if name not in self.tensors:
            raise DataError(f"{self.name}: the weights lack {name!r}; get a whole copy")
        shape = tuple(self.tensors[name].shape)
        if len(shape) != dimensions:
            raise DataError(f"{self.name}: {name!r} has the shape {shape}, which is no {dimensions}-dimensional one")
        return shape


@dataclass(frozen=True)
class Translated:
    """`config` and `weights` as Hugging Face has them; `notes` say what was assumed or left out."""

    layout: str
    config: dict[str, Any]
    weights: dict[str, Tensor]
    notes: tuple[str, ...] = ()


@dataclass
class Pieces:
    """The tensors of an old checkpoint, handed out under the shapes that the config asks for."""

    old: Old
    taken: set[str] = field(default_factory=set)

    def take(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """The tensor; DataError when it is missing, has another shape or is not made of floats."""
        if name not in self.old.tensors:
            raise DataError(f"{self.old.name}: the weights lack {name!r}, which the config asks for; get a whole copy")
        tensor = self.old.tensors[name]
        if tuple(tensor.shape) != shape or not tensor.is_floating_point():
            kind = str(tensor.dtype).removeprefix("torch.")
            raise DataError(
                f"{self.old.name}: {name!r} has the shape {tuple(tensor.shape)} and the type {kind}, "
                f"but the config asks for {shape} floats"
            )
        self.taken.add(name)
        return tensor

    def take_or_zeros(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """The tensor, or zeros where the old model has no such bias."""
        return self.take(name, shape) if name in self.old.tensors else torch.zeros(shape)

    def ties(self, head: str, embedding: str) -> bool:
        """Whether the head is the embedding, because there is no other or because the two are equal."""
        tensors = self.old.tensors
        if head in tensors and not (embedding in tensors and torch.equal(tensors[head], tensors[embedding])):
            return False
        self.taken.add(head)
        return True

    def check_all_taken(self, *endings: str) -> None:
        """DataError for a tensor that nobody asked for; one whose name has one of the endings is a mask."""
        left = sorted(name for name in self.old.tensors if name not in self.taken and not name.endswith(endings))
        if left:
            raise DataError(
                f"{self.old.name}: holds {left[0]!r} ({len(left)} such in all), for which the converted model has no "
                "place; it was changed after this layout, and would be converted wrongly"
            )


def family(model_type: str) -> type[Decoder]:
    """The class of a model family, by the `model_type` of Hugging Face's config."""
    model: type[Decoder] = registry.load("models", model_type).MODEL
    return model
