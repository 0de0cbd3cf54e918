"""What the exports of talks with an AI share: a tree of messages for each talk, of which the kept branch is read.

Answers that were asked for again and questions that were edited leave branches; the one that the talk ended with counts.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from chatwright.data.exports import _document, _package
from chatwright.data.exports._found import Found
from chatwright.data.exports._package import Entry, Lines
from chatwright.data.exports._threads import beginnings
from chatwright.data.exports.export import ChatMessage, Export
from chatwright.data.formats.fields import kind_of
from chatwright.errors import DataError

TALKS = re.compile(r"conversations(-\d+)?\.json")  # large exports of ChatGPT are cut into numbered files
BRANCH = "is of another branch than the one that the talk ended with"
LOOP = "is in a thread that loops back on itself"
CUT_OFF = "cannot be put in its place: a message before it is missing"

Kind = TypeVar("Kind")
_KINDS: dict[type, str] = {str: "text", list: "a list", dict: "an object"}
_HOLDER = ("full_name", "name", "email_address", "email", "verified_phone_number", "phone_number")


@dataclass(frozen=True)
class Node:
    """A place in the tree. `value` is its message, None where it has none; `flaw` says what is wrong with it."""

    line: int
    parent: str
    value: Any
    flaw: str = ""


Parse = Callable[
    [Node], ChatMessage | str
]  # a message, or why it is left out on purpose; DataError where it is damaged


@dataclass(frozen=True)
class Talk:
    """One element of the file: `value` is anything. `id` tells it from the others, whatever it calls itself."""

    id: str
    line: int
    value: Any
    lines: Lines  # of the messages


def read(program: str, path: Path, account: str, add: Callable[[Found, Talk], None]) -> Export:
    """The export with every talk added; `account` is the file that names the account's holder.

    Raises DataError where there are no talks and where a file is no JSON.
    """
    files = _package.entries(path)
    single = len(files) == 1 and path.name in files
    talks = [entry for name, entry in files.items() if single or TALKS.fullmatch(name)]
    if not talks:
        raise DataError(f"{path}: has no conversations.json, as an export of {program} has it; {_document.AGAIN}")
    if single and (beside := path.with_name(account)).is_file():
        files |= _package.entries(beside)
    found, seen = Found(path), dict[str, int]()
    for entry in talks:
        if entry.place != str(path):
            found.within(entry.place)
        for talk in _talks(entry, seen):
            add(found, talk)
    names = list(_holder(files[account])) if account in files else []
    export = found.export(program, names, names[0] if names else "")
    return export if single else numbered(export)


def numbered(export: Export) -> Export:
    """The messages of several files, which have no lines in common, with their numbers for lines."""
    messages = tuple(replace(message, line=number) for number, message in enumerate(export.messages, start=1))
    return replace(export, messages=messages)


def follow(found: Found, nodes: dict[str, Node], leaf: object, parse: Parse) -> None:
    """Adds the branch that ends in `leaf` from its first message on, and lists all others."""
    first = beginnings({id: node.parent for id, node in nodes.items()})
    here = leaf if isinstance(leaf, str) and first.get(leaf) is not None else _last_leaf(nodes, first)
    branch: dict[str, None] = {}
    while here and here in nodes:  # an empty name is nobody's parent
        branch[here] = None
        here = nodes[here].parent
    for id in reversed(branch):
        _add(found, nodes[id], parse)
    # a branch that begins with its first message is whole, so that what is not of it is of another
    whole = {id for id, begin in first.items() if begin in nodes and not nodes[begin].flaw}
    leaf = next(iter(branch), "")
    for id, node in nodes.items():
        if id in branch or (node.value is None and not node.flaw):
            continue
        if node.flaw or first[id] is None:
            found.bad(node.line, node.flaw or LOOP)
        elif first[id] == first.get(leaf) or {id, leaf} <= whole:
            found.filtered(node.line, BRANCH)
        else:
            found.bad(node.line, CUT_OFF)


def fitting(value: Any, kind: type[Kind], what: str) -> Kind:
    """The value where it is of its kind; raises DataError."""
    if not isinstance(value, kind):
        raise DataError(f"{what} is {kind_of(value)}; it must be {_KINDS[kind]}")
    return value


def _talks(entry: Entry, seen: dict[str, int]) -> Iterator[Talk]:
    """The elements of one file; `seen` counts the ids so far."""
    text = entry.text
    lines = Lines(text)
    for part in _package.elements(entry.place, text):
        value = part.value if isinstance(part.value, dict) else {}
        ids = (value.get(key) for key in ("conversation_id", "id", "uuid"))
        id = next((id for id in ids if isinstance(id, str) and id), f"{entry.name}[{part.path[0]}]")
        seen[id] = seen.get(id, 0) + 1
        # two talks of one id stay two talks
        yield Talk(id if seen[id] == 1 else f"{id} ({seen[id]})", part.line, part.value, lines)


def _last_leaf(nodes: dict[str, Node], first: dict[str, str | None]) -> str:
    """The last message that nothing answers."""
    fit = [id for id, node in nodes.items() if node.value is not None and not node.flaw and first[id] is not None]
    answered: set[str] = set()
    for id in fit:
        while (id := nodes[id].parent) and id in nodes and id not in answered:
            answered.add(id)
    return next((id for id in reversed(fit) if id not in answered), "")


def _add(found: Found, node: Node, parse: Parse) -> None:
    if node.value is None and not node.flaw:
        return
    try:
        if node.flaw:
            raise DataError(node.flaw)
        message = parse(node)
    except ValueError as error:
        found.bad(node.line, error)
        return
    if isinstance(message, str):
        found.filtered(node.line, message)
    else:
        found.message(message)


def _holder(entry: Entry) -> Iterator[str]:
    """The name of whose account it is first, then the addresses; raises DataError for a file that is no JSON."""
    parts = list(_document.parts(entry.place, entry.text, frozenset()))
    for part in parts:
        people = part.value if isinstance(part.value, list) else [part.value]
        for person in people:
            named = (person.get(key) for key in _HOLDER) if isinstance(person, dict) else ()
            yield from (name for name in named if isinstance(name, str) and name.strip())
