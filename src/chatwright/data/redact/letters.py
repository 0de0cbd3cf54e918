"""How two spellings of a name are compared: without case, accents, marks, invisible characters and kinds of dashes.

`Folded` keeps the way back: a place in the folded text is a place in the text that it was made from.
"""

import re
import unicodedata
from dataclasses import dataclass

WORD = re.compile(r"[^\W_]+")  # of a folded text: letters and digits; an underscore may be somebody's _italics_
PIECE = re.compile(r"[^\W\d_]+|\d+")  # of a word: "anna87" is a name and a number

# What Unicode does not take apart, and marks that are typed in several ways.
_LETTERS = {"ł": "l", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "ħ": "h"}
_MARKS = {**dict.fromkeys("\u2018\u2019\u02bc\u00b4\u0060", "'"), **dict.fromkeys("‐‑‒–—―−", "-")}
# How umlauts are written out; the folded form of ü is u, so that Müller, Muller and Mueller need two forms.
_WRITTEN_OUT = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "Å": "Aa"})


@dataclass(frozen=True)
class Folded:
    """`text` folded; `places[i]` is where its character i begins in the original, with the end as the last one."""

    text: str
    places: tuple[int, ...] | None  # None: character by character the same

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The same stretch of the original."""
        return (start, end) if self.places is None else (self.places[start], self.places[end])


class Folding(dict[int, str]):
    """Code point -> its folded form, found once; a table for str.translate. `uneven`: those that are not one for one."""

    def __init__(self) -> None:
        super().__init__()
        self.uneven: set[str] = set()

    def __missing__(self, code: int) -> str:
        folded = self[code] = _fold(chr(code))
        if len(folded) != 1:
            self.uneven.add(chr(code))
        return folded

    def within(self, read: Folded) -> Folded:
        """What was already read from another text, folded; its places are those of that text."""
        folded = self.fold(read.text)
        if read.places is None or folded.places is None:
            return Folded(folded.text, folded.places or read.places)
        return Folded(folded.text, tuple(read.places[place] for place in folded.places))

    def fold(self, text: str) -> Folded:
        """`text` is expected in NFC; any other is folded as well, only slower."""
        if text.isascii() and "`" not in text:
            return Folded(text.lower(), None)
        folded = text.translate(self)
        if self.uneven.isdisjoint(text):
            return Folded(folded, None)
        places = [place for place, character in enumerate(text) for _ in self[ord(character)]]
        return Folded(folded, (*places, len(text)))


def variants(name: str) -> list[str]:
    """The ways to write a name that folding does not make one: `Jürgen` is also `Juergen`."""
    composed = unicodedata.normalize("NFC", name)
    return list(dict.fromkeys((composed, composed.translate(_WRITTEN_OUT))))


def _fold(character: str) -> str:
    if "\uac00" <= character <= "\ud7a3":  # a Korean syllable; taken apart it would be two or three letters
        return character
    simple = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())
    kept = (
        _LETTERS.get(c, _MARKS.get(c, c)) for c in simple if unicodedata.category(c) not in ("Mn", "Mc", "Me", "Cf")
    )
    return "".join(kept)
