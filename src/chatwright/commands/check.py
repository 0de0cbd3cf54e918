"""Reads data and shows what a model would learn from it: counts, bad rows, tokens with their loss mask, what to leave out.

Nothing is written but what --fix and --html name. Ends with exit code 2 where training would refuse the data.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from pydantic import Field

from chatwright import console
from chatwright.commands import _check_text as terminal
from chatwright.commands import _out
from chatwright.data import check, source
from chatwright.data.check import CheckReport
from chatwright.data.lessons import Text
from chatwright.data.quality import clean, sieve
from chatwright.data.quality.advice import advice
from chatwright.data.quality.evaluation import Evaluation
from chatwright.data.quality.look import Asked
from chatwright.data.quality.seen import Wanted
from chatwright.data.rows import BadRow
from chatwright.data.settings import DataSettings
from chatwright.data.source import Stream
from chatwright.data.spec import parse
from chatwright.errors import ConfigError, DataError
from chatwright.text import template as templates
from chatwright.text.records import Record
from chatwright.text.tokenizer import Tokenizer

POSITIONAL = ("data",)
EXAMPLES = (
    "chatwright check chats.jsonl",
    "chatwright check chats.jsonl --model gpt2 --seq-len 512 --rows 1",
    "chatwright check chats.jsonl --model gpt2 --html check.html",
    "chatwright check chats.jsonl --fix clean.jsonl --filters duplicate,near_duplicate,no_answer",
    "chatwright check questions.csv --format alpaca --columns '{instruction: question, output: answer}'",
    "chatwright check primer:documents",
)


class Settings(DataSettings):
    """What to read and how to look at it."""

    data: str = Field(description="a file, a folder, a chat export, a hub dataset or primer: SOURCE[:SPLIT][#N]")
    model: str | None = Field(default=None, description="the model whose tokens and template are shown")
    tokenizer: Path | None = Field(default=None, description="a folder with a tokenizer.json, if there is no model yet")
    template: str | None = Field(default=None, description="plain, chatml, alpaca or a .jinja file")
    seq_len: int = Field(
        default=1024, ge=2, description="the window to fit in, in tokens; the model's where that is shorter"
    )
    rows: int = Field(default=3, ge=0, description="how many rows to show with their loss mask")
    against: str | None = Field(
        default=None,
        description="data of an evaluation, whose prompts should not be here; the primer's are looked for too",
    )
    filters: list[str] = Field(
        default=[], description="those that --fix uses (a,b or none), in place of the ones that the report marks with *"
    )
    fix: Path | None = Field(default=None, description="write the clean version here, and OUT.dropped.jsonl beside it")
    overwrite: bool = Field(default=False, description="replace what --fix finds in its place")
    html: Path | None = Field(default=None, description="write the report as a page with rows to browse")


def run(settings: Settings) -> dict[str, Any]:
    """The CheckReport as a dictionary; raises DataError, with the same as its second argument, where training would."""
    chosen = sieve.chosen_filters(settings.filters)
    options = settings.read_options()
    if settings.fix is not None:
        _check_place(settings.fix, settings.data)
    _out.check_file("--html", settings.html)
    stream = source.open(settings.data, options=options)
    settings = settings.model_copy(update={"seq_len": _window(settings)})
    text = _text(settings)
    wanted = Wanted(options.languages, Evaluation(dict(_evaluations(settings))))
    asked = Asked(text, settings.seq_len, wanted, chosen, settings.rows)
    writing = nullcontext() if settings.fix is None else clean.writing(settings.fix, settings.overwrite)
    with writing as cleaned:
        report = check.analyse(stream, asked, cleaned)
        result = report.as_dict() | {"advice": advice(report)}
        if not settings.json:
            _show(settings, report, text, result["advice"])
    if settings.html is not None:
        result["html"] = str(_page(settings, settings.html, report, result, text))
        console.note(f"{settings.html} shows the report, and rows to browse")
    if cleaned is not None and settings.fix is not None:
        beside = clean.dropped_path(settings.fix)
        result["fix"] = {
            "kept": cleaned.kept,
            "dropped": cleaned.dropped,
            "out": str(settings.fix),
            "list": str(beside),
        }
        console.note(
            f"{settings.fix} has {cleaned.kept:,} rows; {beside} lists {cleaned.dropped:,} that were left out, and why"
        )
    _judge(settings, report, result)
    return result


def _window(settings: Settings) -> int:
    """--seq-len, or the model's window where that is shorter and nobody asked for more."""
    if settings.model is None or "seq_len" in settings.model_fields_set:
        return settings.seq_len
    from chatwright.checkpoint.shape import shape_of

    return min(settings.seq_len, shape_of(settings.model).context_length)


def _judge(settings: Settings, report: CheckReport, result: dict[str, Any]) -> None:
    """Ends where training would; the rows between the first and the advice stand in the report."""
    try:
        report.judge(settings.skip_bad_rows, settings.max_bad_share, settings.max_truncated_share)
    except DataError as error:
        lines = str(error).splitlines()
        raise DataError("\n".join(dict.fromkeys((lines[0], lines[-1]))), result) from None


def _check_place(fix: Path, data: str) -> None:
    """The clean version is no part of what it is made from."""
    spec = parse(data)
    origin = Path(spec.name).resolve()
    if spec.place == "local" and (origin == fix.resolve() or origin in fix.resolve().parents):
        raise ConfigError(f"--fix: {fix} is part of the data that is checked; give a place outside of {spec.name}")


def _evaluations(settings: Settings) -> Iterator[tuple[str, Iterator[Record]]]:
    """What the data should not hold: the primer's problems, and --against."""
    from chatwright.evals.benchmark import problem_sets

    if not settings.data.startswith("primer:problems"):
        yield "the primer's problems", (one for some in problem_sets("primer").values() for one in some)
    if settings.against is not None:
        yield settings.against, _records(source.open(settings.against))


def _records(stream: Stream) -> Iterator[Record]:
    yield from (found for found in stream if not isinstance(found, BadRow))
    source.tell(stream.report)


def _text(settings: Settings) -> Text | None:
    """Tokenizer and template of --model, or of --tokenizer, or none."""
    if settings.model is not None:
        from chatwright import checkpoint  # brings torch with it

        return Text(*checkpoint.load_text(settings.model, settings.template))
    if settings.tokenizer is None:
        return None
    tokenizer, template = Tokenizer.load(settings.tokenizer), templates.load(settings.template or "plain")
    missing = [token for token in template.special_tokens if tokenizer.id_of(token) is None]
    return Text(tokenizer.with_special(missing) if missing else tokenizer, template)


def _show(settings: Settings, report: CheckReport, text: Text | None, advised: list[str]) -> None:
    out = console.out()
    for record in report.first:
        terminal.show_row(out, record, text, settings.seq_len)
    terminal.show(out, report, advised)
    if text is None:
        console.note("lengths are in words; --model M (or --tokenizer DIR) counts and shows tokens")


def _page(settings: Settings, path: Path, report: CheckReport, result: dict[str, Any], text: Text | None) -> Path:
    """The report as a page, its rows coloured by the loss under --model where that is given."""
    from chatwright.evals import check_page, check_rows

    found = check_rows.rows(report.sample, text, settings.seq_len)
    about = check_page.About(settings.data)
    if settings.model is not None and text is not None:
        from chatwright.checkpoint import Checkpoint
        from chatwright.models.device import device_of

        model = Checkpoint.load(settings.model, template=settings.template, quiet=True).model
        found = check_rows.scored(found, model.to(device_of("auto")))
        names = check_rows.likeliest_names(found, text.tokenizer)
        about = check_page.About(settings.data, settings.model, model.config.vocab_size, names)
    return check_page.write(path, result, found, about)
