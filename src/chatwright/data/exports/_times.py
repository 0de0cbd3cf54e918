"""When a message was sent: moments without a zone, so that any two of them can be compared.

UTC where the export says the zone or counts seconds since 1970, else the clock of the phone that wrote it.
"""

from datetime import UTC, datetime, timedelta

YEARS = range(1990, 2100)  # in which a chat can have taken place: a wrong unit or a clock at zero lies outside
_UNIX, _APPLE = datetime(1970, 1, 1), datetime(2001, 1, 1)


def from_iso(text: object) -> datetime:
    """`2024-03-01T21:15:03+01:00` -> 20:15:03; raises ValueError for what is no such moment."""
    if not isinstance(text, str):
        raise ValueError("has a date that is no text")
    try:
        moment = datetime.fromisoformat(text.strip())
        return in_range(moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment)
    except (ValueError, OverflowError):
        raise ValueError(f"has no possible date, got {shown(text)}") from None


def from_unix(count: object, per_second: int = 1, since: datetime = _UNIX) -> datetime:
    """Seconds since 1970 as a number or as digits, or milliseconds with `per_second=1000`; raises ValueError."""
    if isinstance(count, bool) or not isinstance(count, int | float | str):
        raise ValueError("has a time that is no number")
    try:
        number = float(count) if isinstance(count, float) else int(count)
        return in_range(since + timedelta(seconds=number / per_second))
    except (ValueError, OverflowError):
        raise ValueError(f"has no possible time, got {shown(count)}") from None


def from_count(count: int) -> datetime:
    """A count in any of the units of chat.db and of scripts over it, told apart by their size; raises ValueError.

    Nanoseconds or seconds since 2001 (Apple), milliseconds or seconds since 1970.
    """
    if count >= 10**16:
        return from_unix(count, 10**9, _APPLE)
    if count >= 10**11:
        return from_unix(count, 1000)
    return from_unix(count, 1, _UNIX if count >= 10**9 else _APPLE)


def in_range(moment: datetime) -> datetime:
    """The moment itself; raises ValueError for a year in which nobody chatted."""
    if moment.year not in YEARS:
        raise ValueError(f"has no possible date, got the year {moment.year}")
    return moment


def shown(value: object) -> str:
    """A value as it may stand in a message: short, in one line, and printable whatever it holds."""
    text = ascii(value)
    return text if len(text) <= 40 else text[:37] + "..."
