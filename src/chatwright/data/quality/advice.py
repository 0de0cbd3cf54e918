"""What a person may do about what a check found, a sentence each, the worst first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatwright.data.quality.language import UNKNOWN

if TYPE_CHECKING:
    from chatwright.data.check import CheckReport

FEW = 50  # conversations, which a model mostly learns by heart
SOME = 0.01  # share from which a second language is worth a word


def advice(report: CheckReport) -> list[str]:
    """Sentences, none where there is nothing to say."""
    found = [_bad(report), _truncated(report), _contaminated(report), _format(report), _language(report), _few(report)]
    return [sentence for sentence in [*found, _filters(report)] if sentence]


def counted(count: int, one: str, many: str = "") -> str:
    """`counted(2, "row") -> "2 rows"`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _bad(report: CheckReport) -> str:
    bad = sum(row.rows for row in report.bad)
    if not bad or report.left is not None:
        return ""
    return (
        f"{bad:,} of {counted(report.read, 'row')} cannot be used: correct them at their places, leave them out with "
        "--skip-bad-rows, or write a copy without them with --fix clean.jsonl"
    )


def _truncated(report: CheckReport) -> str:
    count = report.rows("too_long")
    if not count:
        return ""
    share = count / max(1, report.account.records)
    cut = f", {len(report.cut):,} of them the end of an answer, without which no model learns to stop"
    return (
        f"{share:.1%} of the rows ({count:,}) do not fit --seq-len {report.seq_len} whole{cut if report.cut else ''}; the "
        f"longest has {report.lengths.most:,} tokens: raise --seq-len, or leave them out with --filters too_long"
    )


def _contaminated(report: CheckReport) -> str:
    count = report.rows("contaminated")
    if not count:
        return ""
    return f"what an evaluation asks is in {counted(count, 'row')}: a score on it would measure memory"


def _format(report: CheckReport) -> str:
    count = report.rows("other_format")
    if not count:
        return ""
    return (
        f"text that looks like another format is in {counted(count, 'row')}: if all data is so, read it with another "
        "--format, else correct these rows or leave them out with --filters other_format"
    )


def _language(report: CheckReport) -> str:
    told = {name: count for name, count in report.languages.items() if name != UNKNOWN}
    others = sum(told.values()) - max(told.values(), default=0)
    if others <= SOME * sum(told.values()) or report.rows("other_language"):
        return ""
    return f"languages other than {next(iter(told))} are in {counted(others, 'row')}: --languages names those that are wanted"


def _few(report: CheckReport) -> str:
    talks = report.kinds.get("Conversation", 0)
    if not 0 < talks < FEW:
        return ""
    return f"a model learns {counted(talks, 'conversation')} by heart: mix in others, as with sft's --data primer@0.5"


def _filters(report: CheckReport) -> str:
    found = [one for one in report.filters if one.chosen and one.rows]
    if not found or report.left is not None:
        return ""
    names = ", ".join(f"{one.name} {one.rows:,}" for one in found)
    return f"--fix clean.jsonl writes the data without the rows of the filters marked * ({names}), and lists these rows"
