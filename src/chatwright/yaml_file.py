"""YAML with line numbers: a file comes in, its entries with their lines go out; nothing is built from tags.

PyYAML reads YAML 1.1, where `1e-4` is text, `on` is true, `010` is eight and the last of two equal keys silently wins.
Here scalars follow YAML 1.2 (core schema), a key that comes twice is an error and anchors are refused.
"""

import difflib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from chatwright.errors import ConfigError

_RULES = (
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9][0-9_]*|0x[0-9a-fA-F]+|0o[0-7]+", list("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
)


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """PyYAML's table: first character -> the rules to try, in order."""
    table: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for tag, rule, starts in _RULES:
        for start in starts:
            table.setdefault(start, []).append((tag, re.compile(f"(?:{rule})\\Z")))
    return table


class _Loader(yaml.SafeLoader):
    """Scalars of YAML 1.2; no aliases, so that every value has one line."""

    yaml_implicit_resolvers = _resolvers()

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="anchors and aliases are not read here", problem_mark=mark)
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    """Quotes whatever either version of YAML would not read back as text."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        start: [*_resolvers().get(start, []), *yaml.SafeDumper.yaml_implicit_resolvers.get(start, [])]
        for start in {*_resolvers(), *yaml.SafeDumper.yaml_implicit_resolvers}
    }


@dataclass(frozen=True)
class Entry:
    """One `name: value` of a mapping. A mapping's value is the list of its entries."""

    name: str
    value: Any
    line: int
    is_mapping: bool = False

    def plain(self) -> Any:
        """The value as dictionaries, lists and scalars."""
        return {inner.name: inner.plain() for inner in self.value} if self.is_mapping else self.value


def read(path: Path) -> tuple[Path, list[Entry]]:
    """The file (of a folder: its config.yaml) and its top-level entries; ConfigError with file and line otherwise."""
    path = Path(path)
    file = path / "config.yaml" if path.is_dir() else path
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(f"{file}: there is no such file{_nearest(file)}") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{file}:{line}: not UTF-8 text; save the file as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    node = _compose(text, str(file))
    if node is None:
        return file, []
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{file}:{node.start_mark.line + 1}: settings are `name: value` lines, got something else")
    return file, list(_entries(node, str(file)))


def scalar(text: str) -> Any:
    """Text from the environment or the command line as YAML reads it: `[1, 2]`, `null`; itself where it is no YAML."""
    try:
        node = _compose(text, "text")
        return None if node is None else _value(node, "text")
    except ConfigError:
        return text


def write(data: dict[str, Any]) -> str:
    """YAML text that `read` gives back, in the order of the dictionary."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def as_json(value: Any) -> str:
    """JSON for pydantic's strict mode, which knows that JSON's text may be a path and its list a tuple."""
    return json.dumps(value)


def _compose(text: str, file: str) -> yaml.Node | None:
    """The document's tree; a syntax error by its line."""
    try:
        return yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        raise ConfigError(f"{file}:{line}: not valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        position = text[: getattr(error, "position", 0)].count("\n") + 1
        raise ConfigError(f"{file}:{position}: not valid YAML: it holds a character that YAML does not allow") from None
    except RecursionError:
        raise ConfigError(f"{file}: not valid YAML: it is nested too deeply") from None


def _entries(node: yaml.MappingNode, file: str) -> Iterator[Entry]:
    """The entries of a mapping; the second one of a name is refused, seq-len and seq_len being one name."""
    seen: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigError(f"{file}:{line}: a setting's name is text, got a {key.id}")
        name = key.value.replace("-", "_")
        if name in seen:
            raise ConfigError(f"{file}:{line}: {key.value!r} is given twice, first in line {seen[name]}")
        seen[name] = line
        if isinstance(value, yaml.MappingNode):
            yield Entry(key.value, list(_entries(value, file)), line, is_mapping=True)
        else:
            yield Entry(key.value, _value(value, file), line)


def _value(node: yaml.Node, file: str) -> Any:
    """A scalar in its type, a list, or (inside lists) a dictionary."""
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, file) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        return {entry.name: entry.plain() for entry in _entries(node, file)}
    text = node.value
    kind = node.tag.removeprefix("tag:yaml.org,2002:")
    if kind == "str":
        return text
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int":
        bare = text.replace("_", "")
        return int(bare, {"0x": 16, "0o": 8}.get(bare[:2], 10))
    if kind == "float":
        return float(text.replace("_", "").replace(".inf", "inf").replace(".Inf", "inf").replace(".nan", "nan"))
    raise ConfigError(f"{file}:{node.start_mark.line + 1}: the tag {node.tag!r} is not read here; leave it out")


def _nearest(file: Path) -> str:
    """The existing name nearest to a missing file, or the folder that is missing."""
    if not file.parent.is_dir():
        return f"; there is no folder {str(file.parent)!r} either"
    near = difflib.get_close_matches(file.name, [other.name for other in file.parent.iterdir()], n=1, cutoff=0.5)
    return f", did you mean {str(file.parent / near[0])!r}?" if near else ""
