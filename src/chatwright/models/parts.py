"""What a block is made of: how a family tells a kernel that computes all of it. A family without `parts` is left alone."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Parts:
    """y = x + mixed(attention(norms[0](x))), then y + down(act(up(norms[1](y)))), or act(gate(·)) · up(·) with a `gate`.

    Where `key` and `value` are None, `query` gives all three: one after the other, or with `head_by_head` those of each
    head together. `head_norms` are those of queries and keys. With `parallel`, the second half reads x as well.
    """

    layer: int
    heads: int
    scale: float  # of the products of queries and keys
    norms: tuple[nn.Module, nn.Module]
    query: nn.Module
    mixed: nn.Module
    up: nn.Module
    down: nn.Module
    act: Callable[[Tensor], Tensor]
    key: nn.Module | None = None
    value: nn.Module | None = None
    gate: nn.Module | None = None
    head_norms: tuple[nn.Module, nn.Module] | None = None
    head_by_head: bool = False
    parallel: bool = False
