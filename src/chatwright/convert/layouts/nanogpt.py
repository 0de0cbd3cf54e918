"""nanoGPT's `ckpt.pt`: GPT-2 with Linear matrices, which stand the other way round, and often without biases."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from chatwright.convert.layouts.old import Old, Pieces, Settings, Translated, family
from chatwright.errors import ConfigError, DataError

OPTIONS: tuple[str, ...] = ("activation",)
KEEPS_TEXTS = False
SIZES = {"n_layer": "n_layer", "n_head": "n_head", "n_embd": "n_embd", "block_size": "n_positions"}
KNOWN = {*SIZES, "bias", "vocab_size", "dropout"}
EMBEDDING, HEAD = "transformer.wte.weight", "lm_head.weight"


def recognises(old: Old) -> bool:
    """By its settings, wherever they stand, and the name of its embedding."""
    return _settings(old) is not None and EMBEDDING in old.tensors


def translate(old: Old) -> Translated:
    """Matrices transposed; the biases of a model that has none are zeros."""
    settings = _settings(old)
    assert settings is not None
    has_biases = "transformer.h.0.ln_1.bias" in old.tensors  # where some are there and some not, `take` says so
    _check_features(settings, has_biases)
    pieces = Pieces(old)
    config = _config(old, settings, tied=pieces.ties(HEAD, EMBEDDING))
    model = family("gpt2")
    weights: dict[str, Tensor] = {}
    for name, shape in model.expected_shapes(config).items():
        if name.endswith(".bias") and not has_biases:
            weights[name] = pieces.take_or_zeros(name, shape)
        elif model.is_transposed(name):
            weights[name] = pieces.take(name, shape[::-1]).t()
        else:
            weights[name] = pieces.take(name, shape)
    pieces.check_all_taken(".attn.bias")
    return Translated("nanoGPT", config, weights, tuple(_notes(old, has_biases)))


def _settings(old: Old) -> Settings | None:
    """`model_args`, or else the settings of the training program, which lack the vocabulary's size."""
    return old.settings_with(*SIZES, "vocab_size") or old.settings_with(*SIZES)


def _config(old: Old, settings: Settings, *, tied: bool) -> dict[str, Any]:
    vocabulary, _ = old.sizes(EMBEDDING, 2)
    arguments = settings.values
    return {
        "model_type": "gpt2",
        **{theirs: arguments[ours] for ours, theirs in SIZES.items()},
        "vocab_size": arguments.get("vocab_size", vocabulary),
        "activation_function": old.options.activation or "gelu",
        "tie_word_embeddings": tied,
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), arguments.get("dropout", 0.0)),
    }


def _check_features(settings: Settings, has_biases: bool) -> None:
    """Refuses what a changed nanoGPT switches on, and settings that belong to other weights."""
    arguments = settings.values
    if arguments.get("bias", has_biases) is not has_biases:
        there = "there" if has_biases else "not there"
        raise DataError(f"{settings.place}: bias is {arguments['bias']!r}, but in the weights the biases are {there}")
    if "vocab_size" not in arguments:
        return  # all settings of the training program: what of them belongs to the model cannot be told
    more = next((key for key, value in arguments.items() if key not in KNOWN and value not in (None, False)), None)
    if more is not None:
        raise ConfigError(
            f"{settings.place}: {more} is {arguments[more]!r}, which nanoGPT does not have; if the model computes the "
            "same without it, give --config-from FILE.json with the other settings"
        )


def _notes(old: Old, has_biases: bool) -> Iterator[str]:
    if not has_biases:
        yield "the old model has no biases; they are zeros in the new one"
    if old.options.activation is None:
        yield "activation_function is gelu, as in nanoGPT since 2023; for an older one give --activation gelu_new"
