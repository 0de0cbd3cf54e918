"""What became of every row of some data: used, truncated, left out, each with file, line and reason. The gate is here.

`used` rows and the rows of everything listed add up to the rows read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from chatwright import console
from chatwright.data.rows import BadRow
from chatwright.data.source import ReadReport, judge, tell
from chatwright.errors import DataError


@dataclass(frozen=True)
class Truncated:
    """A row that is used, though it lost text at the window; `str(row)` is `file:line: reason`."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


@dataclass
class Account:
    """What became of rows. `listed` are those that teach nothing; `truncated` lost text at the window and are used."""

    read: int = 0
    used: int = 0
    records: int = 0
    listed: list[BadRow] = field(default_factory=list)
    truncated: list[Truncated] = field(default_factory=list)
    answers: int = 0
    without_end: list[str] = field(default_factory=list)  # file:line of answers whose end is not learned
    cut_documents: int = 0
    document_pieces: int = 0

    def add(self, other: "Account") -> None:
        self.read += other.read
        self.used += other.used
        self.records += other.records
        self.listed += other.listed
        self.truncated += other.truncated
        self.answers += other.answers
        self.without_end += other.without_end
        self.cut_documents += other.cut_documents
        self.document_pieces += other.document_pieces

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON; what is listed as short rows of their own."""
        listed = [[row.file, row.line, row.reason, row.kind, row.rows] for row in self.listed]
        rows = {"listed": listed, "truncated": [[row.file, row.line, row.reason] for row in self.truncated]}
        return {**vars(self), **rows}

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "Account":
        """What `as_dict` gave."""
        listed = [BadRow(*row) for row in stored["listed"]]
        rows = {"listed": listed, "truncated": [Truncated(*row) for row in stored["truncated"]]}
        return cls(**{**stored, **rows})


@dataclass(frozen=True)
class DataReport:
    """The account of one source. `splits`: examples of each. `public_name`: what the card of the model calls it."""

    name: str
    format: str
    columns: Mapping[str, str]
    notes: tuple[str, ...]
    account: Account
    splits: Mapping[str, int]
    fingerprint: str
    weight: float | None = None
    public_name: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For data_report.json."""
        account = self.account
        return {
            "name": self.name,
            "public_name": self.public_name or self.name,
            "fingerprint": self.fingerprint,
            "weight": self.weight,
            "format": self.format,
            "columns": dict(self.columns),
            "notes": list(self.notes),
            "read": account.read,
            "used": account.used,
            "dropped": sum(row.rows for row in account.listed if row.kind == "bad"),
            "filtered": sum(row.rows for row in account.listed if row.kind == "filtered"),
            "records": account.records,
            "splits": dict(self.splits),
            "listed": [asdict(row) for row in account.listed],
            "truncated": [asdict(row) for row in account.truncated],
        }

    def tell(self) -> None:
        """Says on stderr how the source was understood, what was left out and what was cut."""
        tell(self._read)
        if self.account.truncated:
            first = self.account.truncated[0]
            console.note(f"{self.name}: {self._truncated}, the first being {first}")

    def judge(self, skip_bad_rows: bool, max_bad_share: float, max_truncated_share: float) -> None:
        """Raises DataError where too much would be lost: bad rows, or rows that do not fit into the window."""
        judge(self._read, skip_bad_rows, max_bad_share)
        share = len(self.account.truncated) / max(1, self.account.records)
        if share > max_truncated_share:
            raise DataError(
                f"{self.account.truncated[0]}\n{self.name}: {self._truncated}, more than the {max_truncated_share:.1%} that "
                f"may be; raise --seq-len, or accept it with --max-truncated-share {_rounded_up(share)}"
            )

    @property
    def _truncated(self) -> str:
        count, records = len(self.account.truncated), self.account.records
        return f"{count:,} of {records:,} conversations ({count / records:.1%}) do not fit the window whole"

    @property
    def _read(self) -> ReadReport:
        account, listed = self.account, tuple(self.account.listed)
        names = (self.format, self.columns, self.notes)
        return ReadReport(self.name, account.read, account.used, listed, *names, account.records)


def as_dict(reports: Sequence[DataReport], fingerprint: str) -> dict[str, Any]:
    """One object for all sources of a run: that of the only one, or their sums, with each of them below."""
    each = [report.as_dict() for report in reports]
    if len(each) == 1:
        return each[0]
    sums = {name: sum(one[name] for one in each) for name in ("read", "used", "dropped", "filtered", "records")}
    names = {key: ", ".join(one[key] for one in each) for key in ("name", "public_name")}
    return {**names, "fingerprint": fingerprint, **sums, "sources": each}


def _rounded_up(share: float) -> float:
    return min(1.0, int(share * 100 + 1) / 100)
