"""From the bytes of a body to a checked request, or to one sentence that names the field that is wrong.

pydantic reads the JSON itself: no depth, number or character in it can do harm. Keys that come twice, of which every
parser keeps another one, are refused.
"""

import json
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from chatwright.serve import errors
from chatwright.serve.errors import Refused

# strict: "3" and true are no numbers. extra: unknown names are kept, to be told or refused by name.
STRICT = ConfigDict(strict=True, allow_inf_nan=False, extra="allow", frozen=True, protected_namespaces=())


class Part(BaseModel):
    """A piece of a request."""

    model_config = STRICT


Model = TypeVar("Model", bound=Part)
Unserved = tuple[str, tuple[Any, ...]]  # what is missing behind a field, and its values that ask for nothing


def read(model: type[Model], body: bytes) -> Model:
    """The request in a body. Raises Refused (400)."""
    if not body.strip():
        raise errors.wrong("the body is empty; send a JSON object")
    try:
        request = model.model_validate_json(body)
    except ValidationError as error:
        raise _explained(error.errors(include_url=False), _names(model)) from None
    try:
        json.loads(body, object_pairs_hook=_once)
    except ValueError as error:  # what pydantic has read and this cannot: numbers of thousands of digits
        raise errors.wrong(f"the body cannot be read as JSON ({error})") from None
    return request


def check_unsupported(given: Part, known: Mapping[str, Unserved], where: str = "") -> None:
    """Raises Refused for a field that is known and not served, unless its value asks for nothing."""
    for name, (missing, harmless) in known.items():
        value = (given.model_extra or {}).get(name)
        if value is not None and value not in harmless:
            raise errors.unsupported(where + name, missing)


def unknown(given: Part, known: Iterable[str], where: str = "") -> set[str]:
    """The names of the fields that nobody knows; null asks for nothing."""
    return {where + name for name, value in (given.model_extra or {}).items() if value is not None} - {
        where + name for name in known
    }


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise errors.wrong(f"the key {name[:60]!r} comes twice in one object; send it once")
        found[name] = value
    return found


@cache
def _names(model: type[BaseModel]) -> set[str]:
    """Every field name of a model and of those inside it, as its schema lists them."""
    described = model.model_json_schema()
    parts = [described, *described.get("$defs", {}).values()]
    return {name for part in parts for name in part.get("properties", {})}


def _explained(found: list[ErrorDetails], names: set[str]) -> Refused:
    """The error that was meant: where a field may be of several kinds, one that finds the kind right (five texts to stop
    at are too many, and no wrong text), and of those that do not the one that got furthest into the request."""
    first = max(found, key=lambda error: (not error["type"].endswith("_type"), *_depth(error["loc"], names)))
    param = _place(first["loc"], names)
    says = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if first["type"] == "json_invalid" or not param:
        return errors.wrong(f"the body is no JSON object that can be read: {says}")
    if first["type"] == "missing":
        return errors.wrong(f"{param} is missing", param)
    return errors.wrong(f"{param}: {says}", param)


def _depth(loc: tuple[int | str, ...], names: set[str]) -> tuple[int, list[int]]:
    """How far into a request a place is: `prompt[1]` further than `prompt[0]`."""
    return len(_place(loc, names)), [part for part in loc if isinstance(part, int)]


def _place(loc: tuple[int | str, ...], names: set[str]) -> str:
    """`messages[0].content`: without the types that pydantic tried, which are no names of ours."""
    place = ""
    for part in loc:
        if isinstance(part, int):
            place += f"[{part}]"
        elif part in names:
            place += f".{part}" if place else part
    return place
