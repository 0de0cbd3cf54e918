"""Fine-tuning runs of half a second on tiny models of three families, and how peft and transformers see what they wrote."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import tiny_config, tiny_tokenizer
from torch import Tensor

from chatwright import commands, registry
from chatwright.checkpoint import Checkpoint
from chatwright.evals import panel_plots, plots
from chatwright.models.decoder import Decoder
from chatwright.text import template as templates

WINDOW = 256  # wide enough for the questions of the export proof, letter by letter
ADAPTER, CONFIG = "adapter_model.safetensors", "adapter_config.json"
LLAMA = {
    "vocab_size": 290,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": WINDOW,
    "initializer_range": 0.2,
}
NEOX = {
    "vocab_size": 290,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "rotary_pct": 0.5,
    "max_position_embeddings": WINDOW,
    "initializer_range": 0.2,
}
NEW = [290, 291]  # the ids of <|im_start|> and <|im_end|> in a vocabulary that lacked them


def model_of(family: str, *, seed: int = 0, tied: bool = True, **changes: Any) -> Decoder:
    """Random, with wide weights, so that logits differ enough to be told apart."""
    own = NEOX if family == "gpt_neox" else LLAMA
    if family == "gpt2":
        own = tiny_config(vocab_size=290, n_positions=WINDOW, initializer_range=0.2).to_hf()
    torch.manual_seed(seed)
    model: Decoder = registry.load("models", family).MODEL.build({**own, "tie_word_embeddings": tied, **changes})
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 1:  # norms of ones and biases of zeros would hide that one got lost
                weight.add_(torch.randn_like(weight) * (0.3 if name.endswith("bias") else 0.1))
    return model.eval()


def base(folder: Path, family: str = "gpt2", *, template: str | None = None, **changes: Any) -> Path:
    """A base model in a folder: one without chat tokens or, with a template's name, a chatbot."""
    found = Checkpoint(model_of(family, **changes), tiny_tokenizer(), templates.load("plain"), own_template=False)
    (found if template is None else found.with_template(templates.load(template))).save(folder)
    return folder


def conversations(path: Path, count: int = 24) -> Path:
    """A file of short ones."""
    talks = [[f"What is {i} and {i}?", "It is " + str(2 * i) * (1 + i % 3)] for i in range(count)]
    rows = [
        {"messages": [{"role": role, "content": text} for role, text in zip(("user", "assistant"), talk, strict=True)]}
        for talk in talks
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def given(model: Path, data: Path, out: Path, **more: Any) -> dict[str, Any]:
    """The settings of a short run of `sft`; `lora.rank` and its like stand here as `lora_rank`."""
    fixed: dict[str, Any] = {"steps": 3, "batch_size": 2, "seq_len": 128, "lr": 3e-2, "save_every": 100}
    fixed |= {"dtype": "fp32", "device": "cpu", "threads": 1, "from_scratch": True, "compare": False}
    fixed |= {"sample_every": 100, "eval_every": 100, "model": str(model), "data": str(data), "out": str(out)}
    return fixed | {name.replace("lora_", "lora.", 1): value for name, value in more.items()}


def sft(model: Path, data: Path, out: Path, **more: Any) -> Path:
    """Runs the verb, its report without pictures; returns the run's folder."""
    with undrawn():
        commands.run("sft", given(model, data, out, **more))
    return out


@contextmanager
def undrawn() -> Iterator[None]:
    """Drawing the curves of a report takes five times as long as such a run."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (plots, panel_plots):
            patch.setattr(module, "render", lambda *_: b"")
        yield


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def tensors(folder: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = load_file(folder / (ADAPTER if (folder / ADAPTER).exists() else "model.safetensors"))
    return found


def ids(vocab_size: int) -> Tensor:
    """(3, 24): random ones, among them the chat tokens where there are such."""
    found = torch.randint(vocab_size, (3, 24), generator=torch.Generator().manual_seed(7))
    for place, number in zip((5, 11), NEW, strict=True):
        found[:, place] = min(number, vocab_size - 1)
    return found


@torch.no_grad()
def ours(place: Path | Checkpoint, **options: Any) -> Tensor:
    """(3, 24, V): our logits of `ids`."""
    one = place if isinstance(place, Checkpoint) else Checkpoint.load(place, quiet=True, **options)
    logits: Tensor = one.model.eval()(ids(one.model.config.vocab_size))
    return logits


@torch.no_grad()
def logits_of(judge: Any) -> Tensor:
    """(3, 24, V): those of a model of transformers or peft."""
    logits: Tensor = judge.eval()(ids(judge.config.vocab_size)).logits
    return logits


def transformers_model(folder: str | Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder).eval()


def peft_model(folder: Path) -> Any:
    """The adapter of a folder on the base that it names, both as peft reads them."""
    from peft import PeftModel

    return PeftModel.from_pretrained(
        transformers_model(read(folder / CONFIG)["base_model_name_or_path"]), folder
    ).eval()


def assert_equal(one: Tensor, other: Tensor, share: float = 1e-4) -> None:
    assert one.shape == other.shape
    assert (one - other).abs().max() <= share * max(1.0, float(other.abs().max()))


def differs(one: Tensor, other: Tensor) -> bool:
    """By far more than rounding."""
    return float((one - other).abs().max()) > 1e-2
