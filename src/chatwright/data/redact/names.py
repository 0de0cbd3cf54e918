"""Finds the people of an export in a text, whatever the case, the accents and the spaces that their names are typed with.

One pass over the words of a text, with a table of first words, so that ten thousand contacts cost no more than ten.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from chatwright.data.redact.forms import Form
from chatwright.data.redact.letters import PIECE, Folded, Folding
from chatwright.data.redact.reading import unquoted

_INVISIBLE = "\u200e\u200f\u2066\u2067\u2068\u2069"  # marks of direction, which some programs put around a mention
MOST = 4  # pieces of a first word by which a name is looked up
_BETWEEN = re.compile(r"[\s._'\-#]{0,3}")  # what may stand between two words of a name


class Mention(NamedTuple):
    """A stretch of a text that names somebody; `sure` unless it may be an ordinary word."""

    start: int
    end: int
    person: int
    sure: bool


class _Wanted(NamedTuple):
    """The pieces of a form; `glued[i]`: nothing stands before piece i, as they are of one word ("anna87")."""

    pieces: tuple[str, ...]
    glued: tuple[bool, ...]
    form: Form


class Names:
    """Looks for forms. Of two that begin at one word the longer wins, then the one that was given first."""

    def __init__(self, forms: Iterable[Form], folding: Folding) -> None:
        self._folding = folding
        self._table: dict[str, list[_Wanted]] = {}
        self._firsts: set[str] = set()
        anywhere: dict[str, Form] = {}
        seen = set()
        for form in forms:
            if form.anywhere:
                anywhere.setdefault(form.words[0], form)
            elif (form.words, form.ending, form.strict, form.exact) not in seen:
                seen.add((form.words, form.ending, form.strict, form.exact))
                wanted = _taken_apart(form)
                self._table.setdefault(_key(wanted.pieces, wanted.glued), []).append(wanted)
                self._firsts.add(wanted.pieces[0])
        for some in self._table.values():
            some.sort(key=lambda one: (-len(one.pieces), one.form.ending, one.form.strict, one.form.exact))
        self._anywhere = anywhere
        longest_first = sorted(anywhere, key=len, reverse=True)
        self._inside = re.compile("|".join(map(re.escape, longest_first))) if anywhere else None

    def find(self, text: str) -> list[Mention]:
        """Everybody who is named, in order, none touching another."""
        folded = self._folding.within(unquoted(text))
        found = self._joined(text, self._in_words(text, folded))
        if self._inside is not None:
            found += self._within_words(folded, found)
            found.sort()
        return found

    def _in_words(self, text: str, folded: Folded) -> Iterator[Mention]:
        if self._firsts.isdisjoint(PIECE.findall(folded.text)):
            return
        pieces = [(match[0], *match.span()) for match in PIECE.finditer(folded.text)]
        place = 0
        while place < len(pieces):
            if pieces[place][0] not in self._firsts or not (
                wanted := next(self._fitting(text, folded, pieces, place), None)
            ):
                place += 1
                continue
            last = place + len(wanted.pieces) - 1
            start, stop = folded.span(pieces[place][1], pieces[last][2] - wanted.form.ending)
            yield Mention(start - _at(text, start), stop, wanted.form.person, not wanted.form.strict)
            place = last + 1

    def _fitting(self, text: str, folded: Folded, pieces: list[tuple[str, int, int]], place: int) -> Iterator[_Wanted]:
        """The forms that stand at a piece of a word, the longest first."""
        for wanted in self._beginning(pieces[place : place + MOST]):
            if len(wanted.pieces) > 1 and not _follow(wanted, folded, pieces[place : place + len(wanted.pieces)]):
                continue
            if not wanted.form.strict or self._is_written_as_name(text, folded, pieces[place], wanted.form):
                yield wanted

    def _beginning(self, pieces: list[tuple[str, int, int]]) -> Iterator[_Wanted]:
        """The forms whose first word is how these pieces of a text begin, the longest word first."""
        count = 1
        while count < len(pieces) and pieces[count - 1][2] == pieces[count][1]:
            count += 1
        for end in range(count, 0, -1):
            yield from self._table.get("".join(piece for piece, _, _ in pieces[:end]), ())

    def _is_written_as_name(self, text: str, folded: Folded, piece: tuple[str, int, int], form: Form) -> bool:
        """With a capital, or behind an @; and where that says too little ("ED"), with small letters after it."""
        start, end = folded.span(piece[1], piece[2])
        if _at(text, start):
            return True
        beside = folded.text[max(piece[1] - 1, 0) : piece[1]] + folded.text[piece[2] : piece[2] + 1]
        return text[start].isupper() and not (
            form.exact and (text[start + 1 : end].isupper() or any(character.isdigit() for character in beside))
        )

    def _joined(self, text: str, mentions: Iterable[Mention]) -> list[Mention]:
        """First and last name of one person beside each other ("Lind Ana") are one mention, "Ana Ana" are two."""
        found: list[Mention] = []
        for one in mentions:
            last = found[-1] if found else None
            if last and last.person == one.person and text[last.end : one.start] in (" ", "-", "."):
                before, after = (self._folding.fold(text[m.start : m.end]).text for m in (last, one))
                if after not in before and after.isalpha():
                    found[-1] = Mention(last.start, one.end, one.person, last.sure or one.sure)
                    continue
            found.append(one)
        return found

    def _within_words(self, folded: Folded, taken: list[Mention]) -> Iterator[Mention]:
        """Names in scripts that write no spaces; a Korean one begins a word."""
        assert self._inside is not None
        for match in self._inside.finditer(folded.text):
            start, end = folded.span(*match.span())
            korean = "\uac00" <= match[0][0] <= "\ud7a3"
            if korean and match.start() and folded.text[match.start() - 1].isalnum():
                continue
            if not any(start < one.end and one.start < end for one in taken):
                yield Mention(start, end, self._anywhere[match[0]].person, True)


def _follow(wanted: _Wanted, folded: Folded, some: list[tuple[str, int, int]]) -> bool:
    """Whether these pieces of a text are those of a form, with nothing between them that stands in no name."""
    if tuple(piece for piece, _, _ in some) != wanted.pieces:
        return False
    gaps = zip(pairwise(some), wanted.glued[1:], strict=True)
    return all(
        left[2] == right[1] if glued else _BETWEEN.fullmatch(folded.text, left[2], right[1])
        for (left, right), glued in gaps
    )


def _key(pieces: tuple[str, ...], glued: tuple[bool, ...]) -> str:
    """The first word, or how it begins: names that have their first piece in common ("user17") are not all tried."""
    end = next((place for place in range(1, len(pieces)) if not glued[place]), len(pieces))
    return "".join(pieces[: min(end, MOST)])


def _taken_apart(form: Form) -> _Wanted:
    pieces = [PIECE.findall(word) or [word] for word in form.words]
    glued = (place > 0 for some in pieces for place in range(len(some)))
    return _Wanted(tuple(piece for some in pieces for piece in some), tuple(glued), form)


def _at(text: str, start: int) -> int:
    """How far before this place an @ stands, which makes it a handle; 0 where none does."""
    before = len(text[:start].rstrip(_INVISIBLE)) if start and text[start - 1] in _INVISIBLE else start
    return start - before + 1 if before and text[before - 1] == "@" else 0
