"""How large a model is and how far it sees, told from its config.json before a weight is read."""

import math
from dataclasses import dataclass

from chatwright import registry
from chatwright.checkpoint.files import read_json
from chatwright.checkpoint.places import ADAPTER, find, is_adapter
from chatwright.checkpoint.weights import read_config


@dataclass(frozen=True)
class Shape:
    """Tokens of the window, and parameters in all."""

    context_length: int
    size: int


def shape_of(name: str) -> Shape:
    """The shape of `M`, of an adapter's base; raises as `find` does, and DataError for a config.json that is none."""
    folder = find(name)
    if is_adapter(folder):
        return shape_of(str(read_json(folder / ADAPTER)["base_model_name_or_path"]))
    config = read_config(folder)
    kind = registry.load("models", config["model_type"]).MODEL
    size = sum(math.prod(shape) for shape in kind.expected_shapes(config).values())
    return Shape(kind.CONFIG.from_hf(config).context_length, size)
