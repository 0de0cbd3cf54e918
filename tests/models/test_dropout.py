"""Attention with dropout: what plain autograd gives for the same draws, in fp32, and with a byte a probability kept."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from chatwright.models.attention import Attend, attention
from chatwright.models.dropout import DroppedAttention, kept

B, H, T, D = 2, 3, 9, 8
SHARE = 0.3


def heads(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(B, H, T, D).to(dtype).requires_grad_() for _ in range(3)]


def packed() -> Tensor:
    mask = Attend.packed(torch.tensor([[0, 0, 0, 1, 1, 1, 1, 2, 2], [0, 0, 1, 1, 1, 1, 1, 1, -1]])).mask
    assert mask is not None
    return mask


def written_out(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
    """The same draws in plain operations, for autograd to differentiate."""
    scores = (query.float() @ key.float().transpose(-1, -2) * scale).masked_fill(~mask, -torch.inf)
    odds = torch.softmax(scores, dim=-1)
    torch.manual_seed(1)
    keep, factor = kept(odds, SHARE)
    return (odds * keep * factor @ value.float()).to(query.dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("causal", [True, False])
def test_values_and_gradients_are_those_of_autograd_for_the_same_draws(causal: bool, dtype: torch.dtype) -> None:
    mask = torch.ones(T, T, dtype=torch.bool).tril()[None, None] if causal else packed()
    slope = torch.randn(B, H, T, D).to(dtype)
    theirs = heads(dtype)
    expected = written_out(*theirs, mask, 0.4)
    expected.backward(slope)
    ours = heads(dtype)
    torch.manual_seed(1)
    found = DroppedAttention.apply(*ours, None if causal else mask, SHARE, 0.4)
    found.backward(slope)
    exact = {torch.float32: 1e-5, torch.bfloat16: 1e-2}[dtype]
    assert found.dtype == dtype
    assert torch.allclose(found, expected, atol=exact, rtol=exact)
    for one, other in zip(ours, theirs, strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert one.grad.dtype == dtype
        assert torch.allclose(one.grad, other.grad, atol=exact, rtol=exact)


def test_on_average_it_is_attention_without_dropout() -> None:
    query, key, value = (one.detach() for one in heads())
    attend = Attend.causal(T)
    torch.manual_seed(3)
    mean = torch.stack([attention(query, key, value, attend, dropout=0.2) for _ in range(3000)]).mean(dim=0)
    assert torch.allclose(mean, F.scaled_dot_product_attention(query, key, value, is_causal=True), atol=0.06)


def test_what_waits_for_the_backward_pass_is_the_heads_and_a_byte_for_each_probability() -> None:
    sizes: list[tuple[int, torch.dtype]] = []

    def note(tensor: Tensor) -> Tensor:
        sizes.append((tensor.numel(), tensor.dtype))
        return tensor

    query, key, value = heads(torch.bfloat16)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        attention(query, key, value, Attend.causal(T), dropout=0.1).sum()
    assert sorted(sizes, key=str) == sorted(
        [(B * H * T * D, torch.bfloat16)] * 3 + [(B * H * T * T, torch.bool)], key=str
    )
