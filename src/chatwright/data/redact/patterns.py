"""What is private by its shape: addresses, numbers and keys. In comes a text, out come stretches with their kind.

Checksums (cards, bank accounts) are python-stdnum's, phone numbers are phonenumbers'; the shapes of keys are those that
the services publish.
"""

import ipaddress
import math
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from chatwright.data.redact.phones import Phones
from chatwright.data.redact.reading import seen


class Found(NamedTuple):
    """A stretch of a text, and what it is: one of KINDS."""

    start: int
    end: int
    kind: str


KINDS = ("key", "password", "iban", "card", "email", "ip", "phone")  # of two for one stretch, the first

_EMAIL = re.compile(r"[\w.%+'-]{1,64}(?:@|\uff20|%40)(?:[\w-]{1,63}\.)+[^\W\d_]{2,24}(?![^\W_])")
_LOGIN = re.compile(r"://([^\s/?#@:]*:[^\s/?#@]+)@")
_QUERY = re.compile(
    r"[?&#;](?:[\w.-]{0,32}(?:token|secret|password|passwd|pwd|signature|credential|api[_-]?key|access[_-]?key)[\w.-]{0,32}"
    r"|auth|code|key|sig|session(?:id)?|sid|otp|pass)=([^\s&#;\"'<>)]{4,})",
    re.IGNORECASE,
)
_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----|\Z)"
    r"|(?<![A-Za-z0-9])(?:"
    r"(?=[a-z_-]*[A-Z0-9])[sr]k[-_](?:live|test|proj|ant|or)?[-_]?[A-Za-z0-9_-]{16,}|whsec_[A-Za-z0-9]{16,}"
    r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}"
    r"|(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{30,}|ya29\.[A-Za-z0-9_-]{20,}|GOCSPX-[A-Za-z0-9_-]{20,}"
    r"|xox[a-z](?:\.xox[a-z])?-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{10,}"
    r"|(?:hf|npm|dop_v1|shpat|shpss|lin_api|pypi|glsa|figd|dckr_pat|r8|gsk|nvapi|xai|pplx|tvly)[_-][A-Za-z0-9_-]{20,}"
    r"|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}|\d{8,10}:[A-Za-z0-9_-]{35}"
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?"
    r")",
    re.DOTALL,
)
_LONG = re.compile(r"(?<![A-Za-z0-9_+=-])[A-Za-z0-9_+=-]{24,}")
_HEXADECIMAL = re.compile(r"(?=\D*\d)(?=[^a-f]*[a-f])[0-9a-f]{32,}|(?=\D*\d)(?=[^A-F]*[A-F])[0-9A-F]{32,}")
_SAID = r"[ \t]*([:=：]|is now|is|ist|war|was|es|est|é|è|jest|(?=\d))[ \t]*[\"'“„`]?([^\s\"'”“`(){}<>,;&]{4,64})"
_PASSWORD = re.compile(
    r"(?<!\w)(?:pw|pass ?word|passwort|pass ?code|kennwort|pass ?phrase|contraseña|contrasena|mot de passe|mdp|senha|wachtwoord"
    rf"|hasło|пароль|密码|パスワード){_SAID}",
    re.IGNORECASE,
)
_CODE = re.compile(
    r"(?<!\w)(?:pwd|pin|puk|tan|otp|cvv|cvc|api[ _-]?key|secret|token|clave|parola)(?:[ \t-]?(?:code|nummer|number))?"
    rf"{_SAID}",
    re.IGNORECASE,
)
_ONCE = re.compile(r"(?<!\w)(?i:code)[ \t]*(?::|is|ist|lautet|es|est|è)[ \t]*([A-Z]{0,3}-?\d[A-Z0-9-]{3,11})(?!\w)")
_DIGITS = re.compile(r"\d[\d\s().\-/+:,]{4,}\d")
_CARD = re.compile(r"(?<!\d)(?<!\d[.,\-])(?<!\+)(?:2[2-7]|[3-6]\d)\d\d(?:[\s.\-]{0,2}\d){9,15}(?!\d)")
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?:[\s.\-]{0,2}[A-Z0-9]){11,30}", re.IGNORECASE)
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![\w:])", re.IGNORECASE)

PRINTED = ((4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 3))  # the groups of digits on a card
SHORTEST_IBAN = 15
BITS = 3.5  # of entropy per character that a long string needs to be taken for a key: words joined have less
CHANGES = 0.42  # share of neighbours in it of which one is a capital, a small letter or a digit and the other is not


class Patterns:
    """Finds what is private by its shape."""

    def __init__(self, phones: Phones) -> None:
        self._phones = phones

    def find(self, text: str) -> list[Found]:
        """The stretches in order, none touching another: of the text as it is, and as it is seen."""
        found = self._in(text)
        read = seen(text)
        if read.text is not text:
            found += (Found(*read.span(one.start, one.end), one.kind) for one in self._in(read.text))
        return _apart(found)

    def _in(self, text: str) -> list[Found]:
        found: list[Found] = []
        if "@" in text or "%40" in text or "\uff20" in text:
            found += (Found(*match.span(), "email") for match in _EMAIL.finditer(text))
        if "://" in text:
            found += (Found(*match.span(1), "password") for match in _LOGIN.finditer(text))
        if "=" in text:
            found += (Found(*match.span(1), "key") for match in _QUERY.finditer(text))
        if len(text) > 12:
            found += _keys(text)
        found += (
            Found(*m.span(2), "password") for m in _PASSWORD.finditer(text) if m[1] in ":=：" or _is_no_word(m[2])
        )
        found += (Found(*m.span(2), "password") for m in _CODE.finditer(text) if _is_no_word(m[2]))
        found += (Found(*match.span(1), "password") for match in _ONCE.finditer(text))
        if "::" in text or text.count(":") > 6:
            found += (Found(*match.span(), "ip") for match in _IPV6.finditer(text) if _is_address(match[0]))
        if _DIGITS.search(text):
            found += self._numbers(text)
        return found

    def _numbers(self, text: str) -> Iterator[Found]:
        """A longer number is looked for first: a card holds what could be a phone number."""
        for match in _IBAN.finditer(text):
            if end := _end_of_iban(match[0]):
                yield Found(match.start(), match.start() + end, "iban")
        yield from _cards(text)
        yield from (Found(*match.span(), "ip") for match in _IPV4.finditer(text) if _is_address(match[0]))
        yield from (Found(*span, "phone") for span in self._phones.spans(text))


def _keys(text: str) -> Iterator[Found]:
    """Keys by what they begin with, and long strings without any sense."""
    for match in _KEY.finditer(text):
        yield Found(*match.span(), "key")
    for match in _LONG.finditer(text):
        if _HEXADECIMAL.fullmatch(match[0]) or _is_random(match[0]):
            yield Found(*match.span(), "key")


def _is_random(text: str) -> bool:
    """Whether a string mixes capitals, small letters and digits as chance does, and not as joined words do."""
    classes = [1 if c.isdigit() else 2 if c.isupper() else 3 for c in text if c.isalnum()]
    if len(set(classes)) < 3 or classes.count(1) < 3:
        return False
    changes = sum(a != b for a, b in pairwise(classes)) / len(classes)
    shares = [count / len(text) for count in Counter(text).values()]
    return changes >= CHANGES and -sum(share * math.log2(share) for share in shares) >= BITS


def _is_no_word(text: str) -> bool:
    """What stands after "password is": a word of the language says something about it, one with a digit or a sign is it."""
    return any(character.isdigit() or character in "!@#$%^&*+~" for character in text.rstrip("!?*"))


def _cards(text: str) -> Iterator[Found]:
    """Payment cards; what follows in digits (when it ends, a price) is no part of them."""
    place = 0
    while match := _CARD.search(text, place):
        end = _end_of_card(match[0])
        if end:
            yield Found(match.start(), match.start() + end, "card")
        place = match.start() + 4


def _end_of_card(text: str) -> int:
    """Where the card at the start of `text` ends; 0 where there is none. Groups that no card has need plain spaces."""
    from stdnum import luhn

    ends = [match.end() for match in re.finditer(r"\d+", text)]
    for end in reversed(ends):
        groups = re.findall(r"\d+", text[:end])
        digits, sizes = "".join(groups), tuple(map(len, groups))
        usual = not re.search(r"[^\d \u00a0-]", text[:end]) and (end == len(text) or min(sizes) >= 4)
        if (usual or sizes in PRINTED) and 13 <= len(digits) <= 19 and len(set(digits)) > 1 and luhn.is_valid(digits):
            return end
    return 0


def _end_of_iban(text: str) -> int:
    """Where the account number at the start of `text` ends (words may follow it); 0 where there is none."""
    from stdnum import iban

    ends = [place for place in range(SHORTEST_IBAN, len(text) + 1) if not text[place : place + 1].isalnum()]
    ends = [place for place in ends if text[place - 1].isalnum()]
    numbers = ((end, re.sub(r"[\s.\-]", "", text[:end])) for end in reversed(ends))
    return next((end for end, number in numbers if iban.is_valid(number, check_country=False)), 0)


def _is_address(text: str) -> bool:
    """Whether this is the address of a machine somewhere, and neither a version, a time nor one's own machine."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if text.startswith(("255.", "0.")):  # a mask of a network
        return False
    return not (address.is_loopback or address.is_unspecified) and not (text.count(":") and len(text) < 6)


def _apart(found: list[Found]) -> list[Found]:
    """In order; what overlaps becomes one stretch of the kind that comes first in KINDS."""
    kept: list[Found] = []
    for one in sorted(found):
        if kept and one.start < kept[-1].end:
            last = kept.pop()
            one = Found(last.start, max(last.end, one.end), min(last.kind, one.kind, key=KINDS.index))
        kept.append(one)
    return kept
