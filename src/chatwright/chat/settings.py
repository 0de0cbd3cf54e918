"""Settings of how tokens are picked, given as the text that a person types."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from chatwright.errors import ConfigError
from chatwright.generate.sampling import Sampling
from chatwright.registry import suggestion

FOR_PROGRAMS = ("logit_bias", "logprobs", "index")  # fields of Sampling that nobody types
SETTINGS = tuple(field.name for field in fields(Sampling) if field.name not in FOR_PROGRAMS)
_TYPES: dict[type, tuple[Callable[[str], Any], str]] = {
    int: (int, "a whole number"),
    float: (float, "a number"),
    tuple: (lambda text: (text,) if text else (), "text"),
}


def changed(sampling: Sampling, name: str, value: str) -> Sampling:
    """The same with one of them changed. Raises ConfigError for an unknown name or a wrong value."""
    name = name.replace("-", "_")
    if name not in SETTINGS:
        near = suggestion(name, SETTINGS) or f"; the settings are {', '.join(SETTINGS)}"
        raise ConfigError(f"there is no setting {name!r}{near}")
    convert, kind = _TYPES[type(vars(sampling)[name])]
    try:
        converted = convert(value)
    except ValueError:
        raise ConfigError(f"{name} must be {kind}, got {value!r}") from None
    return replace(sampling, **{name: converted})


def shown(sampling: Sampling, name: str) -> str:
    """A setting's value for people."""
    value = vars(sampling)[name]
    if isinstance(value, tuple):
        return " ".join(map(repr, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def differing(sampling: Sampling) -> list[str]:
    """Temperature, and whatever else is not as it is without being set: `["temperature 0", "top_k 40"]`."""
    plain = Sampling()
    names = (name for name in SETTINGS if vars(sampling)[name] != vars(plain)[name])
    return [f"{name} {shown(sampling, name)}" for name in dict.fromkeys(["temperature", *names])]
