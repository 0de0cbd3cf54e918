"""Dates as people write them (`31.12.23, 21:15:03`, `12/31/2023 9:15 PM`), whose order only the whole file tells.

What cannot be in one order and can in the other decides, then which order runs forward in time, then habit.
"""

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from chatwright.data.exports._times import in_range

GAP = "[ \u00a0\u202f]"  # the two that do not break stand before AM and PM, and in French
# The day may end with a dot ("31. 12. 2023.") and the time be led in by a word ("à", "klo", "um", "at", "às").
WRITTEN = (
    rf"(?P<first>\d{{4}}|\d{{1,2}})(?P<mark>[./-]){GAP}?(?P<second>\d{{1,2}})(?P=mark){GAP}?(?P<third>\d{{4}}|\d{{1,2}})"
    rf"\.?(?:,|،)?{GAP}+(?:[^\W\d_]{{1,4}}\.?{GAP}+)?"
    rf"(?P<hour>\d{{1,2}})[:.](?P<minute>\d{{2}})(?:[:.](?P<instant>\d{{2}}))?(?:{GAP}?(?P<half>[AaPp])\.?{GAP}?[Mm]\.?)?"
)
_PART = re.compile(WRITTEN)
_FORWARD = timedelta(days=1)  # messages may change places by minutes on their way, not by more

# Positions of year, month and day.
DAY_FIRST, MONTH_FIRST, YEAR_FIRST = (2, 1, 0), (2, 0, 1), (0, 1, 2)
Order = tuple[int, int, int]
NAMES = {DAY_FIRST: "day first", MONTH_FIRST: "month first", YEAR_FIRST: "year first"}


@dataclass(frozen=True)
class Written:
    """A date and a time in digits. `half` is "a" or "p" on a clock of 12 hours, else ""."""

    numbers: tuple[str, str, str]
    mark: str
    clock: tuple[int, int, int]
    half: str

    def moment(self, order: Order) -> datetime:
        """Raises ValueError where there is no such day or no such time."""
        hour, minute, second = self.clock
        if self.half and not hour <= 12:
            raise ValueError
        hour = hour % 12 + 12 * (self.half == "p") if self.half else hour
        year, month, day = (self.numbers[position] for position in self._order(order))
        century = 0 if len(year) == 4 else 2000
        return in_range(datetime(int(year) + century, int(month), int(day), hour, minute, second))

    def _order(self, order: Order) -> Order:
        """Four digits in front are a year in any file."""
        return YEAR_FIRST if len(self.numbers[0]) == 4 else order

    def __str__(self) -> str:
        hour, minute, second = self.clock
        return f"{self.mark.join(self.numbers)} {hour}:{minute:02}:{second:02}{self.half and ' ' + self.half + 'm'}"


def written(found: re.Match[str]) -> Written:
    """What a pattern with WRITTEN in it has found."""
    clock = int(found["hour"]), int(found["minute"]), int(found["instant"] or 0)
    numbers = found["first"], found["second"], found["third"]
    return Written(numbers, found["mark"], clock, (found["half"] or "").lower())


def parse(text: str) -> Written | None:
    """A text that is a date and a time in digits and nothing else."""
    found = _PART.fullmatch(text.strip())
    return written(found) if found else None


def order(dates: Sequence[Written]) -> tuple[Order, bool]:
    """The order in which a file writes its dates, and whether the file leaves no doubt of it."""
    undecided = [date for date in dates if len(date.numbers[0]) < 4]
    if not undecided:
        return YEAR_FIRST, True
    faults = {candidate: _faults(undecided, candidate) for candidate in (DAY_FIRST, MONTH_FIRST)}
    fewest = min(faults.values())
    if fewest > (0, 0) and _is_year_first(undecided, fewest):
        return YEAR_FIRST, True
    left = [candidate for candidate in (DAY_FIRST, MONTH_FIRST) if faults[candidate] == fewest]
    if len(left) == 1:
        return left[0], True
    return MONTH_FIRST if _american(undecided) else DAY_FIRST, False


def doubt(date: Written, order: Order) -> str:
    """What to tell where the order is a guess, with a date of the file in a form that has one reading."""
    try:
        read = f"{date.moment(order):%Y-%m-%d}"
    except ValueError:
        read = "no day"
    reading = f"they are read {NAMES[order]}, {date} as {read}"
    return f"nothing in the file says whether its dates are day first or month first; {reading}"


def _faults(dates: Sequence[Written], order: Order) -> tuple[int, int]:
    """How many dates cannot be in this order, and how many lie more than a day before the one above them."""
    impossible = backwards = 0
    before: datetime | None = None
    for date in dates:
        try:
            moment = date.moment(order)
        except ValueError:
            impossible += 1
            continue
        backwards += before is not None and moment < before - _FORWARD
        before = moment
    return impossible, backwards


def _is_year_first(dates: Sequence[Written], fewest: tuple[int, int]) -> bool:
    """Whether two digits in front are a year: rare enough to need the better of both arguments.

    A single impossible day has fewer faults in that reading, too, but it makes decades of a chat.
    """
    if any(len(date.numbers[2]) == 4 for date in dates) or _faults(dates, YEAR_FIRST) >= fewest:
        return False
    return _span(dates, YEAR_FIRST) < min(_span(dates, DAY_FIRST), _span(dates, MONTH_FIRST))


def _span(dates: Sequence[Written], order: Order) -> timedelta:
    """From the first to the last of the dates that can be in this order; the longest where none can."""
    moments = []
    for date in dates:
        with contextlib.suppress(ValueError):
            moments.append(date.moment(order))
    return max(moments) - min(moments) if moments else timedelta.max


def _american(dates: Sequence[Written]) -> bool:
    """Whether dates look like 1/5/24, 9:15 PM: slashes, a clock of 12 hours, and no zero in front."""
    padded = any(number.startswith("0") for date in dates for number in date.numbers[:2])
    return not padded and all(date.half and date.mark == "/" for date in dates)
