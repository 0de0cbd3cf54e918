"""What some data will teach: lengths, learned tokens, what is cut, which rows teach nothing, and what the splits share.

Everything is measured on the same rendering that training uses. Without a tokenizer the same counts are of words.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from chatwright.data.files import BadRow
from chatwright.data.source import MAX_BAD_SHARE, Dataset, ReadReport, judge, texts
from chatwright.data.split import overlap, split
from chatwright.data.truncate import Fit, Fitted, fit_record
from chatwright.errors import DataError
from chatwright.text.records import Conversation, Document, Preference, Problem, Rated, Record
from chatwright.text.template import ChatTemplate, Example
from chatwright.text.tokenizer import Tokenizer

MOST_FILES = 12  # whose overlaps are counted pair by pair

Render = Callable[[Record], list[Fitted]]


@dataclass(frozen=True)
class Summary:
    """The distribution of a count over examples."""

    total: int
    median: int
    most: int
    at_95_percent: int

    @classmethod
    def of(cls, counts: Sequence[int]) -> "Summary":
        ordered = sorted(counts) or [0]
        last = len(ordered) - 1
        return cls(sum(ordered), ordered[last // 2], ordered[-1], ordered[round(last * 0.95)])


@dataclass(frozen=True)
class CheckReport:
    """`lengths` and `learned` count `unit`s; `bad` holds the rows that cannot be used and why."""

    name: str
    unit: str  # "tokens", or "words" where no tokenizer is given
    seq_len: int | None
    read: int
    kinds: dict[str, int]
    bad: tuple[BadRow, ...]
    turns: Summary
    lengths: Summary
    learned: Summary
    truncated: dict[str, int]  # what happened -> examples
    cut: tuple[str, ...]  # file:line of the rows whose answer lost its end
    repeated: int  # rows that say exactly what an earlier one says
    splits: dict[str, int]
    overlaps: dict[str, int]  # "a and b" -> prompts that both hold
    format: str
    columns: dict[str, str]
    notes: tuple[str, ...]

    @property
    def kept(self) -> int:
        return self.read - len(self.bad)

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON."""
        return {**asdict(self), "kept": self.kept, "bad": [str(row) for row in self.bad]}

    def judge(self, skip_bad_rows: bool = False, max_bad_share: float = MAX_BAD_SHARE) -> None:
        """Raises DataError where training would."""
        judge(ReadReport(self.name, self.read, self.kept, self.bad), skip_bad_rows, max_bad_share)


def analyse(dataset: Dataset, template: ChatTemplate, tokenizer: Tokenizer, seq_len: int) -> CheckReport:
    """Renders every record, as training does, and counts tokens."""

    return _report(dataset, lambda record: fit_record(record, tokenizer, template, seq_len), "tokens", seq_len)


def analyse_words(dataset: Dataset) -> CheckReport:
    """The same without a tokenizer: counts of words, nothing truncated."""
    return _report(dataset, _words, "words", None)


def screen(records: Iterable[Record], render: Render) -> Iterator[tuple[Record, list[Fitted]] | BadRow]:
    """Each record with what is learned from it, or, where that is nothing, the row and why: never dropped silently.

    Whoever trains collects the BadRows and gives them to `source.judge`, as `source.read` does with those it cannot
    read. `render` is `truncate.fit_record` with its tokenizer, template and window.
    """
    for record in records:
        try:
            fitted = render(record)
        except DataError as error:
            yield _bad(record, str(error))
            continue
        useless = next((one.fit for one in fitted if one.fit in (Fit.UNLEARNABLE, Fit.NOTHING_LEARNED)), None)
        if useless is None or isinstance(record, Problem):  # a problem is a prompt: its answer is made later
            yield record, fitted
        else:
            yield _bad(record, useless)


def _words(record: Record) -> list[Fitted]:
    """The words of a record in place of its tokens."""
    if isinstance(record, Document):
        return [_counted([(record.text, True)])]
    turns = [[(message.content, message.learned) for message in one.messages] for one in conversations(record)]
    return [_counted(one) for one in turns]


def _counted(texts_learned: list[tuple[str, bool]]) -> Fitted:
    """Texts, and whether each is learned, as an example whose ids stand for words."""
    mask = [int(learned) for text, learned in texts_learned for _ in text.split()]
    return Fitted(Fit.WHOLE if any(mask) else Fit.NOTHING_LEARNED, Example([0] * len(mask), mask), None, len(mask))


def conversations(record: Record) -> tuple[Conversation, ...]:
    """The conversations of a record; a Document has none."""
    match record:
        case Conversation():
            return (record,)
        case Preference():
            return (record.chosen, record.rejected)
        case Rated():
            return (record.conversation,)
        case Problem():
            return (record.prompt,)
    return ()


def _report(dataset: Dataset, render: Render, unit: str, seq_len: int | None) -> CheckReport:
    """One pass over the records; only counts are kept of what is rendered."""
    bad = list(dataset.report.skipped)
    kept: list[Record] = []
    lengths: list[int] = []
    learned: list[int] = []
    fits: Counter[str] = Counter()
    cut: list[str] = []
    for found in screen(dataset.records, render):
        if isinstance(found, BadRow):
            bad.append(found)
            continue
        record, examples = found
        kept.append(record)
        for one in examples:
            lengths.append(one.tokens)
            learned.append(sum(one.example.mask) if one.example else 0)
            fits.update([str(one.fit)] if one.fit in (Fit.TURNS_DROPPED, Fit.ANSWER_CUT) else [])
            cut.extend([str(record.source)] if one.fit is Fit.ANSWER_CUT else [])
    parts = split(kept)
    return CheckReport(
        name=dataset.name,
        unit=unit,
        seq_len=seq_len,
        read=dataset.report.read,
        kinds=dict(Counter(type(record).__name__ for record in kept)),
        bad=tuple(bad),
        turns=Summary.of([len(conversation) for record in kept for conversation in conversations(record)]),
        lengths=Summary.of(lengths),
        learned=Summary.of(learned),
        truncated=dict(fits),
        cut=tuple(cut),
        repeated=len(kept) - len({tuple(texts(record)) for record in kept}),
        splits={"train": len(parts.train), "validation": len(parts.validation), "test": len(parts.test)},
        overlaps=overlaps(kept),
        format=dataset.report.format,
        columns=dict(dataset.report.columns or {}),
        notes=(*dataset.report.notes, *parts.notes),
    )


def overlaps(records: Iterable[Record]) -> dict[str, int]:
    """For each two files of the same data, how many prompts both hold; files that share none are left out."""
    files: dict[str, list[Record]] = {}
    for record in records:
        files.setdefault(record.source.file, []).append(record)
    pairs = combinations(sorted(files), 2) if len(files) <= MOST_FILES else iter(())
    counts = {f"{one} and {other}": len(overlap(files[one], files[other])) for one, other in pairs}
    return {pair: count for pair, count in counts.items() if count}


def _bad(record: Record, reason: str) -> BadRow:
    """A record that cannot be learned from; its place is said once."""
    return BadRow(record.source.file, record.source.line, reason.removeprefix(f"{record.source}: "))
