"""A .json file: an array of objects, read element by element however large it is, or objects one after the other."""

import json
from collections.abc import Iterator

from chatwright.data.files import json_lines
from chatwright.data.files.json_row import DECODER, row, syntax
from chatwright.data.files.json_text import JsonText
from chatwright.data.files.piece import Piece, Unreadable, grouped
from chatwright.data.files.stream import Stream
from chatwright.data.rows import BadRow, Row, Rows

REST = "nothing after it can be read"
_FORGIVING = json.JSONDecoder(parse_int=str)  # finds the end of what DECODER refuses


def pieces(stream: Stream, longest: int) -> Iterator[Piece]:
    """The rows of the file, each with the line that it begins in."""
    text = JsonText(stream, longest)
    start = text.next(0)
    if start == "[":
        yield from grouped(_elements(text), stream)
    elif start == "{" and _is_lines(text):
        with Stream(stream.path) as again:  # one bad line is one bad row there
            yield from json_lines.pieces(again, longest)
    elif start == "{":
        yield from grouped(_objects(text), stream)
    else:
        raise Unreadable(text.file, text.line, f"{text.ahead(20)!r} begins no JSON array or object")


def _elements(text: JsonText) -> Rows:
    """The elements of an array, from its bracket."""
    following = text.next(text.position + 1)
    while following != "]":
        end, found = _element(text)
        yield found
        following = text.next(end)
        if following == ",":
            following = text.next(text.position + 1)
        elif following != "]":
            raise Unreadable(text.file, text.line, f"is not JSON: ',' or ']' is missing; {REST}")
    if text.next(text.position + 1):
        raise Unreadable(text.file, text.line, f"is not JSON: {text.ahead(20)!r} follows the end of the array; {REST}")


def _objects(text: JsonText) -> Rows:
    """Objects one after the other; a file with one object is one row."""
    following = "{"
    while following == "{":
        end, found = _element(text)
        yield found
        following = text.next(end)
    if following:
        raise Unreadable(text.file, text.line, f"is not JSON: {text.ahead(20)!r} follows the end of an object; {REST}")


def _element(text: JsonText) -> tuple[int, Row | BadRow]:
    """The value at the position and the index of its end; Unreadable where there is no telling where it ends."""
    line = text.line
    try:
        value, end = text.value(DECODER)
        found = row(text.file, line, value)
    except (json.JSONDecodeError, RecursionError) as error:
        raise _broken(text, error) from None
    except ValueError as refused:
        end = _end_of_refused(text)
        found = BadRow(text.file, line, syntax(refused))
    foreign = text.foreign(text.position, end)
    return end, BadRow(text.file, *foreign) if foreign else found


def _end_of_refused(text: JsonText) -> int:
    """The index of the end of a value whose keys or numbers are refused."""
    try:
        return text.value(_FORGIVING)[1]
    except (json.JSONDecodeError, RecursionError) as error:
        raise _broken(text, error) from None


def _broken(text: JsonText, error: json.JSONDecodeError | RecursionError) -> Unreadable:
    """Without the end of this element there is no telling where the next one begins."""
    if isinstance(error, RecursionError):
        return Unreadable(text.file, text.line, f"{syntax(error)}; {REST}")
    line, column = text.place(error.pos)
    foreign = text.foreign(error.pos, error.pos + 1)
    return Unreadable(text.file, line, f"{foreign[1] if foreign else syntax(error, column)}; {REST}")


def _is_lines(text: JsonText) -> bool:
    """Whether the first line alone is an object and more lines follow."""
    line, more = text.first_line()
    try:
        DECODER.decode(line)
    except (ValueError, RecursionError):
        return False
    return more
