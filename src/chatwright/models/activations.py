"""Activation functions of the feed-forward layers, by the names that Hugging Face's configs give them."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from chatwright.errors import ConfigError


def tanh_gelu(x: Tensor) -> Tensor:
    """GELU by the tanh formula of the paper's code (Hendrycks and Gimpel, 2016)."""
    return F.gelu(x, approximate="tanh")


# gelu_new, gelu_fast and gelu_pytorch_tanh are the same formula, spelled three times
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": tanh_gelu,
    "gelu_fast": tanh_gelu,
    "gelu_pytorch_tanh": tanh_gelu,
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
}


def check_activation(key: str, name: object) -> None:
    """ConfigError with the known names where the config's `key` gives none of them."""
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise ConfigError(f"{key} {name!r} is not supported; {', '.join(ACTIVATIONS)} are")
