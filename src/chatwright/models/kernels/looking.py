"""The step of one new token in each row over a cache, on a processor without gradients: it is stored, and looks.

Keys and values are read where the cache has them. Shapes: B rows, H query heads, S key-value heads, K keys, D channels.
"""

from ctypes import byref

import torch
from torch import Tensor

from chatwright.models.kernels.layout import STORED, sizes
from chatwright.models.kernels.library import library

MOST_CHANNELS = 256  # of a head, as in kernels.c


def takes(new: Tensor, keys: Tensor, values: Tensor) -> bool:
    """Whether there is a kernel for (B, H or S, 1, D) `new` numbers and a cache's (B, S, K, D) keys and values."""
    return (
        new.shape[2] == 1
        and not torch.is_grad_enabled()
        and new.dtype == torch.float32
        and new.stride(3) == 1
        and fits(keys, values)
    )


def fits(keys: Tensor, values: Tensor) -> bool:
    """Whether kernels can read this (B, S, K, D) cache."""
    D = keys.shape[3]
    return (
        keys.device.type == "cpu"
        and keys.dtype in STORED
        and D <= MOST_CHANNELS
        and keys.stride()[2:] == (D, 1)
        and keys.stride() == values.stride()
        and library() is not None
    )


def attention(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """(B, H, 1, D) query, (B, S, K, D) twice, (B, K) boolean or None: what is seen -> (B, H, 1, D); ask `takes` first."""
    kernels = library()
    assert kernels is not None
    y = torch.empty(query.shape)
    mask = None if mask is None else mask.contiguous()
    seen = None if mask is None else mask.data_ptr()
    given = (query.data_ptr(), keys.data_ptr(), values.data_ptr(), seen, y.data_ptr(), byref(sizes(query, keys)))
    kernels.cw_attention(*given, scale, torch.get_num_threads())
    return y


def store(key: Tensor, value: Tensor, keys: Tensor, values: Tensor, places: Tensor) -> None:
    """Puts (B, S, 1, D) `key` and `value` at the (B, 1) places of the rows of (B, S, K, D); ask `takes` of both first."""
    kernels = library()
    assert kernels is not None
    places = places.contiguous()
    for new, stored in ((key, keys), (value, values)):
        kernels.cw_store(new.data_ptr(), stored.data_ptr(), places.data_ptr(), byref(sizes(new, stored)))
