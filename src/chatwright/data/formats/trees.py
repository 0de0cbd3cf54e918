"""Message trees to threads: of the messages of a file, whose parents are known by name, the best paths of each tree.

A thread begins at the root and ends with an answer. Every message is on a thread or listed with the reason why not: a
wrong parent, a loop, left out itself or under one that is, unanswered, or ranked below what is wanted.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, NamedTuple

from chatwright.data.formats import fields
from chatwright.text.records import Role


@dataclass(frozen=True, slots=True)
class Node:
    """One message. `parent` is "" for a root, `tree` where it is not known; the lowest rank is the best."""

    line: int
    name: str
    parent: str
    tree: str
    role: Role
    text: str
    rank: float
    left_out: str = ""  # why a review or a setting leaves it out


class Unused(NamedTuple):
    """A message that is on no thread."""

    node: Node
    kind: Literal["bad", "filtered"]
    reason: str


@dataclass(frozen=True)
class Tree:
    """The threads of one root, best first, and the messages that are on none of them, in the order of the file."""

    line: int  # of the first message in the file
    threads: list[list[Node]]
    unused: list[Unused]


Children = Mapping[str, Sequence[Node]]


def grown(nodes: Mapping[str, Node], broken: Mapping[str, int], most: int | None) -> Iterator[Tree]:
    """The trees of these messages, by name, with at most so many threads each; None for all of them.

    `broken`: line by name of messages that are there and cannot be used. Messages under no root come as trees
    without a thread. Threads are ordered by their ranks, those near the root first, then by their place in the file.
    """
    children: dict[str, list[Node]] = {}
    for node in nodes.values():
        if node.parent:
            children.setdefault(node.parent, []).append(node)
    seen: set[str] = set()
    for node in nodes.values():
        if node.parent not in nodes:
            below = _below(node, children)
            seen.update(one.name for one in below)
            yield _tree(below, _start(node, broken), children, most)
    for node in nodes.values():
        if node.name not in seen:  # whoever is under no root and under no orphan goes round in a circle
            yield Tree(node.line, [], [Unused(node, "bad", "its thread loops back on itself")])


def _below(start: Node, children: Children) -> list[Node]:
    """The message and all that follow it, each after its parent."""
    found: list[Node] = []
    waiting = deque([start])
    while waiting:
        found.append(waiting.popleft())
        waiting.extend(children.get(found[-1].name, ()))
    return found


def _tree(members: list[Node], wrong: Unused | None, children: Children, most: int | None) -> Tree:
    """The threads of a tree, whose members are given parents first; `wrong` is what is the matter with the first."""
    unused: dict[str, Unused] = {} if wrong is None else {wrong.node.name: wrong}
    for node in members:
        for child in children.get(node.name, ()):
            found = _judged(child, node, unused.get(node.name))
            if found is not None:
                unused[child.name] = found
    answered: dict[str, list[Node]] = {}  # usable message -> its replies that lead to an answer, best first
    for node in reversed(members):
        if node.name not in unused:
            replies = [child for child in children.get(node.name, ()) if child.name in answered]
            if replies or node.role == "assistant":
                answered[node.name] = sorted(replies, key=lambda one: (one.rank, one.line))
            else:
                unused[node.name] = Unused(node, "filtered", "it has no answer that can be used")
    threads = list(islice(_threads(members[0], answered), most)) if members[0].name in answered else []
    used = {node.name for thread in threads for node in thread}
    lower = "it is ranked below the threads that are read"
    listed = (unused.get(node.name) or Unused(node, "filtered", lower) for node in members if node.name not in used)
    return Tree(min(node.line for node in members), threads, sorted(listed, key=lambda one: one.node.line))


def _start(node: Node, broken: Mapping[str, int]) -> Unused | None:
    """What is wrong with a message that has no parent, or none that is there."""
    if node.parent and node.parent in broken:
        return Unused(node, "bad", f"its parent, in line {broken[node.parent]}, cannot be used")
    if node.parent:
        return Unused(node, "bad", f"its parent {fields.shown(node.parent)} is not in the file")
    if node.role != "user":
        return Unused(node, "bad", "it is an answer, and there is no question before it")
    return Unused(node, "filtered", node.left_out) if node.left_out else None


def _judged(node: Node, parent: Node, above: Unused | None) -> Unused | None:
    """Why a message cannot be on a thread, given what is the matter with its parent."""
    if node.role == parent.role:
        return Unused(node, "bad", f"it follows a message of the same role, in line {parent.line}")
    if node.tree and parent.tree and node.tree != parent.tree:
        return Unused(node, "bad", f"its parent, in line {parent.line}, belongs to another tree")
    if above is not None and above.kind == "bad":
        return Unused(node, "bad", f"it follows the message in line {parent.line}, which cannot be used")
    if node.left_out:
        return Unused(node, "filtered", node.left_out)
    if above is not None:
        return Unused(node, "filtered", f"it follows the message in line {parent.line}, which is left out")
    return None


def _threads(root: Node, replies: Mapping[str, Iterable[Node]]) -> Iterator[list[Node]]:
    """Every path from the root to a message without replies, the best first."""
    path: list[Node] = []
    waiting = [(root, 0)]
    while waiting:
        node, depth = waiting.pop()
        del path[depth:]
        path.append(node)
        below = list(replies[node.name])
        if not below:
            yield list(path)
        waiting.extend((reply, depth + 1) for reply in reversed(below))
