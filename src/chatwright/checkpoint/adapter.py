"""LoRA adapters on disk, in PEFT's layout: `adapter_config.json` and `adapter_model.safetensors`.

In: a folder and the base model that it belongs to. Out: the adapter attached to the model, or written from it. Which
modules an adapter changes is read off its tensors, so that it does not matter how its maker named them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from chatwright.checkpoint.files import read_json, save_tensors, stay_inside, write_json
from chatwright.checkpoint.places import ADAPTER, cached, find
from chatwright.checkpoint.weights import FLOATS, Weights, fingerprint
from chatwright.errors import ConfigError, DataError
from chatwright.models import lora
from chatwright.models.decoder import Decoder
from chatwright.models.lora import LoraConfig
from chatwright.models.token_rows import TokenRows

WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
HEAD = "lm_head"  # as PEFT sees it in every family, also where weight files call it otherwise
ROWS = ".token_adapter.trainable_tokens_delta"
# what PEFT can do and we cannot, with the values that mean "not done"
UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "bias": ("none", None),
    "lora_bias": (False, None),
    "modules_to_save": (None, []),
    "rank_pattern": ({}, None),
    "alpha_pattern": ({}, None),
    "layer_replication": (None, []),
    "megatron_config": (None,),
    "use_qalora": (False, None),
    "use_bdlora": (False, None),
    "alora_invocation_tokens": (None, []),
    "arrow_config": (None,),
    "kasa_config": (None,),
    "monteclora_config": (None,),
    "target_parameters": (None, []),
    # the other initialisations change the base weights as well
    "init_lora_weights": (True, False, None, "gaussian", "orthogonal", "eva"),
}


@dataclass(frozen=True)
class Adapter:
    """An adapter and the base it was made for. `base_fingerprint` is empty where nobody wrote it down."""

    config: LoraConfig
    base: str
    revision: str | None = None
    base_fingerprint: str = ""
    name: str = "default"


def read(folder: Path) -> Adapter:
    """`adapter_config.json`; DataError for one that does what is not done here."""
    stay_inside(folder)
    path = folder / ADAPTER
    config = read_json(path)
    if config.get("peft_type") != "LORA":
        raise DataError(f"{path}: the peft_type is {config.get('peft_type')!r}; LORA is supported")
    for name, harmless in UNSUPPORTED.items():
        if name in config and config[name] not in harmless:
            raise DataError(f"{path}: {name} is {config[name]!r}, which is not supported; merge it with PEFT first")
    base, revision = config.get("base_model_name_or_path"), config.get("revision")
    if not isinstance(base, str) or not base or not base.isprintable():
        raise DataError(f"{path} names no base_model_name_or_path; write there which model it was trained on")
    if not isinstance(revision, str | None):
        raise DataError(f"{path}: the revision is {revision!r}; it must be the name of one, or null")
    metadata = folder / "training_metadata.json"
    stored = read_json(metadata).get("base_fingerprint") if metadata.is_file() else None
    targets = _targets(_open(folder), folder)
    try:
        made = LoraConfig(
            r=config.get("r", 8),
            lora_alpha=config.get("lora_alpha", 8),
            lora_dropout=config.get("lora_dropout", 0.0),
            target_modules=targets,
            use_rslora=config.get("use_rslora", False),
            use_dora=config.get("use_dora", False),
        )
    except ConfigError as error:
        raise DataError(f"{path}: {error}") from None
    return Adapter(made, base, revision, str(stored or ""))


def base_folder(folder: Path, adapter: Adapter) -> Path:
    """Where the base of an adapter is: in its run's own `base`, wherever that was moved to, at its path, or on the hub."""
    if (own := _own_base(folder, adapter)) is not None:
        return own
    try:
        remote = adapter.revision and not Path(adapter.base).exists()
        return find(f"{adapter.base}@{adapter.revision}" if remote else adapter.base)
    except ConfigError as error:
        raise ConfigError(f"{folder / ADAPTER} needs its base model: {error}") from None


def known_fingerprint(folder: Path, adapter: Adapter) -> str:
    """That which the adapter notes, or that of its base as it lies here; "" where the base would have to be fetched."""
    if adapter.base_fingerprint:
        return adapter.base_fingerprint
    try:
        named = Path(adapter.base)
        place = _own_base(folder, adapter) or (named if named.is_dir() else cached(adapter.base, adapter.revision))
        return "" if place is None else fingerprint(find(place))
    except (ConfigError, OSError):  # a base that is not whole, or a name that no file can have
        return ""


def _own_base(folder: Path, adapter: Adapter) -> Path | None:
    inside = folder.resolve()
    run = inside.parents[1] if inside.parent.name == "checkpoints" else inside.parent
    found = Path(adapter.base).name == "base" and (run / "base" / "config.json").is_file()
    return run / "base" if found else None


def attach(model: Decoder, adapter: Adapter, folder: Path) -> None:
    """Puts the adapter of a folder onto its base and makes it the active one.

    DataError where it does not fit: it is off again then, and no other is active.
    """
    tensors = _open(folder)
    try:
        wanted = _wanted(model, adapter.config)
    except ConfigError as error:
        raise DataError(f"{folder} is an adapter for another base than {adapter.base}: {error}") from None
    _check_tensors(tensors, wanted, folder)
    rows = {name: tensors[name].float() for name in tensors if name.endswith(ROWS)}
    others = {name.removeprefix(PREFIX): tensors[name].float() for name in tensors if name not in rows}
    lora.attach(model, adapter.config, adapter.name)
    try:
        lora.load_state(model, others, adapter.name)
        _attach_rows(model, rows, folder)
    except ConfigError as error:
        lora.remove(model, adapter.name)
        raise DataError(f"{folder}: {error}") from None


def restore(model: Decoder, folder: Path) -> None:
    """Takes the numbers of a folder into an adapter that is attached already, as a resumed run does."""
    tensors = _open(folder)
    rows = {name for name in tensors if name.endswith(ROWS)}
    lora.load_state(model, {name.removeprefix(PREFIX): tensors[name] for name in tensors if name not in rows})
    for place, trained in _rows(model).items():
        with torch.no_grad():
            trained.rows.copy_(tensors[f"{PREFIX}{place}{ROWS}"])


def write(model: Decoder, adapter: Adapter, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Writes the two files of PEFT's layout."""
    state = {f"{PREFIX}{name}": tensor for name, tensor in lora.state(model, adapter.name).items()}
    state |= {f"{PREFIX}{place}{ROWS}": trained.rows.detach() for place, trained in _rows(model).items()}
    tensors = {name: tensor.to("cpu", dtype).contiguous() for name, tensor in sorted(state.items())}
    save_tensors(tensors, folder / WEIGHTS)
    indices = {place.rpartition(".")[2]: trained.indices.tolist() for place, trained in _rows(model).items()}
    write_json(folder / ADAPTER, _described(model, adapter, indices))


def _described(model: Decoder, adapter: Adapter, indices: Mapping[str, list[int]]) -> dict[str, Any]:
    config = adapter.config
    paths = list(dict.fromkeys(name.partition(".lora_")[0] for name in lora.state(model, adapter.name)))
    targets = config.target_modules
    ends = {path.rpartition(".")[2] for path in paths} if targets == "all-linear" else set(targets)
    transposed = any(model.is_transposed(f"{path}.weight") for path in paths)
    return {
        "base_model_name_or_path": adapter.base,
        "bias": "none",
        "fan_in_fan_out": transposed,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": config.lora_alpha,
        "lora_dropout": config.lora_dropout,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": config.r,
        "revision": adapter.revision,
        "target_modules": sorted(ends),
        "task_type": "CAUSAL_LM",
        "trainable_token_indices": dict(indices) or None,
        "use_dora": config.use_dora,
        "use_rslora": config.use_rslora,
    }


def add_rows(model: Decoder, tokens: list[int]) -> None:
    """Lets the rows of these tokens be trained beside an adapter, in the embedding and in a head of its own."""
    model.token_rows = TokenRows(tokens, model.embedding.weight)
    if model.lm_head is not None:
        model.head_rows = TokenRows(tokens, model.lm_head.weight)


def _wanted(model: Decoder, config: LoraConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of an adapter, without allocating any. ConfigError for targets that are none."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path, layer in lora.targets(model, config).items():
        base = layer.base if isinstance(layer, lora.LoraLinear) else layer
        shapes[f"{PREFIX}{path}.lora_A.weight"] = (config.r, base.in_features)
        shapes[f"{PREFIX}{path}.lora_B.weight"] = (base.out_features, config.r)
        if config.use_dora:
            shapes[f"{PREFIX}{path}.lora_magnitude_vector"] = (base.out_features,)
    return shapes


def _check_tensors(tensors: Weights, wanted: Mapping[str, tuple[int, ...]], folder: Path) -> None:
    """Exactly the wanted ones, before memory is taken for layers or a rank that the file does not have."""
    given = {name for name in tensors if not name.endswith(ROWS)}
    missing, unknown = sorted(wanted.keys() - given), sorted(given - wanted.keys())
    if missing or unknown:
        says = f"holds {unknown[0]!r:.150}, which has no place there" if unknown else f"lacks {missing[0]!r}"
        raise DataError(f"{folder} {says}; this adapter was made for another base or with other settings")
    for name, shape in wanted.items():
        if tensors.shape(name) != shape:
            raise DataError(
                f"{folder}: {name!r} has the shape {tensors.shape(name)}, but {shape} is asked for; "
                "this adapter was made for another base or another rank"
            )


def _attach_rows(model: Decoder, rows: Mapping[str, Tensor], folder: Path) -> None:
    indices = read_json(folder / ADAPTER).get("trainable_token_indices")
    tables = {model.EMBEDDING: model.embedding.weight}
    if model.lm_head is not None:
        tables[f"{HEAD}.weight"] = model.lm_head.weight
    listed = {_rows_name(name): _listed(indices, name) for name in tables}
    if indices and (not rows or any(listed[name] and name not in rows for name in listed if type(indices) is dict)):
        raise DataError(f"{WEIGHTS} lacks rows that trainable_token_indices speaks of; get a whole copy")
    if unknown := sorted(rows.keys() - listed.keys()):
        raise DataError(f"{unknown[0]!r} are rows of a matrix that this base does not have, or not of its own")
    for name, weight in tables.items():
        if (values := rows.get(_rows_name(name))) is None:
            continue
        tokens = listed[_rows_name(name)]
        fits = isinstance(tokens, list) and all(type(i) is int and 0 <= i < len(weight) for i in tokens)
        if not fits or tuple(values.shape) != (len(tokens), weight.shape[1]):
            raise DataError(
                f"the trained rows of {name!r} have the shape {tuple(values.shape)}, which does not fit the base's "
                f"{tuple(weight.shape)} and the tokens {tokens!r:.80}; it is an adapter for another base"
            )
        trained = TokenRows(tokens, weight)
        with torch.no_grad():
            trained.rows.copy_(values)
        if name == model.EMBEDDING:
            model.token_rows = trained
        else:
            model.head_rows = trained


def _rows_name(table: str) -> str:
    """What PEFT calls the trained rows of a matrix."""
    return f"{PREFIX}{table.removesuffix('.weight')}{ROWS}"


def _listed(indices: Any, table: str) -> Any:
    """The tokens whose rows of a matrix are trained, as `trainable_token_indices` has them."""
    return indices.get(table.split(".")[-2]) if isinstance(indices, dict) else indices


def _rows(model: Decoder) -> dict[str, TokenRows]:
    """The trained rows by the path of the module that they belong to."""
    found = {model.EMBEDDING.removesuffix(".weight"): model.token_rows, HEAD: model.head_rows}
    return {place: rows for place, rows in found.items() if rows is not None}


def _open(folder: Path) -> Weights:
    path = folder / WEIGHTS
    if not path.is_file():
        raise DataError(f"{path} is missing; get a whole copy of the adapter")
    tensors = Weights([path])
    for name in tensors:
        if not name.startswith(PREFIX) or tensors.dtype(name) not in FLOATS:
            raise DataError(
                f"{path} holds {name!r} of the type {tensors.dtype(name)}; it is no adapter in PEFT's layout"
            )
    return tensors


def _targets(tensors: Weights, folder: Path) -> tuple[str, ...]:
    names = [name.removeprefix(PREFIX) for name in tensors if not name.endswith(ROWS)]
    if wholes := [name for name in names if ".lora_" not in name or ".base_layer." in name]:
        raise DataError(
            f"{folder / WEIGHTS} holds all of {wholes[0]!r}, which is not supported; merge it with PEFT first"
        )
    return tuple(dict.fromkeys(name.partition(".lora_")[0] for name in names))
