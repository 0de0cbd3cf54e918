"""LoRA: PEFT is the judge of formulas, names and gradients; plain autograd is the judge of the hand-written backward."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tiny_models import random_ids, theirs, tiny_model
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute

from chatwright.errors import ConfigError, DataError
from chatwright.models import lora
from chatwright.models.dropout import kept
from chatwright.models.gpt2 import GPT2
from chatwright.models.lora import LoraConfig, LoraLinear, LowRank
from chatwright.models.low_rank import LowRankProduct
from chatwright.models.quant import KINDS, Quantised, quantise
from chatwright.models.token_rows import TokenRows

# transformers warns of itself when peft asks it whether it recomputes activations
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

PREFIX = "base_model.model."
VARIANTS = {
    "plain": LoraConfig(r=4, lora_alpha=8),
    "rslora": LoraConfig(r=4, lora_alpha=8, use_rslora=True),
    "dora": LoraConfig(r=4, lora_alpha=8, use_dora=True),
    "dora and rslora": LoraConfig(r=2, lora_alpha=3.5, use_dora=True, use_rslora=True),
    "one target": LoraConfig(r=3, lora_alpha=8, target_modules=("c_attn",)),
    "two names of two parts": LoraConfig(r=3, lora_alpha=8, target_modules=("attn.c_proj", "mlp.c_fc")),
    "one layer by its path": LoraConfig(r=1, lora_alpha=1, target_modules=("transformer.h.1.mlp.c_proj",)),
}
VARIOUS = pytest.mark.parametrize("config", VARIANTS.values(), ids=list(VARIANTS))


def base_model(**changes: Any) -> GPT2:
    """A tiny GPT-2, always the same one, with biases that are not zero."""
    model = tiny_model(**changes)
    stir({name: parameter for name, parameter in model.named_parameters() if parameter.dim() == 1})
    return model


def adapted(config: LoraConfig, name: str = "default", seed: int = 0, model: GPT2 | None = None) -> GPT2:
    """A tiny GPT-2 with an adapter that is not at its start any more, in eval mode."""
    model = base_model() if model is None else model
    lora.attach(model, config, name, seed=seed)
    stir(lora.state(model, name), seed + 10)
    return model


def stir(tensors: Mapping[str, Tensor], seed: int = 10) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in tensors.values():
            tensor.add_(torch.empty_like(tensor).normal_(0, 0.2, generator=generator))


def settings_of(config: LoraConfig) -> dict[str, Any]:
    settings = asdict(config)
    targets = settings.pop("target_modules")
    return {
        **settings,
        "target_modules": targets if isinstance(targets, str) else list(targets),
        "fan_in_fan_out": True,
        "bias": "none",
        "task_type": "CAUSAL_LM",
    }


def written(folder: Path, tensors: Mapping[str, Tensor], config: LoraConfig) -> Path:
    """An adapter as PEFT lays it out on disk."""
    save_file(
        {PREFIX + key: tensor.contiguous() for key, tensor in tensors.items()}, folder / "adapter_model.safetensors"
    )
    settings = {"peft_type": "LORA", "inference_mode": False, **settings_of(config)}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


def opened(folder: Path, base: GPT2) -> Any:
    from peft import PeftModel

    return PeftModel.from_pretrained(theirs(base), str(folder), is_trainable=True).eval()


def made_by_peft(config: LoraConfig, base: GPT2) -> Any:
    """Their adapter on the same base, stirred."""
    from peft import LoraConfig as TheirConfig
    from peft import get_peft_model

    model = get_peft_model(theirs(base), TheirConfig(**settings_of(config))).eval()
    stir({name: weight for name, weight in model.named_parameters() if weight.requires_grad})
    return model


def peft_name(name: str) -> str:
    """The name of one of our parameters inside of a PEFT model."""
    path, _, kind = name.partition(".adapters.default.")
    return f"{PREFIX}{path}.{'lora_magnitude_vector' if kind == 'magnitude' else kind}.default.weight"


def assert_close(ours: Tensor, judge: Tensor, share: float = 1e-4) -> None:
    assert ours.shape == judge.shape
    assert (ours - judge).abs().max() <= share * judge.abs().max()


@contextmanager
def saved_tensors() -> Iterator[list[Tensor]]:
    """What autograd keeps for the backward pass."""
    kept_back: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept_back.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield kept_back


# Against PEFT


@VARIOUS
def test_peft_gives_our_logits_from_our_tensors_under_its_names(config: LoraConfig, tmp_path: Path) -> None:
    model = adapted(config)
    judge = opened(written(tmp_path, lora.state(model), config), base_model())
    ids = random_ids(2, 20)
    with torch.no_grad():
        assert_close(model(ids), judge(ids).logits)
        assert (model(ids) - base_model()(ids)).abs().max() > 1e-2  # it does something


@VARIOUS
def test_an_adapter_that_peft_saved_gives_the_same_logits_here(config: LoraConfig, tmp_path: Path) -> None:
    judge = made_by_peft(config, base_model())
    judge.save_pretrained(str(tmp_path))
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    model = base_model()
    lora.attach(model, config)
    lora.load_state(model, {key.removeprefix(PREFIX): tensor for key, tensor in tensors.items()})
    ids = random_ids(2, 20)
    with torch.no_grad():
        assert_close(model(ids), judge(ids).logits)


@VARIOUS
def test_gradients_are_those_of_peft(config: LoraConfig, tmp_path: Path) -> None:
    model = adapted(config)
    judge = opened(written(tmp_path, lora.state(model), config), base_model())
    ids = random_ids(2, 20)
    for logits in (model(ids), judge(ids).logits):
        F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
    ours = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    found = {name: p.grad for name, p in judge.named_parameters() if p.requires_grad}
    assert len(ours) == len(found) > 0
    for name, gradient in ours.items():
        assert gradient is not None
        assert gradient.abs().max() > 0
        assert_close(gradient, found[peft_name(name)])


@VARIOUS
def test_as_many_parameters_train_as_with_peft(config: LoraConfig) -> None:
    model = adapted(config)
    trained, _ = made_by_peft(config, base_model()).get_nb_trainable_parameters()
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == trained


@VARIOUS
def test_merging_gives_the_weights_of_merge_and_unload(config: LoraConfig, tmp_path: Path) -> None:
    model = adapted(config)
    ids = random_ids(2, 20)
    with torch.no_grad():
        before = model(ids)
    judge = opened(written(tmp_path, lora.state(model), config), base_model()).merge_and_unload()
    lora.merge(model)
    assert not [module for module in model.modules() if isinstance(module, LoraLinear | LowRank)]
    merged = model.to_hf()
    assert merged.keys() == base_model().to_hf().keys()
    for name, weight in judge.state_dict().items():
        if name in merged:
            assert_close(merged[name], weight, 1e-6)
    with torch.no_grad():
        assert_close(model(ids), before)


def test_all_linear_means_what_peft_means_by_it() -> None:
    config = LoraConfig(r=2, lora_alpha=4)
    ours = lora.attach(base_model(tie_word_embeddings=False), config)
    judge = made_by_peft(config, base_model(tie_word_embeddings=False))
    assert set(ours) == judge.peft_config["default"].target_modules
    assert len(ours) == 8


# At the start


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("use_dora", [False, True])
def test_a_new_adapter_changes_no_bit_of_the_logits(use_dora: bool, dtype: torch.dtype) -> None:
    base, model = base_model(), base_model()
    lora.attach(model, LoraConfig(r=4, lora_alpha=8, use_dora=use_dora))
    ids = random_ids(2, 20)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        assert torch.equal(model(ids), base(ids))


def test_equal_seeds_draw_equal_adapters_whatever_else_was_drawn() -> None:
    config = LoraConfig(r=4, lora_alpha=8)
    first, again, other, fewer = (base_model() for _ in range(4))
    lora.attach(first, config, seed=7)
    torch.rand(3)
    lora.attach(again, config, "second", seed=7)
    lora.attach(other, config, seed=8)
    lora.attach(fewer, LoraConfig(r=4, lora_alpha=8, target_modules=("mlp.c_fc",)), seed=7)
    key = "transformer.h.1.mlp.c_fc.lora_A.weight"
    drawn = lora.state(first)[key]
    assert torch.equal(drawn, lora.state(again, "second")[key])
    assert torch.equal(drawn, lora.state(fewer)[key])
    assert not torch.equal(drawn, lora.state(other)[key])
    assert not torch.equal(drawn, lora.state(first)["transformer.h.0.mlp.c_fc.lora_A.weight"])


def test_the_start_is_as_wide_as_pefts() -> None:
    config = LoraConfig(r=64, lora_alpha=8)
    model = base_model(n_embd=64)
    lora.attach(model, config)
    for key, tensor in lora.state(model).items():
        if "lora_A" in key:
            edge = 1 / math.sqrt(tensor.shape[1])  # kaiming-uniform with a = sqrt(5)
            assert 0.95 * edge < tensor.abs().max() <= edge
            assert abs(tensor.std() - edge / math.sqrt(3)) < 0.05 * edge
        else:
            assert not tensor.any()


def test_only_the_adapter_trains_and_each_of_its_parts_does() -> None:
    model = adapted(LoraConfig(r=4, lora_alpha=8, use_dora=True)).train()
    model(random_ids(2, 10)).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (".adapters.default." in name)
        assert (parameter.grad is not None) == parameter.requires_grad


# Dropout


def test_dropout_acts_in_training_only_and_follows_the_seed() -> None:
    plain = adapted(LoraConfig(r=4, lora_alpha=8))
    model = adapted(
        LoraConfig(r=4, lora_alpha=8, lora_dropout=0.5)
    )  # the tiny model is in eval mode when it is wrapped
    ids = random_ids(2, 20)
    with torch.no_grad():
        assert torch.equal(model(ids), plain(ids))
        model.train()
        torch.manual_seed(1)
        first, second = model(ids), model(ids)
        torch.manual_seed(1)
        again = model(ids)
        assert torch.equal(first, again)
        assert not torch.equal(first, second)
        assert not torch.equal(first, plain(ids))
        assert torch.equal(model.eval()(ids), plain(ids))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999999])
def test_dropout_drops_its_share_and_makes_up_for_it(share: float) -> None:
    torch.manual_seed(0)
    keep, factor = kept(torch.empty(1001, 999), share)
    assert keep.shape == (1001, 999)
    assert keep.dtype == torch.bool
    assert abs(keep.float().mean() * factor - 1) < (0.003 if share < 0.99 else 0.5)
    assert abs(keep.float().mean() - (1 - share)) < 0.002
    columns, rows = keep.float().mean(0), keep.float().mean(1)
    assert max(columns.std(), rows.std()) < 0.02  # no stripes


@pytest.mark.parametrize("use_dora", [False, True])
def test_dropout_enters_where_it_does_in_peft(use_dora: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same places dropped, ours and theirs give the same logits and gradients."""
    from peft.tuners.lora import Linear as TheirLinear

    config = LoraConfig(r=4, lora_alpha=8, lora_dropout=0.25, use_dora=use_dora, target_modules=("c_attn",))
    model = adapted(config)
    ids = random_ids(2, 12)
    keep = torch.rand(24, 16, generator=torch.Generator().manual_seed(2)) < 0.75
    monkeypatch.setattr(lora, "kept", lambda x, share: (keep, 1 / (1 - share)))

    class Given(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * keep.view(x.shape) / 0.75

    judge = made_by_peft(config, base_model())
    judge.load_state_dict(
        {
            f"{PREFIX}{key.replace('.weight', '')}.default.weight": tensor
            for key, tensor in lora.state(model).items()
        },
        strict=False,
    )  # fmt: skip
    for module in judge.modules():
        if isinstance(module, TheirLinear):
            module.lora_dropout["default"] = Given()
    ours, their_logits = model.train()(ids), judge.train()(ids).logits
    assert_close(ours, their_logits)
    target = torch.randn(ours.shape, generator=torch.Generator().manual_seed(3))
    for logits in (ours, their_logits):
        (logits * target).sum().backward()
    found = {name: p.grad for name, p in judge.named_parameters() if p.requires_grad}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None
            assert_close(parameter.grad, found[peft_name(name)])


# The product and its memory


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dropped", [True, False])
def test_the_backward_by_hand_is_that_of_autograd(dropped: bool, bias: bool) -> None:
    torch.manual_seed(0)
    base = nn.Linear(5, 7, bias=bias, dtype=torch.float64).requires_grad_(False)
    x, A, B = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in ((6, 5), (3, 5), (7, 3)))
    keep = torch.rand(6, 5) < 0.6 if dropped else None

    def ours(x: Tensor, A: Tensor, B: Tensor) -> Tensor:
        return LowRankProduct.apply(x, A, B, keep, base, 1.7)

    def plain(x: Tensor, A: Tensor, B: Tensor) -> Tensor:
        return base(x) + 1.7 * (x * (1 if keep is None else keep)) @ A.t() @ B.t()

    assert torch.allclose(ours(x, A, B), plain(x, A, B))
    assert torch.autograd.gradcheck(ours, (x, A, B))
    slope = torch.randn(6, 7, dtype=torch.float64)
    for mine, judge in zip(*(torch.autograd.grad(f(x, A, B), (x, A, B), slope) for f in (ours, plain)), strict=True):
        assert torch.allclose(mine, judge)


def test_only_the_input_and_thin_products_wait_for_the_backward_pass() -> None:
    layer = LoraLinear(nn.Linear(48, 80).requires_grad_(False))
    layer.adapters["a"] = LowRank(layer.base, LoraConfig(r=2, lora_alpha=4), torch.Generator())
    layer.active = "a"
    x = torch.randn(2, 16, 48, requires_grad=True)
    with saved_tensors() as kept_back, torch.autocast("cpu", torch.bfloat16):
        layer(x)
    assert sorted(t.numel() for t in kept_back) == sorted([32 * 48, 32 * 2, 2 * 48, 80 * 2])
    assert all(t.dtype == torch.bfloat16 for t in kept_back)


def test_the_precision_is_that_of_the_forward_pass_also_when_backward_runs_under_autocast() -> None:
    gradients = []
    for enabled in (False, True):
        model = adapted(LoraConfig(r=4, lora_alpha=8))
        loss = model(random_ids(2, 20)).square().mean()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss.backward()
        key = "transformer.h.1.mlp.c_proj"  # what lies above it is no concern of ours
        gradients.append([p.grad for p in model.get_submodule(key).parameters() if p.grad is not None])
    for plain, under_autocast in zip(*gradients, strict=True):
        assert_close(under_autocast, plain, 0.05)
        assert under_autocast.dtype == torch.float32


def test_dora_leaves_a_row_of_zeros_as_it_is() -> None:
    model = base_model()
    path = "transformer.h.0.mlp.c_fc"
    with torch.no_grad():
        model.get_submodule(path).weight[3] = 0
    ids = random_ids(2, 20)
    before = model(ids).detach()
    lora.attach(model, LoraConfig(r=4, lora_alpha=8, use_dora=True))
    logits = model(ids)
    logits.sum().backward()
    assert torch.equal(logits, before)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    lora.merge(model)
    assert_close(model(ids).detach(), before)


def test_recomputed_blocks_have_the_same_gradients() -> None:
    config = LoraConfig(r=4, lora_alpha=8, lora_dropout=0.3, use_dora=True)
    layer = LoraLinear(nn.Linear(16, 24).requires_grad_(False))
    layer.adapters["a"] = LowRank(layer.base, config, torch.Generator())
    layer.active = "a"
    stir({"B": layer.adapter("a").lora_B.detach()})
    gradients = []
    for run in (layer, lambda x: recompute(layer, x, use_reentrant=False)):
        layer.zero_grad()
        torch.manual_seed(0)
        x = torch.randn(2, 8, 16, requires_grad=True)
        run(x).square().sum().backward()
        gradients.append([x.grad, *[p.grad for p in layer.adapter("a").parameters()]])
    for plain, again in zip(*gradients, strict=True):
        assert torch.equal(plain, again)


# A quantised base


QUANTISED = pytest.mark.parametrize("how", ["4bit", "8bit"])


def dense_twin(model: GPT2) -> GPT2:
    """The same model with plain layers of the weights that its quantised ones stand for."""
    twin = base_model()
    twin.load_hf(model.to_hf())
    return twin


@QUANTISED
@pytest.mark.parametrize(
    "settings", [{}, {"use_dora": True}, {"lora_dropout": 0.3}, {"use_dora": True, "lora_dropout": 0.3}]
)
def test_over_a_quantised_base_all_is_as_over_what_it_stands_for(how: Any, settings: dict[str, Any]) -> None:
    config = LoraConfig(**{"r": 4, "lora_alpha": 8, **settings})
    model = base_model()
    quantise(model, how)
    twin = dense_twin(model)
    results = []
    ids = random_ids(2, 20)
    for one in (model, twin):
        adapted(config, model=one).train()
        torch.manual_seed(0)
        logits = one(ids)
        logits.square().mean().backward()
        results.append((logits, {name: p.grad for name, p in one.named_parameters() if p.requires_grad}))
    (ours, gradients), (judge, their_gradients) = results
    assert_close(ours, judge, 1e-5)
    assert gradients.keys() == their_gradients.keys()
    for name, gradient in gradients.items():
        assert gradient is not None
        assert_close(gradient, their_gradients[name], 1e-4)


@QUANTISED
def test_merging_into_a_quantised_base_gives_plain_layers(how: Any) -> None:
    model = base_model()
    quantise(model, how)
    adapted(LoraConfig(r=4, lora_alpha=8, target_modules=("c_attn",)), model=model)
    ids = random_ids(2, 20)
    with torch.no_grad():
        before = model(ids)
        lora.merge(model)
        assert_close(model(ids), before)
    assert type(model.get_submodule("transformer.h.0.attn.c_attn")) is nn.Linear
    assert isinstance(model.get_submodule("transformer.h.0.mlp.c_fc"), Quantised)
    assert not any(p.requires_grad for p in model.parameters())


@QUANTISED
def test_of_a_quantised_layer_no_dense_matrix_waits_for_the_backward_pass(how: Any) -> None:
    layer = LoraLinear(KINDS[how].from_linear(nn.Linear(64, 128)))
    layer.adapters["a"] = LowRank(layer.base, LoraConfig(r=2, lora_alpha=4), torch.Generator())
    layer.active = "a"
    with saved_tensors() as kept_back:
        layer(torch.randn(4, 64, requires_grad=True))
    assert max(t.numel() for t in kept_back) < 64 * 128 / 8


# Precision


@pytest.mark.parametrize("use_dora", [False, True])
def test_in_bf16_logits_and_gradients_are_as_near_to_fp32_as_pefts(use_dora: bool, tmp_path: Path) -> None:
    config = LoraConfig(r=4, lora_alpha=8, use_dora=use_dora)
    exact, narrow, frozen = adapted(config), adapted(config), adapted(config)
    lora.freeze(frozen, torch.bfloat16)
    judge = opened(written(tmp_path, lora.state(exact), config), base_model())
    ids = random_ids(8, 40)

    def outcome(model: Any, enabled: bool = True) -> dict[str, Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            logits = model(ids)
        logits = logits.logits if model is judge else logits
        assert logits.dtype == (torch.bfloat16 if enabled else torch.float32)
        F.cross_entropy(logits.float().flatten(0, 1), ids.flatten()).backward()
        rename = (lambda name: name) if model is judge else peft_name
        gradients = {rename(name): p.grad for name, p in model.named_parameters() if p.requires_grad}
        assert all(gradient.dtype == torch.float32 for gradient in gradients.values())
        return {"logits": logits.detach().float(), **gradients}

    right = outcome(exact, enabled=False)
    errors = []
    for model in (judge, narrow, frozen):
        found = outcome(model)
        assert found.keys() == right.keys()
        errors.append(
            sum(float((found[name] - right[name]).norm() / right[name].norm()) for name in right) / len(right)
        )
    assert errors[0] < 0.1
    assert max(errors) < 1.5 * errors[0]


@pytest.mark.parametrize("use_dora", [False, True])
@pytest.mark.parametrize("active", [True, False])
def test_a_bf16_base_takes_an_fp32_stream_and_gives_one(active: bool, use_dora: bool) -> None:
    layer = LoraLinear(nn.Linear(16, 24))
    layer.adapters["a"] = LowRank(layer.base, LoraConfig(r=4, lora_alpha=8, use_dora=use_dora), torch.Generator())
    layer.active = "a" if active else None
    x = torch.randn(2, 8, 16, requires_grad=True)
    exact = layer(x)
    lora.freeze(layer, torch.bfloat16)
    narrow = layer(x)
    assert narrow.dtype == torch.float32
    assert_close(narrow, exact, 0.02)
    narrow.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == torch.float32


def test_freezing_narrows_the_matrices_of_the_base_alone() -> None:
    model = adapted(LoraConfig(r=4, lora_alpha=8, use_dora=True))
    lora.freeze(model, torch.bfloat16)
    for name, parameter in model.named_parameters():
        own = ".adapters." in name
        assert parameter.requires_grad == own
        assert parameter.dtype == (torch.bfloat16 if parameter.dim() == 2 and not own else torch.float32)
    assert model.embedding.weight.dtype == torch.bfloat16


def test_a_change_of_length_too_small_for_bf16_is_not_lost_under_it() -> None:
    model = base_model()
    lora.attach(model, LoraConfig(r=2, lora_alpha=2, use_dora=True, target_modules=("transformer.h.1.mlp.c_fc",)))
    layer = model.get_submodule("transformer.h.1.mlp.c_fc")
    x = torch.randn(64, 16)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        before = layer(x)
        lora.state(model)["transformer.h.1.mlp.c_fc.lora_magnitude_vector"].mul_(1.003)
        assert abs((layer(x).float() / before.float()).mean() - 1.003) < 0.001


# Several adapters


def test_switching_gives_what_each_gives_alone() -> None:
    configs = {
        "one": LoraConfig(r=4, lora_alpha=8),
        "two": LoraConfig(r=2, lora_alpha=8, use_dora=True, target_modules=("mlp.c_fc", "attn.c_proj")),
    }
    ids = random_ids(2, 20)
    with torch.no_grad():
        alone = {name: adapted(config, name, seed=len(name))(ids) for name, config in configs.items()}
        model = base_model()
        base = model(ids)
        for name, config in configs.items():
            adapted(config, name, seed=len(name), model=model)
        assert lora.names(model) == ["one", "two"]
        for name in ("one", "two", "one"):
            lora.use(model, name)
            assert torch.equal(model(ids), alone[name])
        lora.use(model, None)
        assert torch.equal(model(ids), base)


def test_what_was_switched_to_last_trains_even_while_the_base_is_asked() -> None:
    model = adapted(LoraConfig(r=4, lora_alpha=8), "one")
    adapted(LoraConfig(r=4, lora_alpha=8), "two", model=model)
    assert all(p.requires_grad == (".adapters.two." in name) for name, p in model.named_parameters())
    lora.use(model, "one")
    assert all(p.requires_grad == (".adapters.one." in name) for name, p in model.named_parameters())
    loss = model(random_ids(1, 8)).sum()
    lora.use(model, None)  # a reference policy between forward and backward
    loss.backward()
    trained = {name for name, p in model.named_parameters() if p.grad is not None}
    assert trained == {name for name, _ in model.named_parameters() if ".adapters.one." in name} != set()


def test_an_adapter_taken_off_leaves_no_trace() -> None:
    model, base = base_model(), base_model()
    modules = {path: id(module) for path, module in model.named_modules()}
    adapted(LoraConfig(r=4, lora_alpha=8), "one", model=model)
    adapted(LoraConfig(r=2, lora_alpha=8, target_modules=("c_fc",)), "two", model=model)
    lora.remove(model, "two")
    assert lora.names(model) == ["one"]
    ids = random_ids(1, 8)
    with torch.no_grad():
        assert torch.equal(model(ids), base(ids))  # the one taken off was active
        lora.use(model, "one")
        assert torch.equal(model(ids), adapted(LoraConfig(r=4, lora_alpha=8), "one")(ids))
        lora.remove(model, "one")
        assert {path: id(module) for path, module in model.named_modules()} == modules
        assert torch.equal(model(ids), base(ids))


def test_merging_takes_the_active_adapter_alone() -> None:
    model = adapted(LoraConfig(r=4, lora_alpha=8), "one")
    adapted(LoraConfig(r=4, lora_alpha=8), "two", seed=1, model=model)
    lora.use(model, "one")
    lora.merge(model)
    ids = random_ids(1, 8)
    with torch.no_grad():
        assert_close(model(ids), adapted(LoraConfig(r=4, lora_alpha=8), "one")(ids))
    assert lora.names(model) == []


def test_lora_plus_knows_which_parameters_are_b() -> None:
    model = adapted(LoraConfig(r=4, lora_alpha=8, use_dora=True))
    chosen = [name for name, _ in model.named_parameters() if lora.is_lora_b(name)]
    assert len(chosen) == 8
    assert all(name.endswith("adapters.default.lora_B") for name in chosen)


# Refusals


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"r": 0}, "the rank r is 0"),
        ({"r": -1}, "the rank r is -1"),
        ({"r": 10_001}, "from 1 to 10,000"),
        ({"r": 4.0}, "whole number"),
        ({"r": True}, "the rank r is True"),
        ({"r": None}, "the rank r is None"),
        ({"lora_alpha": 0}, "lora_alpha is 0"),
        ({"lora_alpha": -2.0}, "lora_alpha is -2.0"),
        ({"lora_alpha": math.nan}, "lora_alpha is nan"),
        ({"lora_alpha": math.inf}, "lora_alpha is inf"),
        ({"lora_alpha": 10**400}, "lora_alpha is 1000"),
        ({"lora_alpha": True}, "lora_alpha is True"),
        ({"lora_alpha": "8"}, "lora_alpha is '8'"),
        ({"lora_dropout": 1}, "lora_dropout is 1"),
        ({"lora_dropout": -0.1}, "lora_dropout is -0.1"),
        ({"lora_dropout": math.nan}, "lora_dropout is nan"),
        ({"lora_dropout": False}, "lora_dropout is False"),
        ({"target_modules": ()}, "target_modules is ()"),
        ({"target_modules": ("",)}, "target_modules is ('',)"),
        ({"target_modules": "c_attn"}, "target_modules is 'c_attn'"),
        ({"target_modules": (1,)}, "target_modules is (1,)"),
        ({"target_modules": None}, "target_modules is None"),
        ({"use_rslora": 1}, "use_rslora is 1"),
        ({"use_dora": "yes"}, "use_dora is 'yes'"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        LoraConfig(**{"r": 4, "lora_alpha": 8, **wrong})
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("c_atn", "'c_atn' is nothing in this model, did you mean 'c_attn'?"),
        ("attn.c_prj", "did you mean 'attn.c_proj'?"),
        ("_attn", "is nothing in this model"),  # a name matches whole parts of a path only
        ("q_proj", "the linear layers there: c_attn, c_proj, c_fc"),
        ("wte", "'wte' is no linear layer of the blocks"),
        ("ln_1", "'ln_1' is no linear layer"),
        ("attn", "'attn' is no linear layer"),
        ("lm_head", "'lm_head' is no linear layer of the blocks"),
        ("base", "is nothing in this model"),
        ("lora_A", "is nothing in this model"),
        ("default", "is nothing in this model"),
    ],
)
def test_targets_that_are_no_linear_layers_are_refused(target: str, says: str) -> None:
    model = adapted(LoraConfig(r=4, lora_alpha=8), model=base_model(tie_word_embeddings=False))
    before = [path for path, _ in model.named_modules()]
    with pytest.raises(ConfigError, match="target_modules") as refused:
        lora.attach(model, LoraConfig(r=4, lora_alpha=8, target_modules=("c_fc", target)), "second")
    assert says in str(refused.value)
    assert [path for path, _ in model.named_modules()] == before


@pytest.mark.parametrize("name", ["", "a.b", "keys", "train", "training", "default"])
def test_a_name_that_an_adapter_cannot_have_is_refused(name: str) -> None:
    model = adapted(LoraConfig(r=4, lora_alpha=8))
    with pytest.raises(ConfigError, match="adapter"):
        lora.attach(model, LoraConfig(r=4, lora_alpha=8), name)


def test_an_unknown_adapter_is_refused_with_the_list() -> None:
    model = adapted(LoraConfig(r=4, lora_alpha=8), "pirate")
    for call in (lora.use, lora.remove, lora.state, lambda model, name: lora.load_state(model, {}, name)):
        with pytest.raises(ConfigError, match=r"no adapter 'pirat', did you mean 'pirate'.; attached: pirate"):
            call(model, "pirat")
    with pytest.raises(ConfigError, match="attached: none"):
        lora.use(base_model(), "pirate")
    lora.use(model, None)
    with pytest.raises(ConfigError, match=r"no adapter is active.*attached: pirate"):
        lora.merge(model)


def test_tensors_of_another_adapter_are_refused_and_change_nothing() -> None:
    config = LoraConfig(r=4, lora_alpha=8)
    model = adapted(config)
    own = {key: tensor.clone() for key, tensor in lora.state(model).items()}
    key = "transformer.h.1.mlp.c_fc.lora_A.weight"
    wrong = {
        f"lacks '{key}'": {name: tensor for name, tensor in own.items() if name != key},
        "holds 'transformer.h.2.mlp.c_fc.lora_A.weight'": {**own, "transformer.h.2.mlp.c_fc.lora_A.weight": own[key]},
        "(4, 17) in the adapter, but (4, 16) is asked for": {**own, key: torch.zeros(4, 17)},
        "(8, 16) in the adapter": {**own, key: torch.zeros(8, 16)},
        "torch.int8": {**own, key: torch.zeros(4, 16, dtype=torch.int8)},
    }
    for says, tensors in wrong.items():
        with pytest.raises(DataError) as refused:
            lora.load_state(model, {name: tensor + 1 if name != key else tensor for name, tensor in tensors.items()})
        assert says in str(refused.value)
        assert all(torch.equal(tensor, own[name]) for name, tensor in lora.state(model).items())
    wider = base_model(n_embd=32)
    lora.attach(wider, config)
    with pytest.raises(DataError, match="this adapter was made for another base"):
        lora.load_state(wider, own)


def test_an_adapter_in_half_precision_is_taken() -> None:
    model, other = adapted(LoraConfig(r=4, lora_alpha=8)), base_model()
    lora.attach(other, LoraConfig(r=4, lora_alpha=8))
    lora.load_state(other, {key: tensor.bfloat16() for key, tensor in lora.state(model).items()})
    for key, tensor in lora.state(other).items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, lora.state(model)[key].bfloat16().float())


# The rows of new tokens

NEW = [298, 7, 299]


def with_rows(model: GPT2) -> TokenRows:
    model.requires_grad_(False)
    return TokenRows(NEW, model.embedding.weight)


def test_new_rows_get_the_gradient_of_a_trained_embedding() -> None:
    """From the embedding's side and from the tied head's, by plain autograd over a dense matrix."""
    dense, model = base_model(), base_model()
    rows = with_rows(model)
    ids = torch.cat([random_ids(2, 10), torch.tensor([NEW, [7, 7, 1]])], dim=1)
    positions = torch.arange(13)

    def hidden(model: GPT2, embedded: Tensor) -> Tensor:
        x = embedded + model.transformer.wpe(positions)
        return model.transformer.ln_f(x.tanh())

    dense_rows = dense.embedding.weight
    x = hidden(dense, F.embedding(ids, dense_rows))
    embedding_side = torch.autograd.grad(F.linear(x, dense_rows.detach()).square().sum(), dense_rows)[0]
    assert embedding_side is not None

    rows.write(model.embedding.weight)
    slope = rows.slope(ids)
    assert not slope.any()
    x = hidden(model, model.embedding(ids) + slope)
    loss = F.linear(x, model.embedding.weight).square().sum()
    assert_close(torch.autograd.grad(loss, rows.rows)[0], embedding_side[NEW], 1e-5)

    x = hidden(dense, F.embedding(ids, dense_rows))
    both = torch.autograd.grad(F.linear(x, dense_rows).square().sum(), dense_rows)[0]
    x = hidden(model, model.embedding(ids) + rows.slope(ids))
    head = model.embedding.weight.index_copy(0, rows.indices, rows.rows)
    assert_close(torch.autograd.grad(F.linear(x, head).square().sum(), rows.rows)[0], both[NEW], 1e-5)


def test_rows_that_no_id_asks_for_get_a_gradient_of_zero() -> None:
    rows = TokenRows([3, 5], torch.randn(9, 4))
    rows.slope(torch.tensor([[1, 5, 5], [0, 2, 8]])).sum().backward()
    assert rows.rows.grad is not None
    assert rows.rows.grad.tolist() == [[0.0] * 4, [2.0] * 4]


def test_writing_puts_the_newest_rows_into_the_matrix_and_touches_no_other() -> None:
    model = base_model()
    rows = with_rows(model)
    before = model.embedding.weight.clone()
    rows.write(model.embedding.weight)
    assert torch.equal(model.embedding.weight, before)  # they start as they are
    with torch.no_grad():
        rows.rows.add_(1)
    rows.write(model.embedding.weight)
    changed = (model.embedding.weight != before).any(dim=1).nonzero().flatten().tolist()
    assert changed == sorted(NEW)
    assert torch.equal(model.embedding.weight[NEW], before[NEW] + 1)


def test_rows_stay_fp32_masters_of_a_bf16_matrix_and_survive_freezing() -> None:
    model = base_model()
    model.token_rows = with_rows(model)
    lora.attach(model, LoraConfig(r=4, lora_alpha=8))
    lora.freeze(model, torch.bfloat16)
    assert model.token_rows.rows.requires_grad
    assert model.token_rows.rows.dtype == torch.float32
    with torch.no_grad():
        model.token_rows.rows.add_(1e-4)  # too little for bf16, step by step, and not when it adds up
    model.token_rows.write(model.embedding.weight)
    assert torch.equal(model.embedding.weight[NEW], model.token_rows.rows.bfloat16())
    assert TokenRows(NEW, model.embedding.weight).rows.dtype == torch.float32


def test_peft_gives_our_logits_from_our_rows(tmp_path: Path) -> None:
    model, config = base_model(), LoraConfig(r=4, lora_alpha=8, target_modules=("c_attn",))
    rows = with_rows(model)
    adapted(config, model=model)
    stir({"rows": rows.rows.detach()})
    delta = {"transformer.wte.token_adapter.trainable_tokens_delta": rows.rows.detach()}
    written(tmp_path, lora.state(model) | delta, config)
    settings = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps({**settings, "trainable_token_indices": NEW}))
    judge = opened(tmp_path, base_model())
    rows.write(model.embedding.weight)
    ids = torch.cat([random_ids(2, 10), torch.tensor([NEW, NEW])], dim=1)
    with torch.no_grad():
        assert_close(model(ids), judge(ids).logits)


@pytest.mark.parametrize(
    ("indices", "says"),
    [([300], "token id 300"), ([-1], "token id -1"), ([True], "token id True"), ([], "are []"), ([4, 4], "[4, 4]")],
)
def test_rows_of_tokens_that_cannot_be_are_refused(indices: list[int], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        TokenRows(indices, torch.zeros(300, 4))
    assert says in str(refused.value)
