"""Settings: one typed model per verb, filled from the command line, the environment, a YAML file and the defaults.

The same dotted names (`lora.rank`) work in all of them. What is wrong is said in one sentence that begins with its
place (`recipe.yaml:12`, `CHATWRIGHT_LR`, `--lr`). YAML with line numbers is read in `yaml_file.py`.
"""

import difflib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from chatwright import yaml_file
from chatwright.errors import ConfigError
from chatwright.registry import suggestion

PREFIX = "CHATWRIGHT_"
# Names with our prefix that are no settings.
ENVIRONMENT = {
    "CHATWRIGHT_TRACEBACK": "set to 1 to see the stack of an unexpected failure",
    "CHATWRIGHT_KERNELS": "set to off to compute with PyTorch alone, without the kernels that are compiled here",
    "CHATWRIGHT_TEST_DATA": "the folder with GPT-2's vocabulary and real texts that the tests read",
}
# pydantic's words for what a setting must be, where plainer ones exist.
_PLAINER = {
    "a valid array": "a list",
    "a valid tuple": "a list",
    "a valid list": "a list",
    "a valid string": "text",
    "an object": "a group of settings",
    "a valid boolean": "true or false",
    "a valid integer": "a whole number",
    "a valid number": "a number",
}
INFORMATION = "run_info"  # the section of a saved config.yaml that is for people and is ignored when read back
VERB = "verb"  # the line of a saved config.yaml that says which verb it belongs to

_MODEL = ConfigDict(extra="forbid", frozen=True, validate_default=True, protected_namespaces=())


class Group(BaseModel):
    """A nested group of settings, such as `lora` in `lora.rank`."""

    model_config = _MODEL


with warnings.catch_warnings():
    # A field called `json` hides the retired BaseModel.json(), which nothing here calls.
    warnings.filterwarnings("ignore", message='Field name "json"')

    class Settings(BaseModel):
        """The settings of one verb: frozen, checked, unknown names refused."""

        model_config = _MODEL

        json: bool = Field(default=False, description="print one JSON object instead of text")  # type: ignore[assignment]


Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Given:
    """One setting as somebody gave it, and the place that a message about it begins with."""

    value: Any
    place: str
    strict: bool = False  # YAML has types of its own; the command line and the environment have only text

    def called(self, name: str) -> str:
        """What a message begins with: `recipe.yaml:12: lr`, `--lr`, `CHATWRIGHT_LR`."""
        return f"{self.place}: {name}" if self.strict else self.place


def resolve(
    model: type[Model],
    yaml_path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
    verb: str = "",
    other_names: Callable[[], Iterable[str]] = tuple,
) -> Model:
    """Command line > environment > YAML > default.

    `flags` maps dotted names to what was given (text, or Python values). `other_names` yields the dotted names of other
    verbs' settings: a CHATWRIGHT_ variable that only they know is ignored. Raises ConfigError.
    """
    given: dict[str, Given] = {}
    layers = (
        _from_yaml(model, yaml_path, verb) if yaml_path is not None else {},
        _from_environ(model, environ or {}, other_names),
        _from_flags(model, flags or {}),
    )
    for layer in layers:
        for name, one in layer.items():
            for hidden in [old for old in given if old.startswith(f"{name}.") or name.startswith(f"{old}.")]:
                del given[hidden]
            given[name] = one
    tree: dict[str, Any] = {}
    for name, one in given.items():
        *groups, last = name.split(".")
        branch = tree
        for group in groups:
            branch = branch.setdefault(group, {})
        branch[last] = _checked(name, one, find(model, name))
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_explained(error, given)) from None


def dump(settings: BaseModel, extra: Mapping[str, Any] | None = None, verb: str = "") -> str:
    """The text of a saved config.yaml: every resolved setting, then `extra`, which is ignored when it is read back."""
    head = {VERB: verb} if verb else {}
    body = settings.model_dump(mode="json", exclude={"json"})
    tail = {INFORMATION: dict(extra)} if extra else {}
    return yaml_file.write({**head, **body, **tail})


def names(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every setting of a model by its dotted name, nested groups opened: `("lora.rank", FieldInfo)`."""
    for name, field in model.model_fields.items():
        group = group_of(field)
        if group is None:
            yield prefix + name, field
        else:
            yield from names(group, f"{prefix}{name}.")


def group_of(field: FieldInfo) -> type[BaseModel] | None:
    """The nested model of a field (`lora: Lora` or `lora: Lora | None`), or None for a plain setting."""
    choices = [field.annotation, *get_args(field.annotation)] if field.annotation is not None else []
    for choice in choices:
        if isinstance(choice, type) and issubclass(choice, BaseModel):
            plain = set(get_args(field.annotation)) - {choice, type(None)}
            return choice if not plain else None
    return None


def find(model: type[BaseModel], name: str) -> FieldInfo | None:
    """The field behind a dotted name, or None."""
    first, _, rest = name.partition(".")
    field = model.model_fields.get(first)
    if field is None or not rest:
        return field
    group = group_of(field)
    return find(group, rest) if group is not None else None


def spelling(name: str) -> str:
    """`--Seq-Len`, `seq-len` and `seq_len` are one name: seq_len."""
    return name.strip().lstrip("-").replace("-", "_")


def flag(name: str) -> str:
    """The command line's spelling of a dotted name: `--lora.rank`, `--seq-len`."""
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    """The environment's spelling of a dotted name: CHATWRIGHT_LORA__RANK."""
    return PREFIX + name.replace(".", "__").upper()


def _from_yaml(model: type[BaseModel], path: Path, verb: str) -> dict[str, Given]:
    """The settings of one file, each with its line; a second value for a name is refused."""
    file, entries = yaml_file.read(path)
    given: dict[str, Given] = {}
    for entry in entries:
        if entry.name == INFORMATION:
            continue
        if entry.name == VERB and find(model, VERB) is None:
            _check_verb(f"{file}:{entry.line}", entry.value, verb)
            continue
        _open(model, "", entry, file, given)
    return given


def _check_verb(place: str, value: Any, verb: str) -> None:
    """A config.yaml that was saved by `sft` is not for `pretrain`."""
    if verb and value != verb:
        raise ConfigError(f"{place}: these settings are for {value!r}, not for {verb!r}; use chatwright {value}")


def _open(model: type[BaseModel], prefix: str, entry: yaml_file.Entry, file: Path, given: dict[str, Given]) -> None:
    """Adds one YAML entry, or, where it is a nested group, each entry in it."""
    name = prefix + spelling(entry.name)
    place = f"{file}:{entry.line}"
    field = find(model, name)
    if field is None:
        near = suggestion(name, _known(model)) or "; see --help for what there is"
        raise ConfigError(f"{place}: unknown setting {name!r}{near}")
    if group_of(field) is not None and isinstance(entry.value, list) and entry.is_mapping:
        for inner in entry.value:
            _open(model, f"{name}.", inner, file, given)
        return
    if name in given:
        raise ConfigError(f"{place}: {name!r} is given twice, first in line {given[name].place.rpartition(':')[2]}")
    given[name] = Given(entry.plain(), place, strict=True)


def _from_environ(
    model: type[BaseModel], environ: Mapping[str, str], other_names: Callable[[], Iterable[str]]
) -> dict[str, Given]:
    """The CHATWRIGHT_ variables; one that no verb knows is refused like a misspelt flag."""
    given: dict[str, Given] = {}
    for key, text in sorted(environ.items()):
        if not key.startswith(PREFIX) or key in ENVIRONMENT:
            continue
        name = key.removeprefix(PREFIX).lower().replace("__", ".")
        if find(model, name) is not None:
            given[name] = Given(text, key)
            continue
        known = {*_known(model), *other_names()}
        if name not in known:
            near = suggestion(key, [*map(variable, known), *ENVIRONMENT]).replace("'", "")
            raise ConfigError(f"{key}: no setting has this name{near or '; unset it'}")
    return given


def _from_flags(model: type[BaseModel], flags: Mapping[str, Any], prefix: str = "") -> dict[str, Given]:
    """What the command line or a Python call gave, by dotted name; a dictionary opens a group."""
    given: dict[str, Given] = {}
    for spelled, value in flags.items():
        name = prefix + spelling(spelled)
        field = find(model, name)
        if field is None:
            raise ConfigError(f"unknown setting {name!r}{suggestion(name, _known(model)) or '; see --help'}")
        if isinstance(value, Mapping) and group_of(field) is not None:
            given |= _from_flags(model, value, f"{name}.")
        else:
            given[name] = Given(value, flag(name))
    return given


def _known(model: type[BaseModel]) -> list[str]:
    """Every dotted name that may be given."""
    return [name for name, _ in names(model)]


def _checked(name: str, given: Given, field: FieldInfo | None) -> Any:
    """The value in its setting's type; text that does not fit as it is may fit as YAML (`[1, 2]`, `null`)."""
    assert field is not None, name
    annotation: Any = field.annotation
    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[annotation, *field.metadata] if field.metadata else annotation)
    try:
        if given.strict:
            return adapter.validate_json(yaml_file.as_json(given.value), strict=True)
        if given.value == "null" and type(None) in get_args(annotation):
            return None
        return adapter.validate_python(given.value)
    except ValidationError as error:
        first = error
    if isinstance(given.value, str) and not given.strict:
        for again in (yaml_file.scalar(given.value), [given.value]):
            try:
                return adapter.validate_json(yaml_file.as_json(again), strict=True)
            except ValidationError:
                continue
    raise ConfigError(f"{given.called(name)} {_complaint(first.errors(), given.value)}")


def _complaint(errors: list[ErrorDetails], value: Any) -> str:
    """`must be a valid integer, got 'eight'`; what several types of a union ask for is joined by "or"."""
    wishes: list[str] = []
    for error in errors:
        wish = error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
        wish = wish.partition(", unable to")[0].replace("Input should be ", "must be ", 1)
        for theirs, ours in _PLAINER.items():
            wish = wish.replace(theirs, ours)
        if wish not in wishes:
            wishes.append(wish if not wishes else wish.removeprefix("must be "))
    choices = [choice for error in errors for choice in str(error.get("ctx", {}).get("expected", "")).split("'")[1::2]]
    near = difflib.get_close_matches(str(value), choices, n=1)
    return f"{' or '.join(wishes)}, got {_short(value)}" + (f"; did you mean {near[0]!r}?" if near else "")


def _explained(error: ValidationError, given: Mapping[str, Given]) -> str:
    """The first thing that the whole model complains about, with the place that it was given in."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"{name!r} is not given; give {flag(name)} (or `{name}:` in a --config file, or {variable(name)})"
    if not name:  # a rule between several settings: its sentence names them itself
        return first["msg"].removeprefix("Value error, ")
    matches = [one for known, one in given.items() if name == known or name.startswith(f"{known}.")]
    if first["type"] == "value_error":  # a validator's own sentence
        return f"{matches[0].place}: " * bool(matches) + first["msg"].removeprefix("Value error, ")
    return f"{matches[0].called(name) if matches else name} {_complaint([first], first['input'])}"


def _short(value: Any) -> str:
    """A value as a message shows it."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
