"""Fewer bits judged on a trained model, the quickstart's base: what they cost before any step, and after 200. (make accept)"""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from chatwright import commands
from chatwright.checkpoint import Checkpoint
from chatwright.data import source
from chatwright.models import nf4
from chatwright.models.attention import Attend
from chatwright.models.cache import KVCache
from chatwright.models.inference import prepare

pytestmark = pytest.mark.accept
STEPS = 200
TWO_BITS = (-1.0, -0.2526, 0.2526, 1.0)  # four levels in place of sixteen
RUN = {
    "data": "primer:conversations#4000", "template": "chatml", "lora": {"rank": 8}, "steps": STEPS, "batch_size": 8,
    "seq_len": 256, "lr": 2e-3, "dtype": "bf16", "device": "cpu", "compare": False, "json": True, "proofs": "warn",
}  # fmt: skip


@pytest.fixture(scope="module")
def base(runs: list[dict[str, Any]]) -> str:
    return str(Path(runs[0]["out"]) / "base")


def perplexity(base: str, load_in: str | None) -> float:
    """On held-out documents of the primer."""
    measured = {"data": ("primer:documents",), "split": "test", "max_samples": 2000, "device": "cpu", "json": True}
    found = commands.run("eval", {"model": base, "load_in": load_in, "max_tokens": 1, **measured})
    (row,) = found["stages"][0]["losses"].values()
    return float(row["perplexity"])


def validation_loss(base: str, out: Path, load_in: str | None) -> float:
    """After 200 steps of an adapter."""
    found = commands.run("sft", {"model": base, "out": str(out), "load_in": load_in, **RUN})
    return float(found["losses"]["validation"]["loss"])


@pytest.fixture
def two_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same code with each weight at the nearest of four levels."""
    table = torch.tensor(TWO_BITS)
    code = nf4.quantise_nf4

    def coarse(weight: torch.Tensor) -> Any:
        blocks = weight.float().reshape(-1, nf4.BLOCK)
        scale = blocks.abs().amax(dim=1, keepdim=True)
        nearest = (blocks / scale.clamp(min=1e-12))[..., None].sub(table).abs().argmin(dim=-1)
        return code((table[nearest] * scale).reshape(weight.shape))

    monkeypatch.setattr("chatwright.models.quant.quantise_nf4", coarse)


def test_the_perplexity_of_the_base_in_four_bits_is_within_three_percent(base: str) -> None:
    whole, quantised = perplexity(base, None), perplexity(base, "4bit")
    print(f"perplexity {whole:.4f} in fp32, {quantised:.4f} in 4 bits")
    assert quantised <= 1.03 * whole


@pytest.mark.usefixtures("two_bits")
def test_two_bits_would_fail_that(base: str) -> None:
    whole, quantised = perplexity(base, None), perplexity(base, "4bit")
    assert quantised > 1.03 * whole


def test_the_perplexity_of_the_base_in_eight_bits_is_within_one_percent(base: str) -> None:
    assert perplexity(base, "8bit") <= 1.01 * perplexity(base, None)


@torch.inference_mode()
def answering_perplexity(base: str, load_in: Any) -> float:
    """On documents of the primer, token by token over a cache, as answers are made: keys and values are rounded there too."""
    checkpoint = Checkpoint.load(base, quiet=True, load_in=load_in)
    model, width = checkpoint.model.eval(), 128
    prepare(model)
    found = source.read("primer:documents#2000").records
    ids = [one for record in found for one in checkpoint.tokenizer.encode(record.text)]
    rows = torch.tensor(ids[: len(ids) // width * width]).view(-1, width)[:24]
    cache, losses = KVCache.of(model, len(rows), width), []
    for place in range(width - 1):
        attend = Attend.cached(torch.full((len(rows),), place), 1)
        hidden = model.trunk(rows[:, place : place + 1], attend=attend, cache=cache)
        losses.append(F.cross_entropy(model.head(hidden[:, 0]).float(), rows[:, place + 1]))
    return float(torch.stack(losses).mean().exp())


def test_answers_in_fewer_bits_are_as_likely_within_one_and_three_percent(base: str) -> None:
    whole = answering_perplexity(base, None)
    for load_in, most in (("bf16", 1.01), ("8bit", 1.01), ("4bit", 1.03)):
        assert answering_perplexity(base, load_in) <= most * whole


@pytest.fixture(scope="module")
def lora_loss(base: str, tmp_path_factory: pytest.TempPathFactory) -> float:
    return validation_loss(base, tmp_path_factory.mktemp("lora") / "run", None)


def test_qlora_learns_as_much_as_lora_within_one_percent(base: str, lora_loss: float, tmp_path: Path) -> None:
    quantised = validation_loss(base, tmp_path / "run", "4bit")
    print(f"validation loss {lora_loss:.4f} beside bf16, {quantised:.4f} beside 4 bits")
    assert quantised <= 1.01 * lora_loss


@pytest.mark.usefixtures("two_bits")
def test_two_bits_would_fail_that_too(base: str, lora_loss: float, tmp_path: Path) -> None:
    assert validation_loss(base, tmp_path / "run", "4bit") > 1.01 * lora_loss
