"""Reads data and shows what a model would learn from it: counts, bad rows, tokens with their loss mask.

Nothing is written. Ends with exit code 2 where training would refuse the data.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from chatwright import config, console
from chatwright.data import check, source
from chatwright.data.check import CheckReport, Summary
from chatwright.data.split import overlap
from chatwright.data.truncate import fit_record
from chatwright.errors import DataError
from chatwright.text import template as templates
from chatwright.text.records import Document, Record
from chatwright.text.template import ChatTemplate
from chatwright.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

POSITIONAL = ("data",)
EXAMPLES = (
    "chatwright check chats.jsonl",
    "chatwright check chats.jsonl --model gpt2 --seq-len 512 --rows 1",
    "chatwright check questions.csv --format alpaca --columns '{instruction: question, output: answer}'",
    "chatwright check primer:documents",
)

SHOWN = 10  # bad rows that are printed; --json has all of them
LONGEST = 400  # tokens of one row that are printed
# neighbouring tokens differ a little, so that one sees where each ends
LEARNED = ("black on green", "black on bright_green")
PROMPT = ("dim", "dim underline")
OPEN, CLOSE = "⟦", "⟧"  # around what is learned, where there are no colours


class Settings(config.Settings):
    """What to read and how to look at it."""

    data: str = Field(description="a file, a folder, a hub dataset or primer: SOURCE[:SPLIT][#N]")
    model: str | None = Field(default=None, description="the model whose tokens and template are shown")
    tokenizer: Path | None = Field(default=None, description="a folder with a tokenizer.json, if there is no model yet")
    template: str | None = Field(default=None, description="plain, chatml, alpaca or a .jinja file")
    seq_len: int = Field(default=1024, ge=2, description="the window that conversations have to fit in, in tokens")
    rows: int = Field(default=3, ge=0, description="how many rows to show with their loss mask")
    format: str | None = Field(default=None, description="how rows are read, where it is not to be recognised")
    columns: dict[str, str] | None = Field(default=None, description="columns by other names: {instruction: question}")
    against: str | None = Field(default=None, description="other data, to count the prompts that are in both")
    skip_bad_rows: bool = Field(default=False, description="leave bad rows out and list them")
    max_bad_share: float = Field(default=source.MAX_BAD_SHARE, ge=0, le=1, description="the share that may be skipped")


def run(settings: Settings) -> dict[str, Any]:
    """The CheckReport as a dictionary; raises DataError, with the same as its second argument, for bad rows."""
    dataset = source.gather(settings.data, format=settings.format, columns=settings.columns)
    if not dataset.records:
        source.judge(dataset.report)
    text = _text(settings)
    if text is None:
        report = check.analyse_words(dataset)
    else:
        report = check.analyse(dataset, text[1], text[0], settings.seq_len)
    result = report.as_dict()
    if settings.against is not None:
        result["against"] = {settings.against: len(overlap(dataset.records, source.gather(settings.against).records))}
    if not settings.json:
        out = console.out()
        for record in dataset.records[: settings.rows]:
            _show_row(out, record, text, settings.seq_len)
        _show(out, report)
        for other, count in result.get("against", {}).items():
            out.print(_line("also there", f"{count:,} prompts are in {other} too"))
        if text is None:
            console.note("lengths are in words; --model M (or --tokenizer DIR) counts and shows tokens")
    try:
        report.judge(settings.skip_bad_rows, settings.max_bad_share)
    except DataError as error:
        lines = str(error).splitlines()  # the rows between the first and the advice stand in the report
        raise DataError("\n".join(dict.fromkeys((lines[0], lines[-1]))), result) from None
    return result


def _text(settings: Settings) -> tuple[Tokenizer, ChatTemplate] | None:
    """Tokenizer and template of --model, or of --tokenizer, or none."""
    if settings.model is not None:
        from chatwright import checkpoint  # brings torch with it

        return checkpoint.load_text(settings.model, settings.template)
    if settings.tokenizer is None:
        return None
    tokenizer, template = Tokenizer.load(settings.tokenizer), templates.load(settings.template or "plain")
    missing = [token for token in template.special_tokens if tokenizer.id_of(token) is None]
    return (tokenizer.with_special(missing) if missing else tokenizer), template


def _show(out: "Console", report: CheckReport) -> None:
    """The report as lines of a name and a value."""
    kinds = ", ".join(f"{count:,} {kind.lower()}s" for kind, count in report.kinds.items())
    out.print(_line("rows", f"{report.read:,} read, {report.kept:,} kept ({kinds or 'none'})"))
    for note in report.notes:
        out.print(_line("", note))
    if report.turns.total:
        out.print(_line("turns", _numbers(report.turns, "turns")))
    out.print(_line("length", _numbers(report.lengths, report.unit)))
    share = report.learned.total / max(1, report.lengths.total)
    out.print(_line("learned", f"{_numbers(report.learned, report.unit)} ({share:.0%})"))
    if report.seq_len is not None:
        events = "; ".join(f"{count:,} rows: {what}" for what, count in report.truncated.items())
        out.print(_line("window", f"{report.seq_len:,} tokens; {events or 'every conversation fits'}"))
        if report.cut:
            more = ", …" if len(report.cut) > SHOWN else ""
            out.print(_line("", f"end of turn lost in {', '.join(report.cut[:SHOWN])}{more}"))
    if report.repeated:
        out.print(_line("repeated", f"{report.repeated:,} rows say exactly what an earlier row says"))
    out.print(_line("splits", ", ".join(f"{name} {count:,}" for name, count in report.splits.items())))
    for pair, count in report.overlaps.items():
        out.print(_line("overlap", f"{count:,} prompts are in {pair}"))
    out.print(_line("bad rows", f"{len(report.bad):,}"))
    for row in report.bad[:SHOWN]:
        out.print(_line("", str(row)))
    if len(report.bad) > SHOWN:
        out.print(_line("", f"… and {len(report.bad) - SHOWN:,} more (--json lists all)"))


def _numbers(summary: Summary, unit: str) -> str:
    return (
        f"{summary.total:,} {unit}; median {summary.median:,}, 95 % have {summary.at_95_percent:,} or fewer, "
        f"longest {summary.most:,}"
    )


def _line(name: str, value: str) -> "Text":
    from rich.text import Text

    return Text.assemble((f"{name:<10} ", "bold"), console.clean(value))


def _show_row(out: "Console", record: Record, text: tuple[Tokenizer, ChatTemplate] | None, seq_len: int) -> None:
    """One row with its loss mask: tokens where there is a tokenizer, else turns."""
    from rich.text import Text

    try:
        examples = _turns(record) if text is None else _tokens(record, *text, seq_len)
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


def _add(shown: "Text", pieces: list[tuple[str, bool]], coloured: bool) -> None:
    """Green is learned, dim is prompt; brackets say the same where there are no colours."""
    inside = False
    for number, (piece, learned) in enumerate(pieces):
        if not coloured and learned != inside:
            shown.append(OPEN if learned else CLOSE)
            inside = learned
        style = (LEARNED if learned else PROMPT)[number % 2]
        shown.append(console.clean(piece).replace("\n", "↵\n"), style if coloured else None)
    if inside:
        shown.append(CLOSE)


def _tokens(record: Record, tokenizer: Tokenizer, template: ChatTemplate, seq_len: int) -> list[list[tuple[str, bool]]]:
    """The text of each token of each example and whether it is learned; bytes of one character stay together."""
    spelling = {number: token for token, number in tokenizer.special_tokens.items()}
    found = []
    for fitted in fit_record(record, tokenizer, template, seq_len):
        example = fitted.example
        pieces: list[tuple[str, bool]] = []
        decoder = tokenizer.decoder()
        for number, learned in zip(example.ids, example.mask, strict=True) if example else ():
            if number in spelling:
                rest = decoder.flush()
                pieces += [(rest, bool(learned))] if rest else []
                pieces.append((spelling[number], bool(learned)))
            elif piece := decoder.push(number):
                pieces.append((piece, bool(learned)))
        rest = decoder.flush()
        found.append([*pieces, *([(rest, pieces[-1][1] if pieces else False)] if rest else [])])
    return found


def _turns(record: Record) -> list[list[tuple[str, bool]]]:
    """The same without a tokenizer: the speaker, then what is said."""
    if isinstance(record, Document):
        return [[(word + " ", True) for word in record.text.split(" ")]]
    return [
        [part for message in conversation.messages for part in _spoken(message.role, message.content, message.learned)]
        for conversation in check.conversations(record)
    ]


def _spoken(role: str, content: str, learned: bool) -> list[tuple[str, bool]]:
    return [(f"{role}: ", False), (content, learned), ("\n", False)]
