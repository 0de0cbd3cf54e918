"""How a text reads: without what nobody sees, and with the letters that the %XX of a link stand for.

Both keep the way back to the places of the text (letters.py), so that what is found there can be hidden in the text.
"""

import re

from chatwright.data.redact.letters import Folded

# Unicode's invisible characters (Cf), and the marks that choose how the character before them is drawn.
_UNSEEN = (
    "\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064"
    "\u2066-\u206f\u20e3\ufe00-\ufe0f\ufeff\ufff9-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001"
    "\U000e0020-\U000e007f"
)
_SPACES = "\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
_UNUSUAL = re.compile(f"[{_UNSEEN}{_SPACES}]")
# Beside an emoji they are usual and hide nothing.
_BREAKS = re.compile(rf"(?<=[\w@.+\-])[{_UNSEEN}]+(?=[\w@.+\-])|[{_SPACES}]")
_PARTS = re.compile(f"([{_UNSEEN}]+)|[{_SPACES}]")
_QUOTED = re.compile(r"(?:%[0-9A-Fa-f]{2})+")


def seen(text: str) -> Folded:
    """Without invisible characters that stand inside of something, and with one kind of space."""
    if text.isascii() or not _UNUSUAL.search(text) or not _BREAKS.search(text):
        return Folded(text, None)
    pieces, places, last = [], list[int](), 0
    for match in _PARTS.finditer(text):
        start, end = match.span()
        shown = "" if match[1] else " "
        pieces += [text[last:start], shown]
        places += [*range(last, start), *([start] if shown else [])]
        last = end
    return Folded("".join([*pieces, text[last:]]), (*places, *range(last, len(text) + 1)))


def unquoted(text: str) -> Folded:
    """`Anna%20Meyer` reads "Anna Meyer"; a per cent sign that is one ("100%Ada") stays."""
    if "%" not in text or not _QUOTED.search(text):
        return Folded(text, None)
    pieces, places, last = [], list[int](), 0
    for match in _QUOTED.finditer(text):
        start, end = match.span()
        quoted = bytes.fromhex(match[0].replace("%", ""))
        try:
            read, sizes = quoted.decode(), [len(character.encode()) for character in quoted.decode()]
        except UnicodeDecodeError:  # as old sites write it, where it stands in a link or in a word
            if not start or not (text[start - 1].isalpha() or text[start - 1] in "/=.+-_&?"):
                continue
            read, sizes = quoted.decode("latin-1"), [1] * len(quoted)
        pieces += [text[last:start], read]
        places += range(last, start)
        for size in sizes:
            places.append(start)
            start += 3 * size
        last = end
    return Folded("".join([*pieces, text[last:]]), (*places, *range(last, len(text) + 1)))
