"""A state dict under Hugging Face's own names, of any family that is written here, with its `config.json`.

Only what a safetensors file would not hold is left out: a head that is the embedding, and the causal masks.
"""

from torch import Tensor

from chatwright import registry
from chatwright.convert.layouts.old import Old, Pieces, Translated, family
from chatwright.errors import DataError

OPTIONS: tuple[str, ...] = ()
KEEPS_TEXTS = True


def recognises(old: Old) -> bool:
    """By its config; a layout that is surer of itself is asked before."""
    return old.settings_with("model_type") is not None


def translate(old: Old) -> Translated:
    settings = old.settings_with("model_type")
    assert settings is not None
    config = dict(settings.values)
    known = registry.names("models")
    if config["model_type"] not in known:
        raise DataError(
            f"{settings.place}: the model_type is {config['model_type']!r}; supported are {', '.join(known)}"
        )
    if config.get("quantization_config"):
        raise DataError(f"{settings.place} has a quantization_config; convert the model from before it was quantised")
    model = family(config["model_type"])
    names: dict[str, str] = {}  # ours -> the file's
    masks = set()
    for name in old.tensors:
        own = model.canonical_name(name)
        if own is None:
            masks.add(name)
        elif names.setdefault(own, name) != name:
            raise DataError(f"{old.name}: holds {own!r} twice, as {names[own]!r} and as {name!r}; get the file again")
    wanted = model.expected_shapes(config)
    pieces = Pieces(old, taken=masks)
    if model.HEAD in names and model.HEAD not in wanted:
        head, embedding = names[model.HEAD], names.get(model.EMBEDDING, model.EMBEDDING)
        if not pieces.ties(head, embedding):
            raise DataError(
                f"{old.name}: {head!r} is not {embedding!r}, though the config ties the two; if the head is right, set "
                f"tie_word_embeddings to false in {settings.place}"
            )
    weights: dict[str, Tensor] = {name: pieces.take(names.get(name, name), shape) for name, shape in wanted.items()}
    pieces.check_all_taken()
    return Translated("Hugging Face", config, weights)
