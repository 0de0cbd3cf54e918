"""LoRA: trained low-rank products beside frozen linear layers, y = W x + b + s · B A dropout(x), under PEFT's names.

s is alpha / r (Hu et al., 2021) or alpha / sqrt(r) (rsLoRA: Kalajdzievski, 2023). DoRA (Liu et al., 2024) also trains the
length m of every row of the sum: m · (W + s B A) / |W + s B A|. Each adapter has a name; at most one is active.
Shapes: N tokens, `in` and `out` features of a layer, r the rank.
"""

import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import torch
from torch import Tensor, nn

from chatwright.errors import ConfigError, DataError
from chatwright.models.dropout import kept
from chatwright.models.low_rank import Base, LowRankProduct, frozen, matrix, unquantised
from chatwright.models.token_rows import TokenRows
from chatwright.registry import suggestion

MOST_RANK, MOST_ALPHA = 10_000, 1e9


@dataclass(frozen=True)
class LoraConfig:
    """What PEFT's `LoraConfig` calls by the same names. ConfigError names what cannot be."""

    r: int
    lora_alpha: float
    lora_dropout: float = 0.0
    target_modules: tuple[str, ...] | Literal["all-linear"] = "all-linear"
    use_rslora: bool = False
    use_dora: bool = False

    def __post_init__(self) -> None:
        if type(self.r) is not int or not 1 <= self.r <= MOST_RANK:
            raise ConfigError(f"the rank r is {self.r!r}; it must be a whole number from 1 to {MOST_RANK:,}")
        if type(self.lora_alpha) not in (int, float) or not 0 < self.lora_alpha <= MOST_ALPHA:
            raise ConfigError(f"lora_alpha is {self.lora_alpha!r}; it must be a number above 0, such as twice the rank")
        if type(self.lora_dropout) not in (int, float) or not 0 <= self.lora_dropout < 1:
            raise ConfigError(f"lora_dropout is {self.lora_dropout!r}; it must be at least 0 and below 1")
        names = self.target_modules
        is_list = type(names) is tuple and names and all(type(name) is str and name for name in names)
        if names != "all-linear" and not is_list:
            raise ConfigError(f"target_modules is {names!r}; it must be 'all-linear' or a list of modules' names")
        for flag in ("use_rslora", "use_dora"):
            if type(vars(self)[flag]) is not bool:
                raise ConfigError(f"{flag} is {vars(self)[flag]!r}; it must be true or false")

    @property
    def scaling(self) -> float:
        """s: what the low-rank product is multiplied with."""
        return self.lora_alpha / (math.sqrt(self.r) if self.use_rslora else self.r)


class LoraLinear(nn.Module):
    """A frozen linear layer and its adapters by name; without an active one it gives what the layer alone would."""

    def __init__(self, base: Base) -> None:
        super().__init__()
        self.base = base
        self.adapters = nn.ModuleDict()
        self.active: str | None = None
        self.train(base.training)

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) -> (…, out), in the precision of autocast or, without it, that of x."""
        narrow = torch.is_autocast_enabled(x.device.type)
        dtype = torch.get_autocast_dtype(x.device.type) if narrow else self._precision(x)
        rows = x.to(dtype).reshape(-1, x.shape[-1])  # (N, in)
        y = frozen(self.base, rows) if self.active is None else self.adapter(self.active)(rows, self.base)
        return y.view(*x.shape[:-1], -1).to(dtype if narrow else x.dtype)

    def _precision(self, x: Tensor) -> torch.dtype:
        """That of the weights, or of x where they are quantised."""
        return self.base.weight.dtype if isinstance(self.base, nn.Linear) else x.dtype

    def adapter(self, name: str) -> "LowRank":
        """The adapter of this name; KeyError if there is none here."""
        module = self.adapters[name]
        assert isinstance(module, LowRank)
        return module


class LowRank(nn.Module):
    """One adapter of one layer, in fp32: A is drawn as PEFT draws it, B is zero, so that it changes nothing at first."""

    magnitude: nn.Parameter | None

    def __init__(self, base: Base, config: LoraConfig, generator: torch.Generator) -> None:
        super().__init__()
        device = next(chain(base.parameters(), base.buffers())).device
        drawn = nn.init.kaiming_uniform_(torch.empty(config.r, base.in_features), math.sqrt(5), generator=generator)
        self.lora_A = nn.Parameter(drawn.to(device))  # (r, in)
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, config.r, device=device))  # (out, r)
        self.scaling, self.dropout = config.scaling, config.lora_dropout
        length = self._length(base) if config.use_dora else None
        self.register_parameter("magnitude", None if length is None else nn.Parameter(length))  # (out,)
        self.train(base.training)

    def forward(self, x: Tensor, base: Base) -> Tensor:
        """(N, in) -> (N, out): `base` with this adapter."""
        keep, factor = kept(x, self.dropout) if self.dropout and self.training else (None, 1.0)
        if self.magnitude is None:
            return self._beside(base, x, keep, self.scaling * factor)
        # As in PEFT: the length is no part of the gradient (section 4.3 of the paper), and what dropout takes from x still
        # goes through the base alone. The ratio stays fp32, because bf16 has no numbers between 1 and 1.007.
        ratio = self.magnitude / self._length(base)  # (out,)
        bias = torch.zeros_like(ratio) if base.bias is None else base.bias.to(ratio.dtype)
        rest: Tensor = bias
        if keep is not None:
            seen = x * keep * factor
            rest, x = frozen(base, x - seen), seen
        return torch.addcmul(rest - bias * ratio, self._beside(base, x, None, self.scaling), ratio).to(x.dtype)

    def _beside(self, base: Base, x: Tensor, keep: Tensor | None, scaling: float) -> Tensor:
        A, B = self.lora_A.to(x.dtype), self.lora_B.to(x.dtype)
        return LowRankProduct.apply(x, A, B, keep, base, scaling)  # type: ignore[no-any-return, no-untyped-call]

    @torch.no_grad()
    def _length(self, base: Base) -> Tensor:
        """(out,): that of every row of W + s B A, never quite zero."""
        length: Tensor = torch.linalg.vector_norm(self._added_to(matrix(base, torch.float32)), dim=1)
        return length.clamp_min(1e-12)

    def _added_to(self, weight: Tensor) -> Tensor:
        """(out, in) W -> W + s B A, in fp32."""
        with torch.autocast(weight.device.type, enabled=False):
            return torch.addmm(weight, self.lora_B, self.lora_A, alpha=self.scaling)

    @torch.no_grad()
    def merged_with(self, base: Base) -> Tensor:
        """(out, in) in fp32: the matrix that does alone what the base and this adapter do."""
        whole = self._added_to(matrix(base, torch.float32))
        return whole if self.magnitude is None else whole * (self.magnitude / self._length(base))[:, None]


def attach(model: nn.Module, config: LoraConfig, name: str = "default", *, seed: int = 0) -> list[str]:
    """Gives the layers that the config names an adapter and makes it active; everything else is frozen.

    Returns the layers' paths. Equal seeds draw equal adapters, whatever else was drawn. ConfigError for targets that are
    no linear layers of `model.blocks`.
    """
    if not name or "." in name or name in dir(nn.ModuleDict()):
        raise ConfigError(f"an adapter cannot be called {name!r}; give it another name, such as 'default'")
    if name in names(model):
        raise ConfigError(f"there is an adapter {name!r} already; remove it or give the new one another name")
    found = targets(model, config)
    for path, module in found.items():
        layer = module if isinstance(module, LoraLinear) else LoraLinear(module)
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}:{path}".encode()))
        layer.adapters[name] = LowRank(layer.base, config, generator)
        model.set_submodule(path, layer)
    for parameter in _base_parameters(model):
        parameter.requires_grad_(False)
    use(model, name)
    return list(found)


def use(model: nn.Module, name: str | None) -> None:
    """Switches to an adapter, which is also the one that trains; None is the base alone. ConfigError for an unknown one."""
    if name is not None:
        _known(model, name)
    for _, layer in _layers(model):
        layer.active = name if name is not None and name in layer.adapters else None
        if name is not None:
            for other, adapter in layer.adapters.items():
                adapter.requires_grad_(other == name)


def names(model: nn.Module) -> list[str]:
    """The adapters that are attached."""
    return list(dict.fromkeys(name for _, layer in _layers(model) for name in layer.adapters))


def remove(model: nn.Module, name: str) -> None:
    """Takes an adapter off; a layer without any is itself again, and stays frozen."""
    _known(model, name)
    for path, layer in _layers(model):
        if name in layer.adapters:
            del layer.adapters[name]
            layer.active = None if layer.active == name else layer.active
        if not layer.adapters:
            model.set_submodule(path, layer.base)


def merge(model: nn.Module) -> None:
    """Folds the active adapter into the weights, in their precision, and takes all adapters off."""
    layers = _layers(model)
    if all(layer.active is None for _, layer in layers):
        raise ConfigError(f"no adapter is active, so there is nothing to merge; attached: {_listed(names(model))}")
    for path, layer in layers:
        base = unquantised(layer.base)
        if layer.active is not None:
            base.weight.data.copy_(layer.adapter(layer.active).merged_with(base))
        model.set_submodule(path, base)


def state(model: nn.Module, name: str = "default") -> dict[str, Tensor]:
    """The adapter's tensors under PEFT's names without their `base_model.model.`; they share memory with the model."""
    _known(model, name)
    return {key: parameter.detach() for key, parameter in _parameters(model, name).items()}


def load_state(model: nn.Module, tensors: Mapping[str, Tensor], name: str = "default") -> None:
    """Fills an attached adapter. DataError for a tensor too many, too few, or of another shape, before any is changed."""
    _known(model, name)
    own = _parameters(model, name)
    missing, unknown = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    if missing or unknown:
        says = f"lacks {missing[0]!r}" if missing else f"holds {unknown[0]!r}, which this model has no place for"
        raise DataError(f"the adapter {says}; this adapter was made for another base or with other settings")
    for key, parameter in own.items():
        shape, asked = tuple(tensors[key].shape), tuple(parameter.shape)
        if shape != asked:
            raise DataError(
                f"{key!r} has the shape {shape} in the adapter, but {asked} is asked for; "
                "this adapter was made for another base or another rank"
            )
        if not tensors[key].is_floating_point():
            raise DataError(
                f"{key!r} is of the type {tensors[key].dtype}; an adapter's weights are floating-point numbers"
            )
    with torch.no_grad():
        for key, parameter in own.items():
            parameter.copy_(tensors[key])


def freeze(model: nn.Module, dtype: torch.dtype) -> None:
    """Ends the training of the base, and keeps its matrices in `dtype`; its vectors (norms, biases) stay fp32."""
    for parameter in _base_parameters(model):
        parameter.requires_grad_(False)
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype if parameter.dim() == 2 else torch.float32)


def is_lora_b(name: str) -> bool:
    """Whether a parameter is the B of an adapter, which LoRA+ (Hayou et al., 2024) trains at a higher rate than A."""
    return name.endswith(".lora_B")


def _layers(model: nn.Module) -> list[tuple[str, LoraLinear]]:
    return [(path, module) for path, module in model.named_modules() if isinstance(module, LoraLinear)]


def targets(model: nn.Module, config: LoraConfig) -> dict[str, Base | LoraLinear]:
    """The layers that a config adapts, by path and in the model's order. ConfigError for names that are none."""
    inside = tuple(f"{path}." for path, _ in _layers(model))
    modules = {path: module for path, module in model.named_modules() if not path.startswith(inside)}
    blocks = next(f"{path}." for path, module in modules.items() if module is model.blocks)
    linear = {
        path: module
        for path, module in modules.items()
        if path.startswith(blocks) and isinstance(module, Base | LoraLinear)
    }
    if config.target_modules == "all-linear":
        return linear
    chosen: set[str] = set()
    for given in config.target_modules:
        called = {path for path in modules if f".{path}".endswith(f".{given}")}
        if not called or not called <= linear.keys():
            depth = given.count(".") + 1
            near = suggestion(given, {".".join(path.split(".")[-depth:]) for path in linear})
            what = "is no linear layer of the blocks" if called else "is nothing in this model"
            last = _listed(dict.fromkeys(path.rpartition(".")[2] for path in linear))
            raise ConfigError(f"target_modules: {given!r} {what}{near}; the linear layers there: {last}")
        chosen |= called
    return {path: module for path, module in linear.items() if path in chosen}


def _known(model: nn.Module, name: str) -> None:
    known = names(model)
    if name not in known:
        raise ConfigError(f"there is no adapter {name!r}{suggestion(name, known)}; attached: {_listed(known)}")


def _parameters(model: nn.Module, name: str) -> dict[str, nn.Parameter]:
    """What one adapter trains, under PEFT's names."""
    found = {}
    for path, layer in _layers(model):
        if name in layer.adapters:
            adapter = layer.adapter(name)
            found[f"{path}.lora_A.weight"], found[f"{path}.lora_B.weight"] = adapter.lora_A, adapter.lora_B
            if adapter.magnitude is not None:
                found[f"{path}.lora_magnitude_vector"] = adapter.magnitude
    return found


def _base_parameters(model: nn.Module) -> Iterator[nn.Parameter]:
    """All but what adapters and the rows of new tokens train."""
    for module in model.modules():
        if not isinstance(module, LowRank | TokenRows):
            yield from module.parameters(recurse=False)


def _listed(found: Iterable[str]) -> str:
    return ", ".join(found) or "none"
