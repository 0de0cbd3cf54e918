"""A few rows of a frozen embedding that are trained nevertheless: those of new chat tokens under LoRA.

The rows live here in fp32 and are written into the matrix before each forward pass, so that whatever reads the matrix,
a tied head included, sees them; PEFT calls this `trainable_token_indices`. n rows of C channels; B, T: ids.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from chatwright.errors import ConfigError
from chatwright.models.quant import Linear8bit


class TokenRows(nn.Module):
    """The rows of `indices`, which start as they are in `weight` (V, C). ConfigError for ids that are not in it."""

    indices: Tensor  # (n,)
    before: Tensor  # (n, C)

    def __init__(self, indices: Sequence[int], weight: Tensor) -> None:
        super().__init__()
        wrong = [one for one in indices if type(one) is not int or not 0 <= one < len(weight)]
        if wrong:
            raise ConfigError(f"token id {wrong[0]!r} cannot be trained; ids go from 0 to {len(weight) - 1}")
        if not indices or len(set(indices)) < len(indices):
            raise ConfigError(f"the token ids to train are {list(indices)}; give one or more, each once")
        self.register_buffer("indices", torch.tensor(indices, device=weight.device))
        self.register_buffer("before", weight.detach()[self.indices].clone(), persistent=False)  # (n, C)
        self.rows = nn.Parameter(self.before.float().clone())  # (n, C); .float() of fp32 alone is the same memory

    @torch.no_grad()
    def write(self, weight: Tensor) -> None:
        """Puts the rows into the (V, C) matrix, in its precision."""
        weight[self.indices] = self.rows.to(weight.dtype)

    def slope(self, ids: Tensor) -> Tensor:
        """(B, T) ids -> (B, T, C) zeros, to be added to the embeddings: through them the gradient reaches `rows`."""
        zeros: Tensor = _Slope.apply(self.rows, ids, self.indices)  # type: ignore[no-untyped-call]
        return zeros


@torch.no_grad()
def put(table: nn.Module, indices: Tensor, rows: Tensor) -> None:
    """Puts (n, C) rows at the (n,) indices of an embedding or a head, in its precision."""
    if isinstance(table, Linear8bit):
        table.put(indices, rows)
    else:
        assert isinstance(table, nn.Embedding | nn.Linear)
        table.weight[indices] = rows.to(table.weight.dtype)


def grown(weight: Tensor, known: int, tokens: int) -> nn.Parameter:
    """(V, C) -> (max(V, tokens), C), the rows from `known` on being the mean of those before."""
    mean = weight.detach()[:known].float().mean(dim=0, keepdim=True).to(weight.dtype)
    after = weight.detach()[tokens:]
    rows = torch.cat([weight.detach()[:known], mean.expand(tokens - known, -1), after])
    return nn.Parameter(rows, requires_grad=weight.requires_grad)


class _Slope(torch.autograd.Function):
    """Zeros that take no memory, and whose gradient is summed up per row."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Tensor:
        rows, ids, indices = given
        ctx.save_for_backward(ids, indices)
        zeros: Tensor = rows.new_zeros(()).expand(*ids.shape, rows.shape[1])
        return zeros

    @staticmethod
    def backward(ctx: Any, *slopes: Any) -> tuple[Tensor, None, None]:
        ids, indices = ctx.saved_tensors
        places, which = (ids.flatten()[:, None] == indices).nonzero(as_tuple=True)  # both (number of such tokens,)
        slope = slopes[0].flatten(0, -2)  # (B · T, C)
        rows = slope.new_zeros(len(indices), slope.shape[1])
        return rows.index_add_(0, which, slope[places]), None, None
