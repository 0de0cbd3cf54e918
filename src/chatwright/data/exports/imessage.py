"""Messages of an iPhone or a Mac, which Apple exports nowhere: the CSV of iMazing, a plain CSV, or imessage-exporter's text.

iMazing's columns are Chat Session, Message Date, Type (Incoming, Outgoing, Notification), Sender ID, Sender Name, Text,
Attachment and more (imazing.com/guides); a plain CSV has a date, a text, and is_from_me or a sender, as scripts over
Apple's chat.db write them. Who sent what is outgoing is the owner.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from chatwright.data import files
from chatwright.data.exports import _dates, _document, _imessage_text, _times
from chatwright.data.exports._found import DELETED, MEDIA, NOTE, Found
from chatwright.data.exports.export import ChatMessage, Export
from chatwright.data.rows import BadRow, Row

ME = "Me"  # the owner, where no column has a name
REACTION = "is a reaction to another message"
_PICTURE = "\ufffc"  # what Apple puts into a text where a picture stands
_REACTION = re.compile(
    r"(?:Loved|Liked|Disliked|Laughed at|Emphasized|Questioned|Reacted .{1,20} to|Removed an? .{1,30} from) "
    r"(?:“.*”|an? (?:image|movie|attachment|sticker|audio message|link))",
    re.DOTALL,
)
# The names of columns, in lower case and with spaces, by what they hold.
_DATE = ("message date", "date", "timestamp", "datetime", "date time", "time", "sent at", "date sent")
_TEXT = ("text", "message", "body", "message text")
_SENDER = (
    "sender name",
    "sender",
    "sender or recipient",
    "contact",
    "handle",
    "phone number",
    "sender id",
    "handle id",
)
_MINE = ("is from me", "from me")
_CHAT = ("chat session", "chat", "chat name", "conversation", "room name", "chat identifier", "chat id")
_FILE = ("attachment", "attachments", "attachment type", "cache has attachments")
_MORE = ("service", "id", "rowid", "message id", "guid", "date read", "date delivered", "reactions", "status")
_IMAZING = {"chat session", "message date", "type", "sender id", "text"}
_KNOWN = {*_DATE, *_TEXT, *_SENDER, *_MINE, *_CHAT, *_FILE, *_MORE}
_YES, _NO = ("1", "true", "yes", "y"), ("0", "false", "no", "n", "")


def recognises(path: Path, start: bytes) -> bool:
    """By the names of the columns, where each is one of a chat's, and by the first date; a text by its first lines."""
    text = _document.decoded(start)
    match path.suffix.lower():
        case ".csv" | ".tsv":
            return _is_chat(text, "\t" if path.suffix.lower() == ".tsv" else ",")
        case ".txt":
            return _imessage_text.begins(text)
        case _:
            return False


def read(path: Path) -> Export:
    """Every message. Raises DataError where the file cannot be opened."""
    if path.suffix.lower() == ".txt":
        return _imessage_text.read(str(path), path.stem, _document.text(path, _document.content(path)))
    found = Found(path)
    rows: list[_Row] = []
    for row in files.read(path):
        if isinstance(row, BadRow):
            found.listed(row)
        else:
            rows.append(_row(row))
    table = _Table(path.stem, _owner(rows), _has_counterparts(rows), _order(rows, found))
    for each in rows:
        try:
            _add(each, table, found)
        except ValueError as error:
            found.bad(each.line, error)
    names = [each.get(column) for each in rows for column in (*_SENDER, "sender id")]
    return found.export("imessage", (name for name in [table.owner, *names] if name != ME), table.owner)


@dataclass(frozen=True)
class _Row:
    """The cells of a message by the names of their columns in lower case."""

    line: int
    cells: dict[str, str]

    def get(self, *columns: str) -> str:
        """The first of these cells that has anything in it."""
        return next((text for column in columns if (text := self.cells.get(column, "").strip())), "")

    def is_mine(self) -> bool:
        """Whether the owner sent it; raises ValueError where the row does not tell."""
        if mine := [column for column in _MINE if column in self.cells]:
            answer = self.cells[mine[0]].strip().lower()
            if answer not in _YES + _NO:
                raise ValueError(f"has {_times.shown(answer)} for {mine[0]!r}; it must be 1 or 0")
            return answer in _YES
        if "type" in self.cells:
            kind = self.get("type").lower()
            if kind not in ("incoming", "outgoing"):
                raise ValueError(f"has the type {_times.shown(kind)}; it must be Incoming, Outgoing or Notification")
            return kind == "outgoing"
        return self.get(*_SENDER) == ME


@dataclass(frozen=True)
class _Table:
    """What holds for all rows."""

    title: str
    owner: str
    has_counterparts: bool  # whether the owner's own rows name whom they were sent to
    order: _dates.Order


def _add(row: _Row, table: _Table, found: Found) -> None:
    """Puts a message where it belongs."""
    if row.get("type").lower() == "notification":
        return found.filtered(row.line, NOTE)
    text = row.get(*_TEXT).replace(_PICTURE, "").strip()
    if row.get("deleted date"):
        return found.filtered(row.line, DELETED)
    if not text and (row.get(*_FILE) not in _NO or _PICTURE in row.get(*_TEXT)):
        return found.filtered(row.line, MEDIA)
    if _REACTION.fullmatch(text):
        return found.filtered(row.line, REACTION)
    person = row.get(*_SENDER)
    sender = table.owner if row.is_mine() else person
    if not sender:
        raise ValueError("has no sender")
    chat = row.get(*_CHAT) or (person if table.has_counterparts else table.title)
    found.message(ChatMessage(row.line, chat, _time(row, table.order), sender, text))


def _row(row: Row) -> _Row:
    return _Row(row.line, {_column(name): cell for name, cell in row.value.items()})


def _column(name: str) -> str:
    """`is_from_me`, `Is From Me` -> is from me."""
    return " ".join(name.replace("_", " ").lower().split())


def _owner(rows: Iterable[_Row]) -> str:
    """The name that iMazing gives to the sender of what is outgoing, where it does."""
    names = Counter(row.get("sender name") for row in rows if row.get("type").lower() == "outgoing")
    del names[""]
    return names.most_common(1)[0][0] if names else ME


def _has_counterparts(rows: Iterable[_Row]) -> bool:
    """Whether every row names the other one, as chat.db's handles do, whoever sent it."""
    mine = [row.get(*_SENDER) for row in rows if row.get(*_MINE).lower() in _YES]
    return bool(mine) and all(name and name != ME for name in mine)


def _order(rows: list[_Row], found: Found) -> _dates.Order:
    """The order of the dates that are neither ISO nor a number."""
    dates = [date for row in rows if (date := _dates.parse(row.get(*_DATE)))]
    order, certain = _dates.order(dates)
    if not certain:
        found.note(rows[0].line, _dates.doubt(dates[0], order))
    return order


def _time(row: _Row, order: _dates.Order) -> datetime:
    """ISO, digits in an order of their own, or a count of seconds; raises ValueError."""
    text = row.get(*_DATE)
    if written := _dates.parse(text):
        try:
            return written.moment(order)
        except ValueError:
            raise ValueError(f"has no possible date, got {_times.shown(text)}") from None
    return _times.from_count(int(text)) if re.fullmatch(r"\d{9,19}", text) else _times.from_iso(text)


def _is_chat(text: str, delimiter: str) -> bool:
    """Whether a table begins as a chat does."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        header, first = next(reader, []), next(reader, [])
    except csv.Error:
        return False
    columns = [_column(name) for name in header]
    if set(columns) >= _IMAZING:
        return True
    if not (
        set(columns) <= _KNOWN and set(columns) & {*_DATE} and set(columns) & {*_TEXT} and len(first) == len(columns)
    ):
        return False
    try:
        _time(_Row(1, dict(zip(columns, first, strict=True))), _dates.DAY_FIRST)
    except ValueError:
        return bool(set(columns) & {*_MINE})
    return bool(set(columns) & {*_MINE, *_SENDER})
