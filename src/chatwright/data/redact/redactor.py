"""Hides people in texts: each name, address, number and key becomes a placeholder that reads like a word.

The same person is the same placeholder in the whole export: "[name 1]", "[name 2]", … in the order in which they come
up, and "[me]" for the one whose messages are learned. Everything else is "[email]", "[phone]" and so on.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from chatwright.data.redact.forms import exactly, forms, people, plain
from chatwright.data.redact.letters import Folding
from chatwright.data.redact.names import Names
from chatwright.data.redact.patterns import Patterns
from chatwright.data.redact.phones import Phones
from chatwright.data.redact.reading import seen, unquoted
from chatwright.data.redact.report import Hidden, RedactionReport

ME = "[me]"


class _Span(NamedTuple):
    start: int
    end: int
    kind: str  # "" for a person
    person: int
    sure: bool


class Redactor:
    """Hides in one text after another, and counts. `names` are all people of an export, `me` is one of them or "".

    `hide` is hidden as it is written, in any case. `found` are further names that a model saw in the texts (ner.py), by
    the name of that model.
    """

    def __init__(
        self,
        names: Iterable[str],
        me: str = "",
        hide: Sequence[str] = (),
        *,
        found: Iterable[str] = (),
        model: str = "",
    ) -> None:
        folding = Folding()
        listed = list(dict.fromkeys(name for name in ([me] if me else []) + list(names) if name.strip()))
        found = list(found)
        self._people = people([*listed, *found, *hide], folding)
        self._me = self._people[me] if me else -1
        wanted = [form for name in listed for form in forms(name, self._people[name], folding)]
        wanted += [form for name in found for form in exactly(name, self._people[name], folding, strict=True)]
        wanted += [form for words in hide for form in exactly(words, self._people[words], folding)]
        self._names = Names(wanted, folding)
        self._patterns = Patterns(Phones(listed))
        self._hide, self._model = tuple(hide), model
        self._numbers: dict[int, int] = {}  # person -> number of the placeholder
        self._originals: dict[str, Counter[str]] = {}  # placeholder -> what stood in its place
        self._met: set[tuple[str, str]] = set()  # (kind, what stood there) of all that is sure
        self._sure: set[str] = {name for name in map(plain, listed) if len(name.split()) > 1}

    def text(self, text: str) -> str:
        """The text with everything hidden, in Unicode's composed form (NFC)."""
        text = unicodedata.normalize("NFC", text)
        pieces, place = [], 0
        for span in self._spans(text):
            original = text[span.start : span.end]
            pieces += [text[place : span.start], self._hidden(span, original)]
            place = span.end
        return "".join([*pieces, text[place:]]) if pieces else text

    def name(self, name: str) -> str:
        """The placeholder of somebody whose name stands in the export, as a speaker; this is not counted."""
        return self._placeholder(self._people[name]) if name in self._people else "[name]"

    @property
    def report(self) -> RedactionReport:
        """What was hidden so far."""
        shown = {
            self._placeholder(person): name
            for name, person in reversed(self._people.items())
            if person in self._numbers or person == self._me
        }
        hidden = tuple(
            Hidden(placeholder, shown.get(placeholder, ""), tuple(originals.most_common()))
            for placeholder, originals in self._originals.items()
        )
        unused = sum(self._people[words] not in self._numbers for words in self._hide)
        return RedactionReport(hidden, frozenset(self._sure), self._model, len(self._hide), unused)

    def _spans(self, text: str) -> Iterator[_Span]:
        """In order; of a name and an address that share letters, both are hidden as the address."""
        found = [_Span(start, end, kind, -1, True) for start, end, kind in self._patterns.find(text)]
        named = [_Span(start, end, "", person, sure) for start, end, person, sure in self._names.find(text)]
        if not found or not named:
            yield from found or named
            return
        last: _Span | None = None
        for span in sorted(found + named):
            if last is not None and span.start < last.end:
                last = last._replace(end=max(last.end, span.end), kind=last.kind or span.kind)
                continue
            if last is not None:
                yield last
            last = span
        if last is not None:
            yield last

    def _hidden(self, span: _Span, original: str) -> str:
        """The placeholder of a stretch, which is counted."""
        placeholder = f"[{span.kind}]" if span.kind else self._placeholder(span.person)
        self._originals.setdefault(placeholder, Counter())[original] += 1
        if span.sure and (span.kind, original) not in self._met:
            self._met.add((span.kind, original))
            self._sure.add(_told(original, span.kind))
        return placeholder

    def _placeholder(self, person: int) -> str:
        if person == self._me:
            return ME
        return f"[name {self._numbers.setdefault(person, len(self._numbers) + 1)}]"


def _told(original: str, kind: str) -> str:
    """What was hidden as somebody would say it: `anna%20meyer` is "anna meyer", and a number is on one line."""
    if kind in ("key", "password"):
        return original
    read = unquoted(seen(original).text).text
    return " ".join(read.split()) if kind else plain(read.lstrip("@"))
