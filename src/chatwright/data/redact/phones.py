"""Phone numbers in text, by `phonenumbers`, and not the dates, amounts and years that look like them.

A number with its country (+49 …) is sure. One without is a phone number somewhere for almost any row of digits, so the
way it is written has to fit as well: with a leading 0, in groups, or after a word such as "call".
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator

Span = tuple[int, int]

# Where a number begins with 0 at home, and where it does not; more are added from the numbers of the people themselves.
WITH_ZERO = ("GB", "DE", "FR", "NL", "IT", "CH", "AT", "BE", "SE", "AU", "IN", "JP", "ZA", "TR")
WITHOUT_ZERO = ("US", "ES", "PT", "PL", "IT", "BR", "MX", "IN")
FEWEST, MOST = 7, 15  # digits: fewer are too common as counts, more no network has
MOST_GROUPS = 7  # of digits, of which one may stand alone: more is a list of numbers

_CANDIDATE = re.compile(
    r"(?<![\w+@#_])(?<!\d[.,:])(?<![A-Za-z]-)(?<![$€£¥₹] )(?<![$€£¥₹])(?:\+|\(\+?)?\d"
    rf"(?:[ \t\u00a0\u2007\u202f().\-/\u2010-\u2015+]{{0,3}}\d){{{FEWEST - 1},40}}(?![\d@=_])(?![.,:]\d)"
)
# Broken over lines: only where it begins as a number does, and is not whole before.
_OVER_LINES = re.compile(
    r"(?<![\w+@#])(?<!\d[.,:])(?:\(?\+|\(?0)"
    rf"(?:(?:[ \t\u00a0\u2007\u202f().\-/\u2010-\u2015]{{0,3}}|[ \t]?\r?\n[ \t]?\(?)\d){{{FEWEST - 1},20}}"
    r"(?![\d@=_])(?![.,:]\d)"
)
_GROUP = re.compile(r"\(?\+?\(?\d+\)?")
_DATE = re.compile(
    r"(?:(?:19|20)\d\d([-/.])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12]\d|3[01])"
    r"|(?:0?[1-9]|[12]\d|3[01])([-/.])(?:0?[1-9]|[12]\d|3[01])\2(?:19|20)?\d\d"
    r"|(?:19|20)\d\d(?:[ \-–/]{1,3}(?:(?:19|20)\d\d|\d\d))+"  # 2019-2023, 2023/24
    r"|(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:[ \-_]?\d{4}(?:\d\d)?)?"  # 20240115, 20240115-103000
    r")(?![-/.]?\d)"
)
_AMOUNT = re.compile(
    r"\+?(?:\d+\.\d+|\d{1,2}([ .\u00a0\u202f])\d{3}(?:\1\d{3})*|\d{3}([ .\u00a0\u202f])(?:\d{3}\2)*000\2(?:000)"
    r"|[\d .\u00a0\u202f]{0,16}\d\s?(?:[$€£¥₹%]|(?:EUR|USD|GBP|CHF|INR|JPY)\b))(?![ .\u00a0\u202f]?\d)"
)  # 52.520008, 10 000 000, 600.000.000, 123 456 789 EUR
_BOOK = re.compile(r"97[89][- ]?\d(?:[- ]?\d){9}(?!\d)")  # an ISBN
_ZIP = re.compile(r"\d{5}[-–]\d{4}")  # of the United States
_ASKED = re.compile(
    r"(?:\b(?:phone|mobile|cell|tel|fax|call|ring|text|dial|whats ?app|sms|contact|reach|ruf|anruf|handy|telefon|nummer|number"
    r"|mobil|appel\w*|téléphone|portable|numéro|llam\w+|teléfono|móvil|número|chiama|telefono|numero|bel|nummer)\b"
    r"|[☎📞📱])[^\d\n]{0,16}$",
    re.IGNORECASE,
)


class Phones:
    """Finds phone numbers. `known` are people's own numbers, whose countries are then taken for home."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._home = tuple(sorted({region for number in known if (region := _country(number))}))
        self._seen: dict[tuple[str, bool], bool] = {}

    def spans(self, text: str) -> Iterator[Span]:
        """Where a phone number begins and ends, in order."""
        for match in _CANDIDATE.finditer(text):
            groups = [group.span() for group in _GROUP.finditer(text, *match.span())]
            first = 0
            while first < len(groups):
                after = self._after(text, groups[first:])
                if after > 0:
                    yield groups[first][0], groups[first + after - 1][1]
                first += abs(after)
        if "\n" in text:
            yield from self._over_lines(text)

    def _over_lines(self, text: str) -> Iterator[Span]:
        """Numbers that go on in the next line, those with their country in several."""
        for match in _OVER_LINES.finditer(text):
            if "\n" not in match[0] or self._is_phone(match[0].partition("\n")[0].rstrip(), asked=False):
                continue
            groups = [group.span() for group in _GROUP.finditer(text, *match.span())]
            for count in range(_one_number(text, groups), 1, -1):
                number = text[groups[0][0] : groups[count - 1][1]]
                breaks = number.count("\n")
                if 0 < breaks <= (3 if "+" in number else 1) and self._is_phone(" ".join(number.split()), asked=False):
                    yield groups[0][0], groups[count - 1][1]
                    break

    def _after(self, text: str, groups: list[Span]) -> int:
        """How many of the groups of digits are a phone number, or, below 0, how many are none."""
        start = groups[0][0]
        other = _DATE.match(text, start) or _BOOK.match(text, start) or _AMOUNT.match(text, start)
        if other and (text[start] not in "+(" or other.re is _AMOUNT):
            return -max(1, sum(end <= other.end() for _, end in groups))
        asked = _ASKED.search(text, max(0, start - 32), start) is not None
        for count in range(_one_number(text, groups), 0, -1):
            end = groups[count - 1][1]
            number = text[start:end]
            if text[end : end + 1].isalpha() and not number.startswith(("+", "0", "(")):  # 1234567px
                continue
            if (number, asked) not in self._seen:
                self._seen[number, asked] = self._is_phone(number, asked)
            if self._seen[number, asked]:
                return count
        return -1

    def _is_phone(self, number: str, asked: bool) -> bool:
        number = "".join(
            str(unicodedata.digit(c)) if c.isdigit() else c for c in number
        )  # also Arabic or Indian digits
        digits = "".join(character for character in number if character.isdigit())
        if not FEWEST <= len(digits) <= MOST:
            return False
        groups = [len(group) for group in re.findall(r"\d+", number)]
        if groups.count(1) > 1 or _ZIP.fullmatch(number):
            return False
        if "+" in number:
            return _possible(f"+{digits}")
        if digits.startswith("00"):
            return _possible(f"+{digits[2:]}")
        if asked or _valid(number, self._home):
            return True
        if number.lstrip("(").startswith("0"):
            return len(digits) > FEWEST and _valid(number, WITH_ZERO)
        return (
            len(digits) > 8
            and "/" not in number
            and max(groups) > 2
            and _valid(number, WITHOUT_ZERO if len(groups) > 1 else ("US",))
        )


def _one_number(text: str, groups: list[Span]) -> int:
    """How many groups can belong to one number: another begins with its own 0, and a date is none."""
    groups = groups[:MOST_GROUPS]
    sizes = [sum(character.isdigit() for character in text[start:end]) for start, end in groups]
    for count in range(1, len(groups)):
        again = text[slice(*groups[count])].lstrip("(").startswith("0")
        if _DATE.match(text, groups[count][0]) or (again and sum(sizes[:count]) > 8 and sum(sizes[count:]) > 7):
            return count
    return len(groups)


def _possible(number: str) -> bool:
    """Whether a number with its country has as many digits as that country's have."""
    from phonenumbers import NumberParseException, ValidationResult, is_possible_number_with_reason, parse

    try:
        reason = is_possible_number_with_reason(parse(number))
        return reason in (ValidationResult.IS_POSSIBLE, ValidationResult.IS_POSSIBLE_LOCAL_ONLY)
    except NumberParseException:
        return False


def _valid(number: str, regions: Iterable[str]) -> bool:
    """Whether it is somebody's number in one of these countries."""
    from phonenumbers import NumberParseException, is_valid_number, parse

    for region in regions:
        try:
            if is_valid_number(parse(number, region)):
                return True
        except NumberParseException:
            continue
    return False


def _country(name: str) -> str | None:
    """The country of a name that is a number: somebody who is in nobody's address book."""
    from phonenumbers import NumberParseException, parse, region_code_for_number

    if not re.search(r"\+[\d\s().-]{7,}", name):
        return None
    try:
        return region_code_for_number(parse(name))
    except NumberParseException:
        return None
