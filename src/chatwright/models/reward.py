"""Reward models (Ouyang et al., 2022): any family with a head of one row, which scores an answer by the state at its end.

The head is the `score` of Hugging Face's `…ForSequenceClassification` and stands in the place of the vocabulary's, which
such a model has no use for. Its config.json says so. Shapes: N answers, C channels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn

from chatwright.errors import ConfigError
from chatwright.models.config import FamilyConfig

if TYPE_CHECKING:
    from chatwright.models.decoder import Decoder

CLASSIFIER = "ForSequenceClassification"  # how Hugging Face calls what has this head, after the family's name
LANGUAGE = ("LMHeadModel", "ForCausalLM")  # and what has that of the vocabulary
# ours, and kept in config.json, because other makers have their models read the last token, whatever it is
PLACE, END_OF_TURN = "scored_token", "end_of_turn"
C = TypeVar("C", bound=FamilyConfig)
D = TypeVar("D", bound="Decoder")


def is_reward(config: Mapping[str, Any]) -> bool:
    """Whether the contents of a `config.json` are those of a reward model. ConfigError for a classifier that is none."""
    names = config.get("architectures")
    if not isinstance(names, list) or not any(str(name).endswith(CLASSIFIER) for name in names):
        return False
    labels = _labels(config)
    if labels != 1:
        raise ConfigError(
            f"the config is that of a classifier with {labels!r} labels ({names[0]}); a reward model has one, "
            "which is its score"
        )
    padding = config.get("pad_token_id")
    if padding is not None and type(padding) is not int:
        raise ConfigError(f"the config's pad_token_id is {padding!r}; it must be the id of a token, or null")
    return True


def reads_end_of_turn(config: FamilyConfig) -> bool:
    """Whether the score is read at the token that ends the assistant's turn, and not at the last of the whole text."""
    return config.other.get(PLACE) == END_OF_TURN


def as_reward(config: C, padding: int) -> C:
    """The config of the same model with a score, read at the end of a turn. `padding`: a token that ends no answer."""
    name = config.ARCHITECTURE
    for ending in LANGUAGE:
        name = name.removesuffix(ending)
    said = {key: value for key, value in config.other.items() if key not in ("num_labels", "problem_type")}
    labels = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}  # as transformers writes one label
    if is_reward(config.other):
        labels = {key: said.get(key) or label for key, label in labels.items()}  # what its maker calls it
    own = {"architectures": [f"{name}{CLASSIFIER}"], "pad_token_id": padding, PLACE: END_OF_TURN}
    return replace(config, other={**said, **labels, **own})


def completed(model: D, seed: int = 0) -> D:
    """Gives a model the head that its config speaks of, if it does so: normal(0, initializer_range), as transformers does.

    One that it has stays. Equal seeds draw equal heads, whatever else was drawn.
    """
    if model.score is not None or not is_reward(model.config.other):
        return model
    if model.lm_head is not None:
        model.register_module(model.HEAD.removesuffix(".weight"), None)
    weight, channels = model.embedding.weight, model.embedding.embedding_dim
    model.score = nn.Linear(channels, 1, bias=False, device=weight.device)
    if not weight.is_meta:
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.empty(1, channels).normal_(0.0, model.config.initializer_range, generator=generator)
        model.score.weight.data.copy_(drawn)
    return model


def read_to(ids: Sequence[int], padding: int | None) -> int:
    """How many of the ids are read: the score is taken at the last one that is not padding.

    So transformers finds it, by the id alone: where a model pads with the token that ends its answers, that is the token
    before the end. Ours pad with another one.
    """
    return next((end for end in range(len(ids), 0, -1) if ids[end - 1] != padding), 1)


def _labels(config: Mapping[str, Any]) -> Any:
    """How many labels transformers reads from a config: without a word of them, two."""
    names = config.get("id2label")
    return len(names) if isinstance(names, dict) else config.get("num_labels", 2)
