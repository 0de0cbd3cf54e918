"""GPT-2 as two well-known teaching projects build it, written out for tests: the modules and names of their state dicts.

Only what a name or a shape depends on is theirs; the arithmetic is the paper's.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """(B, T, C) each -> (B, T, C), causal, the heads side by side."""
    parts = (one.unflatten(2, (heads, -1)).transpose(1, 2) for one in (query, key, value))
    return F.scaled_dot_product_attention(*parts, is_causal=True).transpose(1, 2).flatten(2)


class BareNorm(nn.Module):
    """A layer norm that may lack its bias."""

    def __init__(self, channels: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, 1e-5)


class NanoAttention(nn.Module):
    def __init__(self, channels: int, heads: int, positions: int, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.c_attn = nn.Linear(channels, 3 * channels, bias=bias)
        self.c_proj = nn.Linear(channels, channels, bias=bias)
        # what PyTorch before 2.0 made it keep; in a model without biases only the name is confusing
        self.register_buffer("bias", torch.tril(torch.ones(positions, positions))[None, None])

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(attend(*self.c_attn(x).chunk(3, dim=2), self.heads))


class NanoMLP(nn.Module):
    def __init__(self, channels: int, bias: bool) -> None:
        super().__init__()
        self.c_fc = nn.Linear(channels, 4 * channels, bias=bias)
        self.c_proj = nn.Linear(4 * channels, channels, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(F.gelu(self.c_fc(x)))


class NanoBlock(nn.Module):
    def __init__(self, channels: int, heads: int, positions: int, bias: bool) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = BareNorm(channels, bias), BareNorm(channels, bias)
        self.attn = NanoAttention(channels, heads, positions, bias)
        self.mlp = NanoMLP(channels, bias)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class NanoGPT(nn.Module):
    """nanoGPT: Linear where Hugging Face has Conv1D, the exact GELU, one switch for all biases, a tied head."""

    def __init__(
        self, *, n_layer: int, n_head: int, n_embd: int, block_size: int, bias: bool, vocab_size: int, dropout: float
    ) -> None:
        super().__init__()
        assert dropout == 0
        parts = {
            "wte": nn.Embedding(vocab_size, n_embd),
            "wpe": nn.Embedding(block_size, n_embd),
            "h": nn.ModuleList(NanoBlock(n_embd, n_head, block_size, bias) for _ in range(n_layer)),
            "ln_f": BareNorm(n_embd, bias),
        }
        self.transformer = nn.ModuleDict(parts)
        self.lm_head = nn.Linear(n_embd, vocab_size, bias=False)
        self.transformer["wte"].weight = self.lm_head.weight

    def forward(self, ids: Tensor) -> Tensor:
        parts = self.transformer
        x = parts["wte"](ids) + parts["wpe"](torch.arange(ids.shape[1]))
        for block in parts["h"]:
            x = block(x)
        return self.lm_head(parts["ln_f"](x))


class ScaleShift(nn.Module):
    """A layer norm with the book's names; the variance is the biased one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return self.scale * centred / torch.sqrt(x.var(-1, keepdim=True, unbiased=False) + 1e-5) + self.shift


class BookAttention(nn.Module):
    def __init__(self, channels: int, heads: int, positions: int, qkv_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.W_query = nn.Linear(channels, channels, bias=qkv_bias)
        self.W_key = nn.Linear(channels, channels, bias=qkv_bias)
        self.W_value = nn.Linear(channels, channels, bias=qkv_bias)
        self.out_proj = nn.Linear(channels, channels)
        self.register_buffer("mask", torch.triu(torch.ones(positions, positions), diagonal=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.out_proj(attend(self.W_query(x), self.W_key(x), self.W_value(x), self.heads))


class BookGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x, approximate="tanh")


class BookFeedForward(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(channels, 4 * channels), BookGELU(), nn.Linear(4 * channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class BookBlock(nn.Module):
    def __init__(self, channels: int, heads: int, positions: int, qkv_bias: bool) -> None:
        super().__init__()
        self.att = BookAttention(channels, heads, positions, qkv_bias)
        self.ff = BookFeedForward(channels)
        self.norm1, self.norm2 = ScaleShift(channels), ScaleShift(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.att(self.norm1(x))
        return x + self.ff(self.norm2(x))


class BookGPT(nn.Module):
    """The book's GPT-2: queries, keys and values apart, a head of its own."""

    def __init__(
        self, *, vocab_size: int, context_length: int, emb_dim: int, n_heads: int, n_layers: int, qkv_bias: bool
    ) -> None:
        super().__init__()
        self.tok_emb = nn.Embedding(vocab_size, emb_dim)
        self.pos_emb = nn.Embedding(context_length, emb_dim)
        self.trf_blocks = nn.Sequential(
            *(BookBlock(emb_dim, n_heads, context_length, qkv_bias) for _ in range(n_layers))
        )
        self.final_norm = ScaleShift(emb_dim)
        self.out_head = nn.Linear(emb_dim, vocab_size, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tok_emb(ids) + self.pos_emb(torch.arange(ids.shape[1]))
        return self.out_head(self.final_norm(self.trf_blocks(x)))


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Wide random weights everywhere: zeros and ones would hide a bias or a norm that got lost."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    return model.eval()
