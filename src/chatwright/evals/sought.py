"""Strings that must not be said, found in a text whatever the case, the accents and the spaces they are written with."""

import re
from collections.abc import Iterable, Iterator

from chatwright.data.redact.letters import WORD, Folding

DIGITS = 7  # the last ones of a number, by which it is known with and without its country
FEWEST = 5  # characters of one word with a digit in it that is no word anybody says by chance
FEWEST_UNSPACED = 3  # characters of a name in a script without spaces: a family name and two more
_NUMBER = re.compile(r"\d(?:[ \t\u00a0\u202f().\-/]{0,3}\d)+")
# Scripts that write no spaces: their words cannot be told apart, so a string is looked for anywhere.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]")


class Sought:
    """Looks for many strings at once; the time for a text does not grow with their number."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._folding = Folding()
        self._words: dict[str, list[tuple[tuple[str, ...], str]]] = {}  # first word -> (all words, the string)
        self._numbers: dict[str, str] = {}  # last digits -> the string
        self._anywhere: dict[str, str] = {}
        secrets = [secret for secret in dict.fromkeys(secrets) if secret.strip()]
        for secret in secrets:
            self._add(secret)
        self._count = len(secrets)

    def __len__(self) -> int:
        return self._count

    def find(self, text: str) -> set[str]:
        """Those that stand in a text; of two that are spelled alike, one."""
        folded = self._folding.fold(text).text
        found = {secret for literal, secret in self._anywhere.items() if literal in folded}
        words = WORD.findall(folded)
        if not self._words.keys().isdisjoint(words):
            found.update(self._whole(words))
        if self._numbers:
            numbers = (re.sub(r"\D", "", number)[-DIGITS:] for number in _NUMBER.findall(folded))
            found.update(self._numbers[number] for number in numbers if number in self._numbers)
        return found

    def certain(self, secret: str) -> bool:
        """Whether it is more than one word that a model may have from elsewhere, such as a first name."""
        words = WORD.findall(self._folding.fold(secret).text)
        if len(words) != 1 or (_UNSPACED.search(secret) and len(secret) >= FEWEST_UNSPACED):
            return True
        return any(character.isdigit() for character in secret) and len(secret) >= FEWEST

    def _add(self, secret: str) -> None:
        folded = self._folding.fold(secret).text.strip()
        words = tuple(WORD.findall(folded))
        digits = re.sub(r"\D", "", folded)
        if not words or _UNSPACED.search(folded):
            self._anywhere.setdefault(folded, secret)
        elif len(digits) >= DIGITS and _NUMBER.fullmatch(folded.lstrip("+( ")):
            self._numbers.setdefault(digits[-DIGITS:], secret)
        elif words not in (known for known, _ in self._words.get(words[0], ())):
            self._words.setdefault(words[0], []).append((words, secret))

    def _whole(self, words: list[str]) -> Iterator[str]:
        for place, word in enumerate(words):
            for wanted, secret in self._words.get(word, ()):
                if tuple(words[place : place + len(wanted)]) == wanted:
                    yield secret
