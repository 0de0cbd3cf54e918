"""OpenAssistant's messages (Köpf et al., 2023), a row each: `{"message_id", "parent_id", "role": "prompter", "text", ...}`.

Rows are put together to trees, and of each tree the best thread, all, or a number of them become Conversations. Whole
trees, `{"message_tree_id", "prompt": {"text", "role", "replies": [...]}}`, are read as well.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from chatwright.data.formats import fields, trees, turns
from chatwright.data.formats.trees import Node, Tree
from chatwright.data.options import ReadOptions
from chatwright.data.rows import BadRow, Row, Rows
from chatwright.errors import ConfigError, DataError
from chatwright.text.records import Conversation, Record, check_text

KIND = "conversations"
MESSAGE = ("message_id", "parent_id", "message_tree_id", "role", "text", "lang", "rank", "deleted", "review_result")
COLUMNS = {name: (name,) for name in (*MESSAGE, "prompt", "replies")}
INSTEAD_OF = ("text",)
UNRANKED = float("inf")


def matches(row: dict[str, Any]) -> bool:
    """Whether the row is a message that knows its parent, or a tree."""
    prompt = row.get("prompt")
    if isinstance(prompt, dict):
        return "replies" in prompt
    return all(name in row for name in ("message_id", "parent_id", "role", "text"))


def parse(row: dict[str, Any], columns: fields.Columns) -> list[Record]:
    """The threads of a row that `assemble` made."""
    if not row.get("threads"):
        raise DataError("one message of a tree is no conversation; its rows have to be put together first")
    return [_conversation(thread) for thread in fields.items(row, "threads")]


def assemble(rows: Rows, file: str, options: ReadOptions) -> Rows:
    """Rows with the `threads` of one tree each, and every row of the file that is on none, with its reason.

    All messages of the file are held in memory until its end, because the rows of a tree need not follow each other;
    whole trees are passed on one by one. Raises ConfigError for a wrong number of threads.
    """
    return _assembled(rows, _Reader(file, options), _most(options.threads))


def _assembled(rows: Rows, reader: "_Reader", most: int | None) -> Rows:
    nodes: dict[str, Node] = {}
    broken: dict[str, int] = {}
    for row in rows:
        if isinstance(row, BadRow):
            yield row
        elif reader.is_tree(row):
            yield reader.whole(row, most)
        else:
            try:
                node = reader.node(row.value, row.line)
                _add(nodes, node)
            except DataError as error:
                if isinstance(name := row.value.get(reader.names["message_id"]), str):
                    broken.setdefault(name, row.line)
                yield BadRow(reader.file, row.line, str(error), rows=row.covers)
    for tree in trees.grown(nodes, broken, most):
        if tree.threads:
            used = {node.name for thread in tree.threads for node in thread}
            yield Row(tree.line, _threads(tree), covers=len(used))
        for node, kind, reason in tree.unused:
            yield BadRow(reader.file, node.line, reason, kind)


class _Reader:
    """Makes messages of rows, under the names that the columns have in this file."""

    def __init__(self, file: str, options: ReadOptions) -> None:
        given = dict(options.columns)
        self.file = file
        self.names = {name: given.get(name, name) for name in COLUMNS}
        self.languages = options.languages

    def is_tree(self, row: Row) -> bool:
        return isinstance(row.value.get(self.names["prompt"]), dict)

    def whole(self, row: Row, most: int | None) -> Row | BadRow:
        """A row that is a tree. Its messages are no rows, so that one which is wrong makes the whole row a bad one."""
        try:
            nodes = {node.name: node for node in self._members(row.value[self.names["prompt"]], row.line)}
            (tree,) = trees.grown(nodes, {}, most)
            wrong = next((one for one in tree.unused if one.kind == "bad"), None)
            if wrong is not None:
                raise DataError(f"message {fields.shown(wrong.node.name)}: {wrong.reason}")
        except DataError as error:
            return BadRow(self.file, row.line, str(error), rows=row.covers)
        if not tree.threads:
            reason = f"no thread of the tree is left; of its first message: {tree.unused[0].reason}"
            return BadRow(self.file, row.line, reason, "filtered", row.covers)
        return Row(row.line, _threads(tree), row.covers)

    def node(self, value: Mapping[str, Any], line: int) -> Node:
        """One message of a row, or of a tree; DataError for what cannot be one."""
        name = fields.text(value, self.names["message_id"])
        role = turns.SPEAKERS.get(fields.text(value, self.names["role"]).lower())
        text = fields.text(value, self.names["text"])
        if not name:
            raise DataError("the id is empty")
        if role not in ("user", "assistant"):
            raise DataError(f"the role is {fields.shown(value[self.names['role']])}; it must be prompter or assistant")
        if not text.strip():
            raise DataError("the text is empty")
        if "\0" in text:
            raise DataError("the text holds a NUL character; remove it")
        check_text(text, "the text")
        parent, tree = (fields.optional_text(value, self.names[own]) for own in ("parent_id", "message_tree_id"))
        return Node(line, name, parent, tree, role, text, self._rank(value), self._left_out(value))

    def _members(self, prompt: Any, line: int) -> Iterator[Node]:
        """The messages of a tree, parents first; what stands where says whose reply it is."""
        waiting = deque([(prompt, "")])
        known: dict[str, Node] = {}
        while waiting:
            value, parent = waiting.popleft()
            if not isinstance(value, dict):
                raise DataError(f"a reply is {fields.kind_of(value)}; it must be an object")
            node = self.node({**value, self.names["parent_id"]: parent, self.names["message_tree_id"]: ""}, line)
            _add(known, node)
            yield node
            replies = self.names["replies"]
            found = fields.items(value, replies) if value.get(replies) is not None else []
            waiting.extend((reply, node.name) for reply in found)

    def _rank(self, value: Mapping[str, Any]) -> float:
        """The place among the replies to the same message, from 0; UNRANKED where nobody gave one."""
        rank = value.get(self.names["rank"])
        if rank is None or rank == "":
            return UNRANKED
        try:
            found = float(rank) if isinstance(rank, int | float | str) and not isinstance(rank, bool) else None
        except (ValueError, OverflowError):
            found = None
        if found is None:
            raise DataError(f"{self.names['rank']!r} is {fields.kind_of(rank)}; it must be a number")
        return UNRANKED if found != found else found

    def _left_out(self, value: Mapping[str, Any]) -> str:
        """Why the message is not to be used, or ""."""
        if self._says(value, "deleted", True):
            return "it is deleted"
        if self._says(value, "review_result", False):
            return "it failed its review"
        if not self.languages:
            return ""
        language = fields.optional_text(value, self.names["lang"])
        if language.lower() in [one.lower() for one in self.languages]:
            return ""
        return f"its language is {fields.shown(language)}; wanted is {', '.join(self.languages)}"

    def _says(self, value: Mapping[str, Any], own: str, wanted: bool) -> bool:
        """Whether a truth that may be missing is there and is the one that is asked for."""
        column = self.names[own]
        return value.get(column) not in (None, "") and fields.flag(value, column) == wanted


def _add(nodes: dict[str, Node], node: Node) -> None:
    """A message whose name is new."""
    if node.name in nodes:
        raise DataError(
            f"the id {fields.shown(node.name)} is there twice; the first is in line {nodes[node.name].line}"
        )
    nodes[node.name] = node


def _threads(tree: Tree) -> dict[str, Any]:
    """A tree as a row."""
    return {"threads": [[{"role": node.role, "content": node.text} for node in thread] for thread in tree.threads]}


def _conversation(thread: Any) -> Record:
    if not isinstance(thread, list):
        raise DataError(f"a thread is {fields.kind_of(thread)}; it must be a list of messages")
    return Conversation(tuple(turns.openai(thread, {})))


def _most(threads: str) -> int | None:
    """How many threads of a tree are wanted; None for all."""
    if threads in ("best", "all"):
        return 1 if threads == "best" else None
    if threads.isascii() and threads.isdecimal() and len(threads) < 10 and int(threads) > 0:
        return int(threads)
    raise ConfigError(f"threads is {threads!r}; give best, all or a number from 1 up")
