"""4 and 8 bits: the published codes, layers that equal their dense selves, gradients through them, and nothing dense kept."""

import gc
import math
from itertools import pairwise
from statistics import NormalDist
from typing import Any, Literal
from weakref import ref

import numpy
import pytest
import torch
import torch.nn.functional as F
from tiny_models import random_ids, tiny_model
from torch import Tensor, nn

from chatwright.errors import ConfigError, DataError
from chatwright.models import lora, nf4, quant
from chatwright.models.nf4 import BLOCK, LEVELS, NF4, SCALES, dynamic_map, quantise_nf4
from chatwright.models.quant import Linear4bit, Linear8bit, Quantised, quantise, quantised_skeleton

KINDS = [Linear4bit, Linear8bit]
HOW: list[Literal["4bit", "8bit"]] = ["4bit", "8bit"]
SHAPES = [(5, 7), (1, 64), (3, 128), (70, 33), (130, 200), (300, 64)]
Precision = torch.dtype
AUTOCAST = [None, torch.bfloat16]


def matrix(*shape: int, seed: int = 0) -> Tensor:
    """Normal numbers with an outlier, a block of zeros where there is room, and rows of different width."""
    torch.manual_seed(seed)
    weight = torch.randn(shape) * 0.02 * (1 + torch.arange(shape[0]) % 3)[:, None]
    weight.view(-1)[-1] = 1.5
    if weight.numel() >= 3 * BLOCK:
        weight.view(-1)[BLOCK : 2 * BLOCK] = 0
    return weight


def linear(out: int, inside: int, bias: bool = True) -> nn.Linear:
    """A frozen layer with that matrix."""
    layer = nn.Linear(inside, out, bias=bias).requires_grad_(False)
    layer.weight.copy_(matrix(out, inside))
    return layer


def dense(layer: Quantised) -> nn.Linear:
    """The ordinary layer that a quantised one stands for."""
    plain = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None).requires_grad_(False)
    plain.weight.copy_(layer.dequantised)
    if layer.bias is not None:
        plain.bias.copy_(layer.bias)
    return plain


def autocast(dtype: Precision | None) -> torch.autocast:
    return torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None)


def far(found: Tensor, expected: Tensor) -> float:
    """The length of the difference, relative to what is expected."""
    return float((found.detach().double() - expected.detach().double()).norm() / expected.detach().double().norm())


# ---- the codes


def test_the_levels_are_the_quantiles_of_the_normal_distribution_that_the_paper_takes() -> None:
    offset, quantile = 0.9677083, NormalDist().inv_cdf
    positive = [quantile(offset + (0.5 - offset) * i / 8) for i in range(8)]
    negative = [-quantile(offset + (0.5 - offset) * i / 7) for i in range(7)]
    levels = sorted([*negative, 0.0, *positive])
    assert len(levels) == 16
    assert numpy.allclose([level / max(levels) for level in levels], LEVELS, rtol=0, atol=2e-7)


def reference_map() -> list[float]:
    """Dynamic quantisation by its definition: a decade's fractions are the middles of evenly spaced boundaries."""
    numbers = [0.0, 1.0]
    for decade in range(7):
        boundaries = numpy.linspace(0.1, 1, 2**decade + 1).tolist()
        for low, high in pairwise(boundaries):
            numbers += [sign * 10.0 ** (decade - 6) * (low + high) / 2 for sign in (1, -1)]
    return sorted(numbers)


def nearest(value: Any, numbers: list[Any]) -> int:
    return min(range(len(numbers)), key=lambda i: abs(float(numbers[i]) - float(value)))


def reference(weight: Tensor) -> tuple[list[int], list[int], list[Any], Any, list[Any]]:
    """Packed codes, codes of scales, their steps, the mean, and what it all stands for: loops over single fp32 numbers."""
    f32 = numpy.float32
    flat = [f32(number) for number in weight.flatten().tolist()]
    flat += [f32(0)] * (-len(flat) % BLOCK)
    levels, table = [f32(level) for level in LEVELS], [f32(number) for number in reference_map()]
    codes, scales = [], []
    for start in range(0, len(flat), BLOCK):
        block = flat[start : start + BLOCK]
        scale = max(abs(number) for number in block)
        scales.append(scale)
        codes += [nearest(number / scale if scale else f32(0), levels) for number in block]
    packed = [high * 16 + low for high, low in zip(codes[::2], codes[1::2], strict=True)]
    mean = f32(math.fsum(scales) / len(scales))
    steps, scale_codes, kept = [], [], []
    for start in range(0, len(scales), SCALES):
        deviations = [scale - mean for scale in scales[start : start + SCALES]]
        step = max(abs(deviation) for deviation in deviations)
        steps.append(step)
        some = [nearest(deviation / step if step else f32(0), table) for deviation in deviations]
        scale_codes += some
        kept += [table[code] * step + mean for code in some]
    stands_for = [levels[code] * kept[i // BLOCK] for i, code in enumerate(codes)]
    return packed, scale_codes, steps, mean, stands_for[: weight.numel()]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_codes_and_scales_equal_a_written_out_reference(shape: tuple[int, int]) -> None:
    weight = matrix(*shape)
    found = quantise_nf4(weight)
    packed, scale_codes, steps, mean, stands_for = reference(weight)
    assert found.codes.flatten().tolist() == packed
    assert found.scales.tolist() == scale_codes
    assert found.steps.tolist() == steps
    assert found.mean.item() == mean
    assert found.dequantise().flatten().tolist() == stands_for


def test_the_dynamic_map_has_256_numbers_from_almost_minus_one_to_one() -> None:
    assert numpy.allclose(dynamic_map(), reference_map(), rtol=1e-12)
    assert len(set(dynamic_map())) == 256
    assert -1 < dynamic_map()[0] < -0.99
    assert dynamic_map()[-1] == 1


def test_no_weight_is_further_off_than_half_the_largest_gap_and_the_error_of_its_scale() -> None:
    weight = matrix(128, 200)
    found = quantise_nf4(weight)
    blocks = weight.view(-1, BLOCK)
    scales, kept = blocks.abs().amax(dim=1), found.block_scales()
    gap = max(high - low for low, high in pairwise(LEVELS))
    error = (found.dequantise().view(-1, BLOCK) - blocks).abs().amax(dim=1)
    assert bool((error <= gap / 2 * scales + (kept - scales).abs() + 1e-6).all())
    table = dynamic_map()
    second = max(high - low for low, high in pairwise(table)) / 2
    steps = found.steps.repeat_interleave(SCALES)[: len(scales)]
    assert bool(((kept - scales).abs() <= second * steps + 1e-6).all())


def test_normal_weights_lose_a_tenth_in_4_bits_and_a_hundredth_in_8() -> None:
    torch.manual_seed(0)
    weight = nn.Linear(512, 512)
    nn.init.normal_(weight.weight, std=0.02)
    assert 0.08 < far(Linear4bit.from_linear(weight).dequantised, weight.weight) < 0.1
    assert 0.004 < far(Linear8bit.from_linear(weight).dequantised, weight.weight) < 0.01


def test_a_few_large_scales_hardly_spoil_the_others() -> None:
    torch.manual_seed(0)
    weight = torch.randn(512, 512) * 0.02
    weight[torch.rand(weight.shape) < 1e-4] *= 50
    codes = quantise_nf4(weight)
    scales = weight.view(-1, BLOCK).abs().amax(dim=1)
    exact = codes.dequantise().view(-1, BLOCK) / codes.block_scales()[:, None] * scales[:, None]
    assert far(codes.dequantise(), weight) < 1.01 * far(exact.view_as(weight), weight)


@pytest.mark.parametrize(("kind", "bits"), [(Linear4bit, 4.127), (Linear8bit, 8.02)])
def test_bits_per_weight_are_those_of_the_paper(kind: type[Quantised], bits: float) -> None:
    layer = kind.empty(1600, 6400, bias=False)
    held = sum(buffer.nbytes for buffer in layer.buffers())
    assert held * 8 / (1600 * 6400) == pytest.approx(bits, abs=6e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_stay_zeros(kind: type[Quantised]) -> None:
    weight = matrix(6, 64)
    weight[2:4] = 0
    layer = kind.empty(64, 6, bias=False)
    layer.fill(weight)
    assert not layer.dequantised[2:4].any()
    layer.fill(torch.zeros(6, 64))
    assert not layer.dequantised.any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1e-44, 1.33e-43, 1e-38, 1e30, 1.6e38])
def test_the_smallest_and_largest_numbers_come_back_finite_no_larger_and_with_their_sign(
    kind: type[Quantised], scale: float
) -> None:
    weight = torch.linspace(-2, 2, 640).view(10, 64) * scale
    layer = kind.empty(64, 10, bias=False)
    layer.fill(weight)
    assert bool(layer.dequantised.isfinite().all())
    assert float(layer.dequantised.abs().max()) <= 1.01 * float(weight.abs().max()) + 1e-44
    assert bool((layer.dequantised.sign() * weight.sign() >= 0).all())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_matrix_that_is_not_finite_is_refused_and_the_layer_keeps_what_it_had(
    kind: type[Quantised], bad: float
) -> None:
    layer = kind.from_linear(linear(9, 70))
    before = layer.dequantised
    weight = matrix(9, 70)
    weight[8, 69] = bad
    with pytest.raises(DataError, match=r"shape \(9, 70\) holds NaN or infinity"):
        layer.fill(weight)
    assert torch.equal(layer.dequantised, before)


@pytest.mark.parametrize("kind", KINDS)
def test_another_shape_or_whole_numbers_are_refused(kind: type[Quantised]) -> None:
    layer = kind.empty(7, 5, bias=True)
    with pytest.raises(DataError, match=r"is \(7, 5\) in torch.float32; it must be \(5, 7\)"):
        layer.fill(torch.zeros(7, 5))
    with pytest.raises(DataError, match=r"in torch.int8; it must be"):
        layer.fill(torch.zeros(5, 7, dtype=torch.int8))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_transposed_view_in_any_precision_gives_the_same_codes(kind: type[Quantised], dtype: Precision) -> None:
    given = matrix(130, 33).t().contiguous().to(dtype).t()  # (130, 33), as files that hold (in, out) give it
    plain = nn.Linear(33, 130)
    plain.weight.data = given.float().contiguous()
    layer = kind.empty(33, 130, bias=False)
    layer.fill(given)
    assert torch.equal(layer.dequantised, kind.from_linear(plain).dequantised)


@pytest.mark.parametrize("kind", KINDS)
def test_it_does_not_matter_in_how_large_pieces_the_work_is_done(
    kind: type[Quantised], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, x = linear(300, 70), torch.randn(40, 70)
    whole, y = kind.from_linear(plain), kind.from_linear(plain)(x)
    monkeypatch.setattr(nf4, "PIECE", 64 * 70 * 2)
    monkeypatch.setattr(quant, "DENSE", 70 * 4 * 100)  # bytes: slices of 64 rows
    pieces = kind.from_linear(plain)
    assert all(torch.equal(a, b) for a, b in zip(whole.buffers(), pieces.buffers(), strict=True))
    assert torch.equal(whole.dequantised, pieces.dequantised)
    assert [len(rows) for _, rows in pieces.slices(torch.float32)] == [64, 64, 64, 64, 44]
    assert torch.allclose(pieces(x), y, atol=1e-5)
    slopes: list[Any] = []
    for layer in (pieces, dense(whole)):
        given = x.clone().requires_grad_()
        layer(given).square().sum().backward()
        slopes.append(given.grad)
    assert far(slopes[0], slopes[1]) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_other_precisions_are_the_fp32_matrix_rounded_once(kind: type[Quantised]) -> None:
    layer = kind.from_linear(linear(70, 33))
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        assert torch.equal(layer.dequantise(dtype), layer.dequantised.to(dtype))


# ---- the layers


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_gives_what_its_dense_self_gives(kind: type[Quantised], bias: bool) -> None:
    layer = kind.from_linear(linear(70, 33, bias))
    for shape in [(33,), (1, 33), (2, 5, 33), (0, 33), (100, 33)]:
        x = torch.randn(shape)
        expected = x @ layer.dequantised.t()
        expected = expected if layer.bias is None else expected + layer.bias
        assert torch.allclose(layer(x), expected, atol=1e-5)


@pytest.mark.parametrize("narrow", AUTOCAST, ids=str)
@pytest.mark.parametrize("count", [3, 50])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_for_x_equal_those_of_the_dense_layer(
    kind: type[Quantised], count: int, narrow: Precision | None
) -> None:
    layer = kind.from_linear(linear(70, 33))
    results: list[Any] = []
    for one in (layer, dense(layer)):
        x = torch.randn(2, count, 33, generator=torch.Generator().manual_seed(1)).requires_grad_()
        with autocast(narrow):
            y = one(x)
        y.float().sin().sum().backward()
        results.append((y, x.grad))
    (y, slope), (expected, expected_slope) = results
    assert y.dtype == expected.dtype == (narrow or torch.float32)
    assert slope is not None
    assert slope.dtype == torch.float32
    tolerance = 8e-3 if narrow else 1e-6
    assert far(y, expected) < tolerance
    assert far(slope, expected_slope) < tolerance


def test_a_gradient_taken_under_autocast_is_still_computed_in_the_precision_of_x() -> None:
    layer, x = Linear4bit.from_linear(linear(70, 33)), torch.randn(20, 33, requires_grad=True)
    y = layer(x)
    with autocast(torch.bfloat16):
        (slope,) = torch.autograd.grad(y.sum(), x)
    assert torch.allclose(slope, layer.dequantised.sum(dim=0).expand(20, -1), atol=1e-6)


@pytest.mark.parametrize("narrow", AUTOCAST, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_no_dense_matrix_is_kept_for_the_backward_pass(kind: type[Quantised], narrow: Precision | None) -> None:
    layer, x = kind.from_linear(linear(71, 37)), torch.randn(20, 37, requires_grad=True)

    def saved_by(one: nn.Module) -> list[tuple[int, ...]]:
        saved: list[tuple[int, ...]] = []

        def noted(tensor: Tensor) -> Tensor:
            saved.append(tuple(tensor.shape))
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(noted, lambda tensor: tensor), autocast(narrow):
            y = one(x)
        found = [tuple(thing.shape) for thing in gc.get_objects() if issubclass(type(thing), Tensor)]
        y.sum().backward()
        return [shape for shape in saved + found if sorted(shape) == [37, 71]]

    codes = [tuple(buffer.shape) for buffer in layer.buffers()].count((71, 37))
    assert len(saved_by(layer)) == codes
    assert len(saved_by(dense(layer))) > codes  # the test would see one


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_a_layer_is_trained(kind: type[Quantised]) -> None:
    layer = kind.from_linear(nn.Linear(33, 70))
    assert not any(parameter.requires_grad for parameter in layer.parameters())
    assert not layer(torch.randn(2, 33)).requires_grad


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_dict_brings_a_layer_back(kind: type[Quantised]) -> None:
    layer = kind.from_linear(linear(70, 33))
    state = layer.state_dict()
    assert "weight" not in state
    assert {"codes", "scales", "bias"} <= state.keys()
    other = kind.empty(33, 70, bias=True)
    assert not other.dequantised.any()
    other.load_state_dict(state)
    x = torch.randn(3, 33)
    assert torch.equal(other.dequantised, layer.dequantised)
    assert torch.equal(other(x), layer(x))


@pytest.mark.parametrize("kind", KINDS)
def test_another_precision_for_the_model_rounds_no_scale(kind: type[Quantised]) -> None:
    layer = kind.from_linear(linear(70, 33))
    before = layer.dequantised
    nn.Sequential(layer).to(torch.bfloat16).half().float()
    assert torch.equal(layer.dequantised, before)
    assert layer.bfloat16()(torch.randn(2, 33, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert {buffer.device.type for buffer in layer.to("meta").buffers()} == {"meta"}


# ---- 8 bits


def test_int8_codes_are_the_rows_in_units_of_their_largest_by_127() -> None:
    weight = matrix(70, 33)
    weight[3] = 0
    layer = Linear8bit.empty(33, 70, bias=False)
    layer.fill(weight)
    for row, codes, scale in zip(weight.tolist(), layer.codes.tolist(), layer.scales.tolist(), strict=True):
        largest = max(abs(number) for number in row)
        assert scale == numpy.float32(largest) / numpy.float32(127)
        assert codes == [round(number / scale) if scale else 0 for number in row]
    error = (layer.dequantised - weight).abs().amax(dim=1)
    assert bool((error <= layer.scales * 0.5001).all())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 96), (3, 96), (2, 5, 96), (2, 8, 96)], ids=str)
def test_few_rows_in_bf16_take_the_kernel_and_equal_the_plain_form(
    shape: tuple[int, ...], bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = Linear8bit.from_linear(linear(80, 96, bias))
    x = torch.randn(shape).to(torch.bfloat16)
    found = layer(x)
    kernel = torch._weight_int8pack_mm(x.reshape(-1, 96), layer.codes, layer.scales.bfloat16()).view(found.shape)
    assert torch.equal(found, kernel if layer.bias is None else kernel + layer.bias.bfloat16())
    with autocast(torch.bfloat16):
        assert torch.equal(layer(x.float()), found)
    monkeypatch.setattr(quant, "FEW_ROWS", 0)
    plain = layer(x)
    exact = F.linear(x.double(), layer.dequantised.double(), None if layer.bias is None else layer.bias.double())
    assert far(plain, exact) < 4e-3
    assert far(found, exact) < 6e-3


def test_the_kernel_takes_what_is_not_contiguous_and_gives_gradients() -> None:
    layer = Linear8bit.from_linear(linear(80, 96))
    x = torch.randn(96, 4, dtype=torch.bfloat16).t().requires_grad_()
    y = layer(x)
    y.backward(torch.ones_like(y))
    expected = layer.dequantise(torch.bfloat16).float().sum(dim=0).expand(4, -1)
    assert x.grad is not None
    assert far(x.grad, expected) < 4e-3


def test_what_the_kernel_cannot_take_goes_the_plain_way() -> None:
    for out, inside, first in [(80, 33, 0), (12, 96, 0), (80, 40, 0), (80, 96, 1)]:
        layer = Linear8bit.from_linear(linear(out, inside))
        x = torch.randn(3 * inside + 1).to(torch.bfloat16)[first : first + 3 * inside].view(3, inside)
        assert torch.equal(layer(x), F.linear(x, layer.dequantise(x.dtype), layer.bias.bfloat16()))  # type: ignore[union-attr]


def test_of_a_number_of_outputs_that_the_kernel_cannot_take_it_takes_most() -> None:
    layer = Linear8bit.from_linear(linear(83, 96))
    x = torch.randn(3, 96).to(torch.bfloat16)
    most = torch._weight_int8pack_mm(x, layer.codes[:80], layer.scales[:80].bfloat16())
    rest = F.linear(x, layer.dequantise(torch.bfloat16)[80:])
    assert layer.bias is not None
    assert torch.equal(layer(x), torch.cat([most, rest], dim=1) + layer.bias.bfloat16())


# ---- whole models


@pytest.mark.parametrize("how", HOW)
def test_every_linear_layer_of_the_blocks_is_replaced_and_nothing_else(how: Literal["4bit", "8bit"]) -> None:
    model = tiny_model(tie_word_embeddings=False)
    before = {name: module for name, module in model.named_modules() if not isinstance(module, nn.Linear)}
    biases = {name: bias.clone() for name, bias in model.named_parameters() if name.endswith("bias")}
    old = [ref(module) for module in model.blocks.modules() if isinstance(module, nn.Linear)]
    head, weight = model.lm_head, model.output_weight.clone()
    quantise(model, how)
    after = dict(model.named_modules())
    assert all(after[name] is module for name, module in before.items())
    assert model.lm_head is head
    assert torch.equal(model.output_weight, weight)
    replaced = [module for module in after.values() if isinstance(module, Quantised)]
    assert len(replaced) == len(old) == 8
    assert not any(isinstance(module, nn.Linear) for module in model.blocks.modules())
    assert all(isinstance(module, quant.KINDS[how]) and not module.training for module in replaced)
    assert all(torch.equal(dict(model.named_parameters())[name], bias) for name, bias in biases.items())
    gc.collect()
    assert not any(one() for one in old)


def test_what_is_quantised_already_is_refused() -> None:
    model = tiny_model()
    quantise(model, "4bit")
    with pytest.raises(ConfigError, match="no linear layer left"):
        quantise(model, "8bit")


def test_a_broken_layer_is_named() -> None:
    model = tiny_model()
    model.get_parameter("transformer.h.1.mlp.c_fc.weight").data[0, 0] = math.nan
    with pytest.raises(DataError, match=r"transformer\.h\.1\.mlp\.c_fc: a matrix of the shape \(64, 16\) holds NaN"):
        quantise(model, "4bit")


@pytest.mark.parametrize("how", HOW)
def test_a_skeleton_that_is_filled_equals_a_model_that_is_quantised(how: Literal["4bit", "8bit"]) -> None:
    whole = tiny_model()
    with torch.device("meta"):
        skeleton = type(whole)(whole.config)
        quantised_skeleton(skeleton, how)
    layers = {path: module for path, module in skeleton.named_modules() if isinstance(module, Quantised)}
    assert {tensor.device.type for layer in layers.values() for tensor in layer.state_dict().values()} == {"cpu"}
    skeleton.to_empty(device="cpu")
    for path, layer in layers.items():
        layer.fill(whole.get_parameter(f"{path}.weight"), whole.get_parameter(f"{path}.bias"))
    quantise(whole, how)
    for path, layer in layers.items():
        expected = whole.get_submodule(path).state_dict()
        assert all(torch.equal(tensor, expected[name]) for name, tensor in layer.state_dict().items())


def logits_are_off(how: Literal["4bit", "8bit"]) -> float:
    """The largest change of a logit, relative to the largest logit, for weights as wide as GPT-2's are at first."""
    model = tiny_model(n_embd=192, n_head=6, n_layer=4, initializer_range=0.02)
    ids = random_ids(4, 40)
    with torch.no_grad():
        before = model(ids)
        quantise(model, how)
        return float((model(ids) - before).abs().max() / before.abs().max())


def test_logits_stay_within_a_percent_in_8_bits_and_near_in_4() -> None:
    assert logits_are_off("8bit") < 0.01
    assert logits_are_off("4bit") < 0.15


def test_the_same_code_with_two_bits_is_much_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    four, weight = logits_are_off("4bit"), matrix(64, 64)
    error = far(quantise_nf4(weight).dequantise(), weight)
    monkeypatch.setattr(nf4, "LEVELS", (*[-1.0] * 4, *[-1 / 3] * 4, *[1 / 3] * 4, *[1.0] * 4))
    assert far(quantise_nf4(weight).dequantise(), weight) > 3 * error
    assert logits_are_off("4bit") > 3 * four


@pytest.mark.parametrize("narrow", AUTOCAST, ids=str)
@pytest.mark.parametrize("how", HOW)
def test_an_adapter_learns_the_same_on_a_quantised_model_as_on_its_dense_self(
    how: Literal["4bit", "8bit"], narrow: Precision | None
) -> None:
    few, plain = tiny_model(), tiny_model()
    quantise(few, how)
    for path, module in few.named_modules():
        if isinstance(module, Quantised):
            plain.set_submodule(path, dense(module))
    gradients = []
    for model in (few, plain):
        lora.attach(model, lora.LoraConfig(r=4, lora_alpha=8))
        for name, parameter in model.named_parameters():
            if lora.is_lora_b(name):
                parameter.data.normal_(std=0.1, generator=torch.Generator().manual_seed(2))
        with autocast(narrow):
            loss = F.cross_entropy(model(random_ids(2, 20)).flatten(0, 1).float(), random_ids(40, seed=3))
        loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert len(gradients[0]) == 16
    limit = 0.1 if narrow else 1e-4
    assert all(far(slope, gradients[1][name]) < limit for name, slope in gradients[0].items())


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_a_graphics_card_gives_the_same_codes_and_outputs(kind: type[Quantised]) -> None:
    plain, x = linear(300, 70), torch.randn(40, 70)
    here, there = kind.from_linear(plain), kind.from_linear(plain.to("cuda"))
    assert torch.equal(here.codes, there.codes.cpu())
    assert torch.allclose(here.dequantised, there.dequantised.cpu(), atol=1e-6)
    assert torch.allclose(here(x), there(x.cuda()).cpu(), atol=1e-3)


def test_an_nf4_matrix_is_made_of_plain_tensors() -> None:
    found = quantise_nf4(matrix(70, 33))
    blocks = math.ceil(70 * 33 / BLOCK)
    assert isinstance(found, NF4)
    assert found.codes.shape == (blocks, 32)
    assert found.scales.shape == (blocks,)
    assert found.steps.shape == (1,)
    assert found.shape == (70, 33)
