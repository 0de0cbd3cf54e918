"""From the bytes of a body to a checked request, or to one sentence that names the field that is wrong.

pydantic reads the JSON itself: no depth, number or character in it can do harm. Keys that come twice, of which every
parser keeps another one, are refused.
"""

import json
from collections.abc import Iterable
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


def check_unsupported(given: Part, harmless: dict[str, tuple[Any, ...]], where: str = "") -> None:
    """Raises Refused for a field that is known and not served, unless its value asks for nothing."""
    for name, allowed in harmless.items():
        value = (given.model_extra or {}).get(name)
        if value is not None and value not in allowed:
            raise errors.unsupported(where + name, "this server has nothing behind it")


def unknown(given: Part, known: Iterable[str]) -> tuple[str, ...]:
    """The names of the fields that nobody knows, in order."""
    return tuple(sorted(set(given.model_extra or {}) - set(known)))


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
    """The error that got furthest into the request: where a field may be one of several, that one was meant."""
    first = max(found, key=lambda error: len(_place(error["loc"], names)))
    param = _place(first["loc"], names)
    says = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if first["type"] == "json_invalid" or not param:
        return errors.wrong(f"the body is no JSON object that can be read: {says}")
    if first["type"] == "missing":
        return errors.wrong(f"{param} is missing", param)
    return errors.wrong(f"{param}: {says}", param)


def _place(loc: tuple[int | str, ...], names: set[str]) -> str:
    """`messages[0].content`: without the types that pydantic tried, which are no names of ours."""
    place = ""
    for part in loc:
        if isinstance(part, int):
            place += f"[{part}]"
        elif part in names:
            place += f".{part}" if place else part
    return place
