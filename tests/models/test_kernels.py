"""The kernels against what they say in PyTorch, rows that do not know each other, and models that were prepared for answering."""

import copy
import os
import platform
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, cast

import pytest
import torch
from family_laws import (
    a_prompt_may_be_read_in_pieces,
    cached_steps_equal_one_uncached_pass,
    model_of,
    rows_of_different_length_decode_together_as_one_by_one,
)
from torch import Tensor, nn

from chatwright.models import lora, nf4, quant
from chatwright.models.attention import Attend
from chatwright.models.cache import KVCache
from chatwright.models.decoder import Decoder
from chatwright.models.inference import prepare
from chatwright.models.kernels import library as kernels
from chatwright.models.kernels import looking, plain, products
from chatwright.models.kernels.layout import inputs_of
from chatwright.models.quick import PackedLinear, PackedTable, Quick8bit, QuickLinear, Table8bit
from chatwright.models.quick_blocks import QuickBlock
from chatwright.models.token_rows import TokenRows

LAWS = (
    cached_steps_equal_one_uncached_pass,
    a_prompt_may_be_read_in_pieces,
    rows_of_different_length_decode_together_as_one_by_one,
)
compiled = pytest.mark.skipif(kernels.library() is None, reason=f"no kernels here: {kernels.state()}")
SHAPES = [(1, 16, 4), (3, 70, 33), (5, 130, 77), (9, 257, 6), (2, 64, 1), (17, 300, 40)]  # rows, inputs, outputs
KINDS = ["fp32", "bf16", "int8", "nf4"]
Kind = Literal["fp32", "bf16", "int8", "nf4"]


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def layer(kind: Kind, inputs: int, outputs: int) -> tuple[Any, ...]:
    """Weight, bias and, of int8 and NF4, scales; NF4 has whole blocks of inputs, as many as come nearest from above."""
    if kind == "nf4":
        inputs = -(-inputs // nf4.BLOCK) * nf4.BLOCK
    weight, bias = drawn(outputs, inputs), drawn(outputs, seed=1)
    if kind == "nf4":
        few = nf4.quantise_nf4(weight)
        return few.codes.view(outputs, -1), bias, few.block_scales().view(outputs, -1)
    if kind == "int8":
        scales = weight.abs().amax(dim=1) / 127
        return (weight / scales[:, None]).round().to(torch.int8), bias, scales
    return weight.to(torch.bfloat16 if kind == "bf16" else torch.float32), bias, None


def expected(kind: Kind, x: Tensor, weight: Tensor, bias: Tensor | None, scales: Tensor | None) -> Tensor:
    if scales is not None:
        return (plain.nf4 if kind == "nf4" else plain.int8)(x, weight, scales, bias)
    return (plain.bf16 if kind == "bf16" else plain.fp32)(x, weight, bias)


def close(found: Tensor, wanted: Tensor, tolerance: float = 1e-5) -> bool:
    assert found.shape == wanted.shape
    return float((found - wanted).abs().max()) <= tolerance * max(1.0, float(wanted.abs().max()))


# ---- products


@compiled
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_product_is_what_it_says_in_pytorch(kind: Kind, shape: tuple[int, int, int]) -> None:
    rows, inputs, outputs = shape
    weight, bias, scales = layer(kind, inputs, outputs)
    x = drawn(rows, inputs_of(weight), seed=2)
    for biased in (bias, None):
        assert products.takes(x, weight)
        found = products.product(x, weight, biased, scales)
        assert found.dtype == torch.float32
        assert close(found, expected(kind, x, weight, biased, scales))


@compiled
@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_the_same_alone_and_in_any_company(kind: Kind) -> None:
    weight, bias, scales = layer(kind, 333, 150)
    x = drawn(200, inputs_of(weight), seed=2)
    alone = torch.cat([products.product(row[None], weight, bias, scales) for row in x])
    for count in (1, 2, 3, 4, 5, 7, 8, 13, 24, 131, 200):
        for first in (0, 200 - count):
            together = products.product(x[first : first + count], weight, bias, scales)
            assert torch.equal(together, alone[first : first + count])


@compiled
@pytest.mark.parametrize("kind", KINDS)
def test_the_number_of_threads_changes_nothing(kind: Kind) -> None:
    weight, bias, scales = layer(kind, 333, 250)
    x, before, found = drawn(11, inputs_of(weight)), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(products.product(x, weight, bias, scales))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@compiled
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", KINDS)
def test_a_number_that_is_none_spoils_its_own_row_only(kind: Kind, bad: float) -> None:
    weight, bias, scales = layer(kind, 200, 9)
    x = drawn(3, inputs_of(weight))
    x[1, 150] = bad
    found = products.product(x, weight, bias, scales)
    assert not bool(found[1].isfinite().any())
    assert bool(found[[0, 2]].isfinite().all())


@compiled
@pytest.mark.parametrize("scale", [0.0, 1e-38, 1e-20, 1e20])
def test_int8_takes_rows_of_any_size(scale: float) -> None:
    weight, _, scales = layer("int8", 200, 9)
    x = drawn(2, 200) * scale
    found = products.product(x, weight, None, scales)
    assert bool(found.isfinite().all())
    assert close(found / max(scale, 1e-30), expected("int8", x, weight, None, scales) / max(scale, 1e-30))


@compiled
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_four_bits_are_made_dense_as_pytorch_does_to_the_last_bit(dtype: torch.dtype) -> None:
    few = nf4.quantise_nf4(drawn(300, 65))  # 305 blocks, the last of which is not whole
    found = products.dense(few.codes, few.block_scales(), dtype)
    assert found is not None
    assert torch.equal(found, nf4.decoded(few.codes, few.block_scales(), dtype))
    assert torch.equal(few.rows(64, 300, dtype), few.dequantise(dtype)[64:])


@compiled
@pytest.mark.skipif(platform.machine() != "x86_64", reason="these are kinds of x86-64 processors")
@pytest.mark.parametrize("processor", ["x86-64-v2", "x86-64-v3", "x86-64-v4"])
def test_what_other_processors_run_says_the_same(
    processor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if processor == "x86-64-v4" and not torch.cpu._is_avx512_supported():
        pytest.skip("this processor has no AVX512, which the code for v4 is of")
    flags = [flag for flag in kernels.FLAGS if not flag.startswith("-march")]
    monkeypatch.setattr(kernels, "FLAGS", (*flags, f"-march={processor}"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kernels._found.cache_clear()
    try:
        assert str(tmp_path) in kernels.state()
        for kind in KINDS:
            for shape in SHAPES:
                test_a_product_is_what_it_says_in_pytorch(kind, shape)  # type: ignore[arg-type]
            test_a_row_is_the_same_alone_and_in_any_company(kind)  # type: ignore[arg-type]
        for dtype in (torch.float32, torch.bfloat16):
            test_four_bits_are_made_dense_as_pytorch_does_to_the_last_bit(dtype)
            test_attention_is_what_it_says_in_pytorch(64, dtype)
        for how in ("fp32", "bf16", "8bit", "4bit"):
            test_a_step_is_the_same_alone_and_among_others(how)
            test_a_prepared_model_says_what_it_said(how, 4e-2)
    finally:
        monkeypatch.undo()
        kernels._found.cache_clear()


@compiled
def test_what_is_not_contiguous_or_narrower_is_taken_as_it_is_meant() -> None:
    weight, bias, _ = layer("fp32", 64, 10)
    x = drawn(64, 6).t()
    assert torch.equal(products.product(x, weight, bias), products.product(x.contiguous(), weight, bias))
    half = x.bfloat16()
    assert torch.equal(products.product(half, weight, bias), products.product(half.float(), weight, bias))
    assert not products.takes(drawn(1, 10), weight.t())
    assert not products.takes(torch.empty(0, 64), weight)


# ---- attention


@compiled
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("D", [8, 20, 32, 64, 100, 128, 256])
def test_attention_is_what_it_says_in_pytorch(D: int, stored: torch.dtype) -> None:
    query = drawn(3, 6, 1, D)
    for shared, K in ((6, 1), (2, 63), (3, 64), (1, 65), (6, 300)):
        keys, values = (drawn(4, shared, 320, D, seed=seed).to(stored)[1:, :, :K] for seed in (1, 2))
        mask = torch.rand(3, K, generator=torch.Generator().manual_seed(3)) < 0.5
        mask[:, 0] = True
        for seen in (None, mask):
            assert looking.takes(query, keys, values)
            found = looking.attention(query, keys, values, seen, 0.3)
            assert close(found, plain.attention(query, keys, values, seen, 0.3))


@compiled
def test_what_a_row_does_not_see_may_be_anything() -> None:
    query, keys, values = drawn(2, 2, 1, 16), drawn(2, 2, 200, 16), drawn(2, 2, 200, 16)
    mask = torch.arange(200) < torch.tensor([[70], [200]])
    before = looking.attention(query, keys, values, mask, 0.25)
    keys[0, :, 70:], values[0, :, 70:] = 1e30, 1e30
    assert torch.equal(looking.attention(query, keys, values, mask, 0.25), before)


@compiled
def test_large_differences_between_keys_are_no_trouble() -> None:
    query, keys, values = drawn(1, 1, 1, 16) * 50, drawn(1, 1, 130, 16) * 50, drawn(1, 1, 130, 16)
    found = looking.attention(query, keys, values, None, 1.0)
    assert close(found, plain.attention(query, keys, values, None, 1.0))


@compiled
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16], ids=str)
def test_new_keys_are_stored_at_their_places(stored: torch.dtype) -> None:
    keys, values = torch.zeros(3, 2, 9, 20, dtype=stored), torch.zeros(3, 2, 9, 20, dtype=stored)
    both = drawn(3, 1, 2, 2, 20).permute(2, 0, 3, 1, 4)  # as a product gives them: strided
    places = torch.tensor([[0], [8], [3]])
    looking.store(both[0], both[1], keys, values, places)
    for new, cache in ((both[0], keys), (both[1], values)):
        wanted = torch.zeros(3, 2, 9, 20, dtype=stored)
        for row, place in enumerate(places.flatten().tolist()):
            wanted[row, :, place] = new[row, :, 0].to(stored)
        assert torch.equal(cache, wanted)


# ---- models


def prepared(how: str, **config: Any) -> tuple[Decoder, Decoder]:
    """A GPT-2 that was made ready, and one in fp32 of the same numbers that was not."""
    model = model_of(
        "gpt2", **{"vocab_size": 150, "n_positions": 64, "n_embd": 60, "n_layer": 2, "n_head": 3, **config}
    )
    if how == "bf16":
        lora.freeze(model, torch.bfloat16)
    if how in ("8bit", "4bit"):
        quant.quantise(model, how)  # type: ignore[arg-type]
    prepare(model)
    same = type(model)(model.config).eval()
    same.load_hf({name: weight.float() for name, weight in model.to_hf().items()})
    return model, same


def steps(model: Decoder, ids: Tensor, lengths: list[int]) -> list[Tensor]:
    """Logits of two steps after prompts of these lengths, as an engine makes them."""
    cache = KVCache.of(model, len(ids), 60)
    for row, length in enumerate(lengths):
        model.trunk(
            ids[row : row + 1, :length],
            attend=Attend.cached(torch.zeros(1, dtype=torch.long), length, row),
            cache=cache,
        )
    found, done = [], torch.tensor(lengths)
    for step in range(2):
        new = torch.stack([row[length + step] for row, length in zip(ids, lengths, strict=True)])[:, None]
        hidden = model.trunk(new, attend=Attend.cached(done + step, 1), cache=cache)
        found.append(model.head(hidden[:, 0]))
    return found


@pytest.mark.parametrize(("how", "tolerance"), [("fp32", 1e-5), ("bf16", 2e-2), ("8bit", 4e-2), ("4bit", 4e-2)])
def test_a_prepared_model_says_what_it_said(how: str, tolerance: float) -> None:
    model, same = prepared(how)
    ids = torch.randint(150, (3, 40), generator=torch.Generator().manual_seed(0))
    for found, wanted in zip(steps(model, ids, [5, 17, 30]), steps(same, ids, [5, 17, 30]), strict=True):
        assert close(found.float(), wanted, tolerance)
    assert close(model(ids).float(), same(ids), tolerance)


ODD: list[dict[str, Any]] = [
    {"n_head": 5, "n_inner": 50},
    {"activation_function": "relu"},
    {"scale_attn_weights": False, "tie_word_embeddings": False},
]


@pytest.mark.parametrize("config", ODD, ids=str)
def test_odd_models_are_prepared_as_well(config: dict[str, Any]) -> None:
    model, same = prepared("fp32", **config)
    ids = torch.randint(150, (2, 40), generator=torch.Generator().manual_seed(0))
    for found, wanted in zip(steps(model, ids, [9, 2]), steps(same, ids, [9, 2]), strict=True):
        assert close(found, wanted)


SMALL = {"vocab_size": 97, "hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
         "intermediate_size": 48, "num_hidden_layers": 2}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {"vocab_size": 97, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 2},
    "gpt_neox": {name: value for name, value in SMALL.items() if name != "num_key_value_heads"},
    "llama": SMALL,
    "mistral": {**SMALL, "sliding_window": 4},
    "qwen2": SMALL,
    "qwen3": SMALL,
}


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("family", FAMILIES)
def test_laws_of_answering_hold_once_a_model_is_prepared(family: str, law: Callable[[Decoder], None]) -> None:
    model = model_of(family, **FAMILIES[family])
    prepare(model)
    law(model)


@pytest.mark.parametrize("how", ["fp32", "bf16", "8bit", "4bit"])
def test_keys_and_values_are_kept_in_half_where_weights_are_and_seen_as_they_are_kept(how: str) -> None:
    model, _ = prepared(how)
    ids = torch.randint(150, (1, 40), generator=torch.Generator().manual_seed(0))
    found = []
    for first in (0, 1, 17):  # how much is read before the rest: what was rounded once must not be seen unrounded
        cache = KVCache.of(model, 1, 40)
        assert cache.dtype == (torch.float32 if how == "fp32" else torch.bfloat16)
        for start, end in ((0, first), (first, 40)):
            if end > start:
                hidden = model.trunk(
                    ids[:, start:end], attend=Attend.cached(torch.full((1,), start), end - start), cache=cache
                )
        found.append(model.head(hidden[:, -1]).float())
    assert all(close(one, found[0], 3e-3 if how == "bf16" else 1e-5) for one in found)


@compiled
@pytest.mark.parametrize("how", ["fp32", "bf16", "8bit", "4bit"])
def test_a_step_is_the_same_alone_and_among_others(how: str) -> None:
    model, _ = prepared(how, n_embd=192)  # of whole blocks of NF4
    ids = torch.randint(150, (9, 50), generator=torch.Generator().manual_seed(0))
    lengths = [3, 40, 7, 8, 21, 2, 33, 14, 5]
    together = steps(model, ids, lengths)
    for row, length in enumerate(lengths):
        for found, wanted in zip(steps(model, ids[row : row + 1], [length]), together, strict=True):
            assert torch.equal(found[0], wanted[row])


def test_weights_are_shared_and_come_back_as_they_were() -> None:
    model = model_of("gpt2", n_layer=1, n_embd=32, n_head=2, vocab_size=50)
    before = {name: weight.data_ptr() for name, weight in model.named_parameters()}
    whole = {name: weight.clone() for name, weight in model.to_hf().items()}
    prepare(model)
    assert {name: weight.data_ptr() for name, weight in model.named_parameters()} == before
    assert all(torch.equal(weight, whole[name]) for name, weight in model.to_hf().items())
    assert sum(type(module) is QuickLinear for module in model.modules()) == 4
    assert not any(weight.requires_grad for weight in model.parameters())


def test_where_the_blocks_have_8_bits_the_vocabulary_gets_8_too() -> None:
    model = model_of("gpt2", n_layer=1, n_embd=32, n_head=2, vocab_size=50)
    table = model.embedding.weight.clone()
    quant.quantise(model, "8bit")
    prepare(model)
    assert isinstance(model.embedding, Table8bit)
    assert close(model.to_hf()[model.EMBEDDING], table, 1e-2)
    ids = torch.tensor([[3, 49], [0, 7]])
    assert torch.equal(model.embed(ids), model.to_hf()[model.EMBEDDING][ids])
    other = model_of("gpt2", n_layer=1, n_embd=32, n_head=2, vocab_size=50, tie_word_embeddings=False)
    quant.quantise(other, "8bit")
    prepare(other)
    assert isinstance(other.lm_head, Quick8bit)
    assert type(other.embedding) is nn.Embedding


def test_rows_of_an_adapter_go_into_a_table_of_8_bits_and_out_again() -> None:
    model = model_of("gpt2", n_layer=1, n_embd=32, n_head=2, vocab_size=50)
    quant.quantise(model, "8bit")
    prepare(model)
    before = model.to_hf()[model.EMBEDDING]
    rows = TokenRows([7, 49], model.embedding.weight)
    rows.rows.copy_(drawn(2, 32))
    model.set_rows(rows, None)
    within = model.to_hf()[model.EMBEDDING]
    assert close(within[[7, 49]], rows.rows, 1e-2)
    model.set_rows(None, None)
    assert close(model.to_hf()[model.EMBEDDING], before, 1e-6)


def test_an_adapter_on_a_prepared_model_acts_as_on_any_other() -> None:
    model, same = prepared("fp32")
    ids = torch.randint(150, (2, 40), generator=torch.Generator().manual_seed(0))
    before = steps(model, ids, [9, 2])
    for one in (model, same):
        lora.attach(one, lora.LoraConfig(r=2, lora_alpha=4), seed=1)
        for name, weight in one.named_parameters():
            if lora.is_lora_b(name):
                weight.copy_(drawn(*weight.shape, seed=5))
    found = steps(model, ids, [9, 2])
    assert not close(found[0], before[0])
    for one, wanted in zip(found, steps(same, ids, [9, 2]), strict=True):
        assert close(one, wanted)


def test_what_learns_never_meets_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("gpt2", n_layer=1, n_embd=32, n_head=2, vocab_size=50)
    quantised = copy.deepcopy(model)
    quant.quantise(quantised, "8bit")
    lora.attach(quantised, lora.LoraConfig(r=2, lora_alpha=4))
    monkeypatch.setattr(products, "product", None)
    monkeypatch.setattr(looking, "attention", None)
    monkeypatch.setattr(looking, "store", None)
    for one in (model, quantised):
        with torch.enable_grad():
            one(torch.tensor([[3], [4]])).sum().backward()
        assert any(weight.grad is not None for weight in one.parameters())
    quantised.trunk(torch.tensor([[3, 4]]))  # validation, which has no gradients


def test_without_kernels_bf16_is_packed_and_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    if not (torch.cpu._is_avx512_bf16_supported() and torch.backends.mkldnn.is_available()):
        pytest.skip("this processor does not compute in bf16, so nothing is packed")
    monkeypatch.setenv(kernels.SWITCH, "off")
    kernels._found.cache_clear()
    try:
        model, same = prepared("bf16")
        assert kernels.library() is None
        assert sum(isinstance(module, PackedLinear) for module in model.modules()) == 8
        assert isinstance(model.embedding, PackedTable)
        ids = torch.randint(150, (2, 40), generator=torch.Generator().manual_seed(0))
        for found, wanted in zip(steps(model, ids, [9, 2]), steps(same, ids, [9, 2]), strict=True):
            assert close(found.float(), wanted, 2e-2)
        for one in (model, same):  # what an adapter teaches of a word counts where it is said, too
            rows = TokenRows([7], one.embedding.weight)
            rows.rows.data.mul_(3)
            one.set_rows(rows, None)
        for found, wanted in zip(steps(model, ids, [9, 2]), steps(same, ids, [9, 2]), strict=True):
            assert close(found.float(), wanted, 2e-2)
        for one in (model, same):
            one.set_rows(None, None)
        assert close(steps(model, ids, [9, 2])[0].float(), steps(same, ids, [9, 2])[0], 2e-2)
    finally:
        monkeypatch.undo()
        kernels._found.cache_clear()


WHOLE: list[tuple[str, dict[str, Any]]] = [
    *((family, {}) for family in FAMILIES),
    ("gpt2", {"activation_function": "relu", "n_inner": 50}),
    ("gpt_neox", {"use_parallel_residual": False, "rotary_pct": 1.0, "attention_bias": False}),
    ("llama", {"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 4}),
    ("qwen3", {"head_dim": 12}),
]


@compiled
@pytest.mark.parametrize("how", ["fp32", "bf16", "8bit", "4bit"])
@pytest.mark.parametrize(("family", "config"), WHOLE, ids=str)
def test_a_block_that_is_computed_whole_says_what_its_layers_say(
    family: str, config: dict[str, Any], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = {"n_embd": 128} if family == "gpt2" else {"hidden_size": 128, "intermediate_size": 192}
    model = model_of(family, **{**FAMILIES[family], **wide, **config})
    if how == "bf16":
        lora.freeze(model, torch.bfloat16)
    if how in ("8bit", "4bit"):
        quant.quantise(model, how)  # type: ignore[arg-type]
    prepare(model)
    ids = torch.randint(97, (3, 40), generator=torch.Generator().manual_seed(0))
    found = steps(model, ids, [9, 2, 30])
    blocks = cast(list[QuickBlock], list(model.blocks))
    in_blocks = how == "4bit" and any(n % nf4.BLOCK for n in widths(model))  # else some layers stay as they were
    assert all(block.known is not None and (block.known.block is None) == in_blocks for block in blocks)
    monkeypatch.setattr("chatwright.models.quick_blocks.is_step", lambda *_: False)
    for one, other in zip(found, steps(model, ids, [9, 2, 30]), strict=True):
        assert close(one, other, 1e-5 if how == "fp32" else 2e-2)


def widths(model: Decoder) -> set[int]:
    return {module.in_features for module in model.blocks.modules() if isinstance(module, quant.Quantised)}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_a_model_that_is_whole_in_one_precision_keeps_keys_in_it(dtype: torch.dtype) -> None:
    model = model_of("llama", **SMALL).to(dtype)
    assert KVCache.of(model, 1, 8).dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64], ids=str)
def test_a_cache_that_no_kernel_reads_is_read_all_the_same(dtype: torch.dtype) -> None:
    model = model_of("gpt2", **FAMILIES["gpt2"])
    prepare(model)
    found = []
    for stored in (torch.float32, dtype):
        cache = KVCache(model.config.cache_shape, 1, 8, device=torch.device("cpu"), dtype=stored)
        model.trunk(torch.tensor([[1, 2, 3]]), attend=Attend.cached(torch.tensor([0]), 3), cache=cache)
        found.append(model.trunk(torch.tensor([[5]]), attend=Attend.cached(torch.tensor([3]), 1), cache=cache))
    assert close(found[1], found[0], 2e-3)


@compiled
def test_positions_that_are_given_anew_turn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("llama", **SMALL)
    prepare(model)
    new, found = torch.tensor([[5]]), []
    for _ in range(2):
        cache = KVCache.of(model, 1, 8)
        model.trunk(torch.tensor([[1, 2, 3]]), attend=Attend.cached(torch.tensor([0]), 3), cache=cache)
        attend = Attend.cached(torch.tensor([3]), 1)
        places = (torch.tensor([[3]]), torch.tensor([[40]]))
        found.append([model.trunk(new, positions=place, attend=attend, cache=cache) for place in places])
        monkeypatch.setattr("chatwright.models.quick_blocks.is_step", lambda *_: False)
    assert not close(found[0][0], found[0][1])
    for one, other in zip(*found, strict=True):
        assert close(one, other)


@compiled
def test_a_layer_that_is_replaced_later_is_seen_by_its_block() -> None:
    model, _ = prepared("fp32", n_embd=64, n_head=2)
    ids = torch.randint(150, (2, 40), generator=torch.Generator().manual_seed(0))
    before = steps(model, ids, [9, 2])
    (block,) = cast(list[QuickBlock], list(model.blocks))[:1]
    other = nn.Linear(64, 256)
    model.set_submodule("transformer.h.0.mlp.c_fc", QuickLinear.of(other))
    found = steps(model, ids, [9, 2])
    assert block.known is not None
    assert block.known.parts.up.weight is other.weight
    assert not close(found[0], before[0])


@compiled
def test_a_model_that_was_moved_is_read_where_it_lies_now() -> None:
    model, _ = prepared("fp32", n_embd=96)
    ids = torch.randint(150, (2, 40), generator=torch.Generator().manual_seed(0))
    wanted = steps(model, ids, [9, 2])
    former = [weight.data for weight in model.parameters()]
    model.to(torch.float64).to(torch.float32)
    for weight in former:  # whoever still reads there is found out
        weight.zero_()
    for one, other in zip(steps(model, ids, [9, 2]), wanted, strict=True):
        assert torch.equal(one, other)


# ---- compiling


def answer(code: str, **environment: str) -> str:
    """What Python says of the library in a process of its own."""
    begin = "from chatwright.models.kernels import library; "
    done = subprocess.run(
        [sys.executable, "-c", begin + code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@compiled
def test_they_are_compiled_once_into_a_folder_of_the_users_own(tmp_path: Path) -> None:
    first = answer("print(library.state())", XDG_CACHE_HOME=str(tmp_path))
    assert first.startswith(f"compiled here ({tmp_path}")
    folder = tmp_path / "chatwright" / "kernels"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (file,) = folder.iterdir()
    made = file.stat().st_mtime_ns
    assert answer("print(library.state())", XDG_CACHE_HOME=str(tmp_path)) == first
    assert file.stat().st_mtime_ns == made
    file.chmod(0o722)
    assert "can be written to by others" in answer("print(library.state())", XDG_CACHE_HOME=str(tmp_path))


@compiled
def test_a_folder_that_others_can_write_to_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "chatwright" / "kernels").mkdir(parents=True)
    (tmp_path / "chatwright" / "kernels").chmod(0o777)
    assert "make it yours alone" in answer("print(library.state())", XDG_CACHE_HOME=str(tmp_path))
    (tmp_path / "chatwright" / "kernels").chmod(0o700)
    (tmp_path / "chatwright").chmod(0o777)
    assert "can be written to by everybody" in answer("print(library.state())", XDG_CACHE_HOME=str(tmp_path))


def test_without_a_compiler_or_with_a_broken_one_pytorch_computes_alone(tmp_path: Path) -> None:
    empty = tmp_path / "bin"
    empty.mkdir()
    says = answer("print(library.state())", PATH=str(empty), XDG_CACHE_HOME=str(tmp_path))
    assert says == "PyTorch alone (no C compiler; install gcc or clang)"
    broken = empty / "cc"
    broken.write_text("#!/bin/sh\necho cc: internal error >&2\nexit 3\n")
    broken.chmod(0o755)
    says = answer("print(library.state())", PATH=f"{empty}:/bin:/usr/bin", XDG_CACHE_HOME=str(tmp_path))
    assert "could not compile them: cc: internal error" in says
    assert answer("print(library.state())", CHATWRIGHT_KERNELS="off") == "PyTorch alone (CHATWRIGHT_KERNELS is off)"


@compiled
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process has loaded")
def test_no_second_openmp_library_comes_with_them() -> None:
    code = "library.library(); print({line.split('/')[-1] for line in open('/proc/self/maps') if 'omp' in line.split('/')[-1]})"
    assert len(eval(answer(code))) == 1
