"""TRL's trainers around the very weights of our models, fed with the very ids of our batches: the referee of the losses.

Their tokenizers, collators and schedules have no part in it: a trainer is made of a row that nobody looks at, and asked
for the loss of a batch that is laid out here as its own collator would do it.
"""

from collections.abc import Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from small_answers import gpt2
from tiny_models import theirs, tiny_checkpoint
from torch import Tensor

from chatwright.data.examples import Tokens
from chatwright.models.gpt2 import GPT2

TOLERANCE = 1e-5
PAIR = {"prompt": "a", "chosen": "b", "rejected": "c"}
RATED = [{"prompt": text, "completion": text, "label": text == "a"} for text in "abcd"]
VOCABULARY = 300  # that of the tokenizer that a trainer must be given
# of transformers, to itself; and TRL says of parts of it that they may change
quietly = (
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*experimental.*"),
)


def two_models() -> tuple[GPT2, GPT2]:
    """A policy that has moved away from its start, and the start."""
    start, policy = gpt2(vocab_size=VOCABULARY), gpt2(vocab_size=VOCABULARY)
    torch.manual_seed(5)
    with torch.no_grad():
        for weight in policy.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    assert isinstance(policy, GPT2)
    assert isinstance(start, GPT2)
    return policy, start


@cache
def tokenizer() -> Any:
    """Of `transformers`; it only has to be there."""
    from transformers import AutoTokenizer

    with TemporaryDirectory() as folder:
        tiny_checkpoint("chatml").save(Path(folder) / "model")
        return AutoTokenizer.from_pretrained(Path(folder) / "model")


def dpo_trainer(policy: GPT2, start: GPT2, out: Path, **given: Any) -> Any:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    config = DPOConfig(**_plain(out), **given)
    data = Dataset.from_list([PAIR])
    return DPOTrainer(
        model=theirs(policy), ref_model=theirs(start), args=config, train_dataset=data, processing_class=tokenizer()
    )


def kto_trainer(policy: GPT2, start: GPT2, out: Path, **given: Any) -> Any:
    from datasets import Dataset
    from trl import KTOConfig, KTOTrainer

    config = KTOConfig(**_plain(out), **given)
    data = Dataset.from_list(RATED)
    return KTOTrainer(
        model=theirs(policy), ref_model=theirs(start), args=config, train_dataset=data, processing_class=tokenizer()
    )


def orpo_trainer(policy: GPT2, out: Path, **given: Any) -> Any:
    from datasets import Dataset
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    config = ORPOConfig(**_plain(out), **given)
    return ORPOTrainer(
        model=theirs(policy), args=config, train_dataset=Dataset.from_list([PAIR]), processing_class=tokenizer()
    )


def cpo_trainer(policy: GPT2, out: Path, **given: Any) -> Any:
    from datasets import Dataset
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    config = CPOConfig(**_plain(out), **given)
    return CPOTrainer(
        model=theirs(policy), args=config, train_dataset=Dataset.from_list([PAIR]), processing_class=tokenizer()
    )


def _plain(out: Path) -> dict[str, Any]:
    """On the processor, in fp32, without dropout, and nothing reported to anyone."""
    where = {"output_dir": str(out), "report_to": [], "use_cpu": True, "bf16": False, "disable_tqdm": True}
    how = {"activation_checkpointing": False, "disable_dropout": True, "per_device_train_batch_size": 4}
    return {**where, **how, "max_length": None}


def padded(some: Sequence[Tokens]) -> dict[str, Tensor]:
    """Rows of ids, what of them is text, and what of that is the answer; padded on the right, as TRL pads."""
    width = max(len(one.ids) for one in some)
    ids, text, answer = (torch.zeros(len(some), width, dtype=torch.long) for _ in range(3))
    for row, one in enumerate(some):
        ids[row, : len(one.ids)] = torch.from_numpy(one.ids)
        text[row, : len(one.ids)] = 1
        answer[row, : len(one.ids)] = torch.from_numpy(one.mask)
    return {"input_ids": ids, "attention_mask": text, "completion_mask": answer}


def sides(some: Sequence[Sequence[Tokens]]) -> dict[str, Tensor]:
    """Pairs for TRL's DPO: all chosen answers, then all rejected ones."""
    return padded([pair[0] for pair in some] + [pair[1] for pair in some])


def concatenated(some: Sequence[Sequence[Tokens]]) -> dict[str, Tensor]:
    """Pairs for its ORPO and CPO: the sides by name, with labels that are -100 where nothing is learned."""
    found = {}
    for place, side in enumerate(("chosen", "rejected")):
        rows = padded([pair[place] for pair in some])
        found[f"{side}_input_ids"], found[f"{side}_attention_mask"] = rows["input_ids"], rows["attention_mask"]
        found[f"{side}_labels"] = rows["input_ids"].masked_fill(rows["completion_mask"] == 0, -100)
    return found


def figure(trainer: Any, name: str) -> float:
    """What a trainer has noted of its last batch."""
    mode = "train" if trainer.model.training else "eval"
    return float(trainer._metrics[mode][name][-1])


def gradients_by_name(model: GPT2, loss: Tensor) -> dict[str, Tensor]:
    """Ours, under the names and in the shapes that weights have on disk."""
    model.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    found = deepcopy(model)
    with torch.no_grad():
        for place, weight in zip(found.parameters(), model.parameters(), strict=True):
            assert weight.grad is not None
            place.copy_(weight.grad)
    return found.to_hf()


def assert_same_gradients(model: GPT2, ours: Tensor, other: Any, expected: Tensor) -> None:
    """To 1e-5 of their norm, over all weights together."""
    found = gradients_by_name(model, ours)
    other.zero_grad()
    expected.backward()  # type: ignore[no-untyped-call]
    theirs_by_name = {name: weight.grad for name, weight in other.named_parameters()}
    assert found.keys() == theirs_by_name.keys()
    away = torch.stack([(found[name] - theirs_by_name[name]).norm() for name in found]).norm()
    assert float(away) <= TOLERANCE * float(torch.stack([one.norm() for one in theirs_by_name.values()]).norm())
