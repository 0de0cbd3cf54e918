"""What some data will teach: lengths, learned tokens, what is cut, which rows teach nothing, what filters would leave out.

Everything is measured on the same rendering that training uses, in one pass and little memory, whatever the size. Without
a tokenizer the same counts are of words.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

from chatwright import console
from chatwright.data.quality.clean import Clean
from chatwright.data.quality.look import Asked, Look
from chatwright.data.quality.seen import conversations as conversations
from chatwright.data.quality.sieve import Sifted
from chatwright.data.quality.tally import Summary
from chatwright.data.report import Account, DataReport
from chatwright.data.rows import BadRow
from chatwright.data.settings import MAX_TRUNCATED_SHARE
from chatwright.data.source import MAX_BAD_SHARE, Stream
from chatwright.data.truncate import Fitted
from chatwright.errors import DataError
from chatwright.text.records import Record

QUIET = 4_000_000  # bytes that are read without a progress bar
EVERY = 200  # rows between two updates of it

Render = Callable[[Record], list[Fitted]]


@dataclass(frozen=True)
class CheckReport:
    """`lengths` and `learned` count `unit`s. `account`: what became of every row; `left`, of those that --fix keeps."""

    name: str
    unit: str  # "tokens", or "words" where no tokenizer is given
    seq_len: int | None
    account: Account
    left: Account | None
    kinds: dict[str, int]
    turns: Summary
    lengths: Summary
    learned: Summary
    languages: dict[str, int]  # the most frequent first
    truncated: dict[str, int]  # what happened -> examples
    cut: tuple[str, ...]  # file:line of the rows whose answer lost its end
    filters: tuple[Sifted, ...]
    against: dict[str, int]  # evaluation data -> prompts of it that are here too
    splits: dict[str, int]
    overlaps: dict[str, int]  # "a and b" -> prompts that both hold
    format: str
    columns: dict[str, str]
    notes: tuple[str, ...]
    first: tuple[Record, ...] = field(repr=False)
    sample: tuple[Record, ...] = field(repr=False)  # 250 at most, in order: any, and some that were cut

    @property
    def read(self) -> int:
        return self.account.read

    @property
    def kept(self) -> int:
        return self.account.used

    @property
    def bad(self) -> tuple[BadRow, ...]:
        """The rows that cannot be used, and why."""
        return tuple(row for row in self.account.listed if row.kind == "bad")

    @property
    def filtered(self) -> tuple[BadRow, ...]:
        """The rows that a setting leaves out, and why."""
        return tuple(row for row in self.account.listed if row.kind == "filtered")

    def rows(self, name: str) -> int:
        """How many rows a filter would leave out; 0 where it was not asked."""
        return sum(one.rows for one in self.filters if one.name == name)

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON."""
        plain = ("name", "unit", "seq_len", "kinds", "languages", "truncated", "cut", "against", "splits", "overlaps")
        return {
            **{name: value for name, value in vars(self).items() if name in (*plain, "format", "columns", "notes")},
            **{name: asdict(value) for name, value in vars(self).items() if isinstance(value, Summary)},
            "read": self.read,
            "kept": self.kept,
            "records": self.account.records,
            "bad": [str(row) for row in self.bad],
            "filtered": [str(row) for row in self.filtered],
            "listed": [asdict(row) for row in self.account.listed],
            "truncated_rows": [asdict(row) for row in self.account.truncated],
            "repeated": self.rows("duplicate"),
            "filters": {one.name: one.as_dict() for one in self.filters},
        }

    def judge(
        self,
        skip_bad_rows: bool = False,
        max_bad_share: float = MAX_BAD_SHARE,
        max_truncated_share: float = MAX_TRUNCATED_SHARE,
    ) -> None:
        """Raises DataError where training would, on the data or, where it was written, on its clean version."""
        account = self.account if self.left is None else self.left
        if self.left is not None and not self.left.records:
            raise DataError(
                f"{self.name}: no row is left after the filters; see which one takes most, and choose --filters"
            )
        whole = DataReport(self.name, self.format, self.columns, self.notes, account, self.splits, "")
        whole.judge(skip_bad_rows, max_bad_share, max_truncated_share)


def analyse(stream: Stream, asked: Asked | None = None, clean: Clean | None = None) -> CheckReport:
    """Reads a source once. `clean` gets the records that no chosen filter leaves out."""
    look = Look(asked or Asked(), clean)
    with _progress(stream) as bar:
        for number, found in enumerate(stream.rows(), start=1):
            look.row(found)
            if bar is not None and number % EVERY == 0:
                if stream.size is None:
                    bar.update(look.account.read)
                else:
                    bar.update(stream.passed // 1_000_000, rows=look.account.read)
    return _report(stream, look)


def _progress(stream: Stream) -> AbstractContextManager[console.Progress | None]:
    """A bar of megabytes, of rows where the size is not known, and none where it would be gone at once."""
    if stream.size is None:
        return console.progress("checking", stream.most, "row")
    return console.progress("checking", stream.size // 1_000_000, "MB") if stream.size > QUIET else nullcontext()


def _report(stream: Stream, look: Look) -> CheckReport:
    """Everything that was seen."""
    read, evaluation = stream.report, look.asked.wanted.evaluation
    splits, split_notes = look.tally.splits()
    in_words = look.asked.text is None
    return CheckReport(
        name=read.name,
        unit="words" if in_words else "tokens",
        seq_len=None if in_words else look.asked.seq_len,
        account=look.account,
        left=None if look.clean is None else look.left,
        kinds=dict(look.kinds),
        turns=Summary.of(look.turns),
        lengths=Summary.of(look.lengths),
        learned=Summary.of(look.learned),
        languages=dict(look.languages.most_common()),
        truncated=dict(look.losses),
        cut=tuple(look.cut),
        filters=tuple(look.sieve.results.values()),
        against={} if evaluation is None else evaluation.shared,
        splits=splits,
        overlaps=look.tally.overlaps(),
        format=read.format,
        columns=dict(read.columns or {}),
        notes=(*read.notes, *split_notes, *look.notes),
        first=tuple(look.first),
        sample=tuple(look.sample),
    )
