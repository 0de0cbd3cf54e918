"""Finds the people of an export in a text, whatever the case, the accents and the spaces that their names are typed with.

One pass over the words of a text, with a table of first words, so that ten thousand contacts cost no more than ten.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from chatwright.data.redact.forms import Form
from chatwright.data.redact.letters import WORD, Folded, Folding

_INVISIBLE = "\u200e\u200f\u2066\u2067\u2068\u2069"  # marks of direction, which some programs put around a mention
_BETWEEN = re.compile(r"[\s._'\-#]{0,3}")  # what may stand between two words of a name


class Mention(NamedTuple):
    """A stretch of a text that names somebody; `sure` unless it may be an ordinary word."""

    start: int
    end: int
    person: int
    sure: bool


class Names:
    """Looks for forms. Of two that begin at one word the longer wins, then the one that was given first."""

    def __init__(self, forms: Iterable[Form], folding: Folding) -> None:
        self._folding = folding
        self._table: dict[str, list[Form]] = {}
        anywhere: dict[str, Form] = {}
        seen = set()
        for form in forms:
            if form.anywhere:
                anywhere.setdefault(form.words[0], form)
            elif (form.words, form.ending, form.strict) not in seen:
                seen.add((form.words, form.ending, form.strict))
                self._table.setdefault(form.words[0], []).append(form)
        for some in self._table.values():
            some.sort(key=lambda form: (-len(form.words), form.ending, form.strict))
        self._anywhere = anywhere
        longest_first = sorted(anywhere, key=len, reverse=True)
        self._inside = re.compile("|".join(map(re.escape, longest_first))) if anywhere else None

    def find(self, text: str) -> list[Mention]:
        """Everybody who is named, in order, none touching another."""
        folded = self._folding.fold(text)
        found = self._joined(text, self._in_words(text, folded))
        if self._inside is not None:
            found += self._within_words(folded, found)
            found.sort()
        return found

    def _in_words(self, text: str, folded: Folded) -> Iterator[Mention]:
        if self._table.keys().isdisjoint(WORD.findall(folded.text)):
            return
        words = [(match[0], *match.span()) for match in WORD.finditer(folded.text)]
        place = 0
        while place < len(words):
            form = next(self._fitting(text, folded, words, place), None)
            if form is None:
                place += 1
                continue
            end = words[place + len(form.words) - 1][2] - form.ending
            start, stop = folded.span(words[place][1], end)
            yield Mention(start - _at(text, start), stop, form.person, not form.strict)
            place += len(form.words)

    def _fitting(self, text: str, folded: Folded, words: list[tuple[str, int, int]], place: int) -> Iterator[Form]:
        """The forms that stand at a word, the longest first."""
        for form in self._table.get(words[place][0], ()):
            some = words[place : place + len(form.words)]
            if tuple(word for word, _, _ in some) != form.words:
                continue
            gaps = pairwise(some)
            if not all(_BETWEEN.fullmatch(folded.text, left[2], right[1]) for left, right in gaps):
                continue
            start, _ = folded.span(words[place][1], words[place][2])
            if not form.strict or text[start].isupper() or _at(text, start):
                yield form

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


def _at(text: str, start: int) -> int:
    """How far before this place an @ stands, which makes it a handle; 0 where none does."""
    before = len(text[:start].rstrip(_INVISIBLE)) if start and text[start - 1] in _INVISIBLE else start
    return start - before + 1 if before and text[before - 1] == "@" else 0
