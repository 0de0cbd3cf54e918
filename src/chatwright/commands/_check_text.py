"""What `check` found, in the terminal: the first rows with their loss mask, then the report, then what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from chatwright import console
from chatwright.data import spelled
from chatwright.data.check import CheckReport
from chatwright.data.lessons import Text as Vocabulary
from chatwright.data.quality.advice import counted
from chatwright.data.quality.sieve import Sifted
from chatwright.data.quality.tally import Summary
from chatwright.data.rows import BadRow
from chatwright.data.spelled import Spelled
from chatwright.data.truncate import fit_record
from chatwright.errors import DataError
from chatwright.text.records import Record

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

SHOWN = 10  # bad rows that are printed; --json has all of them
EXAMPLES = 3  # rows of each filter
LANGUAGES = 6
LONGEST = 400  # tokens of one row that are printed
# neighbouring tokens differ a little, so that one sees where each ends
LEARNED = ("black on green", "black on bright_green")
PROMPT = ("dim", "dim underline")
OPEN, CLOSE = "⟦", "⟧"  # around what is learned, where there are no colours


def show(out: Console, report: CheckReport, advice: Sequence[str]) -> None:
    """The report in sections, each a bold line and what belongs to it."""
    _rows(out, report)
    _lengths(out, report)
    _splits(out, report)
    _filters(out, report.filters)
    _listed(out, "bad rows", report.bad)
    _listed(out, "left out", report.filtered)
    if advice:
        _head(out, "what to do")
        for sentence in advice:
            out.print(_line("  •", sentence, width=4))


def show_row(out: Console, record: Record, text: Vocabulary | None, seq_len: int) -> None:
    """One row with its loss mask: tokens where there is a tokenizer, else turns."""
    from rich.text import Text

    try:
        examples = spelled.words(record) if text is None else _tokens(record, text, seq_len)
    except DataError:
        return  # the template has no place for it: it is among the bad rows
    coloured = out.color_system is not None and not out.no_color
    for pieces in examples:
        shown = Text.assemble((f"{record.source}\n", "bold"))
        _add(shown, pieces[:LONGEST], coloured)
        if len(pieces) > LONGEST:
            shown.append(f" … {len(pieces) - LONGEST:,} more")
        shown.append("\n")
        out.print(shown)


def _rows(out: Console, report: CheckReport) -> None:
    bad, left_out = _count(report.bad), _count(report.filtered)
    parts = [f"{report.kept:,} used", *([f"{bad:,} bad"] if bad else [])]
    parts += [f"{left_out:,} left out on purpose"] if left_out else []
    kinds = ", ".join(counted(count, kind.lower()) for kind, count in report.kinds.items())
    _head(out, "rows")
    out.print(_line("  read", f"{report.read:,}: {', '.join(parts)}"))
    out.print(_line("  records", kinds or "none"))
    for note in report.notes:
        out.print(_line("  note", note))


def _lengths(out: Console, report: CheckReport) -> None:
    _head(out, "text")
    if report.turns.total:
        out.print(_line("  turns", _numbers(report.turns, "turns")))
    out.print(_line("  length", _numbers(report.lengths, report.unit)))
    share = report.learned.total / max(1, report.lengths.total)
    out.print(_line("  learned", f"{_numbers(report.learned, report.unit)} ({share:.0%})"))
    if report.seq_len is not None:
        events = "; ".join(f"{counted(count, 'row')}: {what}" for what, count in report.truncated.items())
        out.print(_line("  window", f"{report.seq_len:,} tokens; {events or 'every conversation fits'}"))
        if report.cut:
            more = ", …" if len(report.cut) > SHOWN else ""
            out.print(_line("", f"end of turn lost in {', '.join(report.cut[:SHOWN])}{more}"))
    if report.languages:
        total = sum(report.languages.values())
        shown = [f"{name} {count / total:.1%}" for name, count in list(report.languages.items())[:LANGUAGES]]
        others = len(report.languages) - LANGUAGES
        out.print(_line("  languages", ", ".join([*shown, *([f"{others} others"] if others > 0 else [])])))


def _splits(out: Console, report: CheckReport) -> None:
    _head(out, "splits")
    out.print(_line("  records", ", ".join(f"{name} {count:,}" for name, count in report.splits.items())))
    for pair, count in report.overlaps.items():
        out.print(_line("  overlap", f"{counted(count, 'prompt')} in {pair}"))
    for other, count in report.against.items():
        out.print(_line("  against", f"{counted(count, 'prompt')} of {other} here too"))


def _filters(out: Console, filters: Iterable[Sifted]) -> None:
    """Each filter with the rows that it would leave out, and the first few of them."""
    _head(out, "filters", "rows that each would leave out; * what --fix leaves out")
    for one in filters:
        mark = "*" if one.chosen else " "
        out.print(
            _line(f"{mark} {one.name:<16}{one.rows:>9,}", one.says, width=29, style="bold" if one.rows else "dim")
        )
        for row in one.first[:EXAMPLES]:
            out.print(_line("", str(row), width=6))
        if one.rows > EXAMPLES:
            out.print(_line("", f"… and {one.rows - EXAMPLES:,} more", width=6))


def _listed(out: Console, title: str, rows: Sequence[BadRow]) -> None:
    if title == "bad rows" or rows:
        _head(out, title, f"{_count(rows):,}")
    for row in rows[:SHOWN]:
        out.print(_line("", str(row), width=2))
    if len(rows) > SHOWN:
        out.print(_line("", f"… and {len(rows) - SHOWN:,} more (--json lists all)", width=2))


def _count(rows: Sequence[BadRow]) -> int:
    """Rows of the file; a row of which another record is used stands for none of its own."""
    return sum(row.rows for row in rows)


def _numbers(summary: Summary, unit: str) -> str:
    return (
        f"{summary.total:,} {unit}; median {summary.median:,}, 95 % have {summary.at_95_percent:,} or fewer, "
        f"longest {summary.most:,}"
    )


def _head(out: Console, title: str, value: str = "") -> None:
    from rich.text import Text

    out.print(Text.assemble((title, "bold cyan"), f"  {value}" if value else ""))


def _line(name: str, value: str, width: int = 12, style: str = "bold") -> Text:
    from rich.text import Text

    return Text.assemble((f"{name:<{width}}", style), console.clean(value))


def _add(shown: Text, pieces: Sequence[Spelled], coloured: bool) -> None:
    """Green is learned, dim is prompt; brackets say the same where there are no colours."""
    inside = False
    for number, piece in enumerate(pieces):
        if not coloured and piece.learned != inside:
            shown.append(OPEN if piece.learned else CLOSE)
            inside = piece.learned
        style = (LEARNED if piece.learned else PROMPT)[number % 2]
        shown.append(console.clean(piece.text).replace("\n", "↵\n"), style if coloured else None)
    if inside:
        shown.append(CLOSE)


def _tokens(record: Record, text: Vocabulary, seq_len: int) -> list[list[Spelled]]:
    """The tokens of each example, as training cuts it; nothing where nothing is learned."""
    fitted = fit_record(record, text.tokenizer, text.template, seq_len + 1)
    return [spelled.tokens(one.example, text.tokenizer) if one.example else [] for one in fitted]
