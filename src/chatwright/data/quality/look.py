"""One pass over the rows of a source: each is rendered, measured and shown to the filters, then forgotten.

What stays is counts, an account of the rows, a small sample, and, where it is wanted, the clean version on the disk.
"""

import random
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from chatwright.data.lessons import Text
from chatwright.data.parts import Used
from chatwright.data.quality.clean import Clean
from chatwright.data.quality.language import Languages
from chatwright.data.quality.seen import Seen, Wanted, conversations
from chatwright.data.quality.sieve import Sieve
from chatwright.data.quality.tally import SplitTally
from chatwright.data.report import Account, Truncated
from chatwright.data.rows import BadRow
from chatwright.data.truncate import Fit, Fitted, fit_record
from chatwright.errors import DataError
from chatwright.text.pieces import Example
from chatwright.text.records import Document, Problem, Record

SAMPLE, LOST = 200, 50  # records that are kept to look at: of all, and of those that lost text at the window
BAD_ROW, LEFT_OUT = "bad_row", "left_out"  # in place of a filter: cannot be used at all; a setting leaves it out
LOSSES = (Fit.TURNS_DROPPED, Fit.ANSWER_CUT, Fit.PART_CUT)


@dataclass(frozen=True)
class Asked:
    """How to look: as a training with this `text` and `seq_len` would (in words, where there is no text), what the data
    is for, which `filters` count (None: those that are ON), and how many `first` records to keep."""

    text: Text | None = None
    seq_len: int = 0
    wanted: Wanted = field(default_factory=Wanted)
    filters: Sequence[str] | None = None
    first: int = 0


class Look:
    """What has been seen so far. `left` is the account of the clean version."""

    def __init__(self, asked: Asked, clean: Clean | None = None) -> None:
        self.asked, self.clean = asked, clean
        self.account, self.left = Account(), Account()
        self.sieve = Sieve(asked.wanted, asked.filters)
        self.notes = self.sieve.notes
        self.identify = self._languages()
        self.tally = SplitTally()
        self.turns, self.lengths, self.learned = array("q"), array("q"), array("q")
        self.kinds: Counter[str] = Counter()
        self.languages: Counter[str] = Counter()
        self.losses: Counter[str] = Counter()
        self.cut: list[str] = []  # file:line of rows whose answer lost its end
        self.first: list[Record] = []
        self._sample: list[tuple[int, Record]] = []
        self._lost: list[tuple[int, Record]] = []
        self._random = random.Random(0)

    def row(self, found: Used | BadRow) -> None:
        """Takes in what a row became. DataError where the clean version cannot be written."""
        if isinstance(found, BadRow):
            self.account.read += found.rows
            self.account.listed.append(found)
            self._drop(found, BAD_ROW if found.kind == "bad" else LEFT_OUT)
            return
        self.account.read += found.covers
        self.account.records += len(found.records)
        reasons = [(record, reason) for record in found.records if (reason := self._record(record))]
        is_used = len(reasons) < len(found.records) or not found.records
        self.account.used += found.covers if is_used else 0
        for number, (record, reason) in enumerate(reasons):
            # the rows of the file are counted once, and not at all where another of their records is used
            rows = found.covers if number == 0 and not is_used else 0
            self.account.listed.append(BadRow(record.source.file, record.source.line, reason, rows=rows))

    def _record(self, record: Record) -> str:
        """Looks at one record; "" or why nothing can be learned from it."""
        language = self.identify.of(Seen(record).texts) if self.identify is not None else ""
        try:
            fitted = _words(record) if self.asked.text is None else self._fitted(record, self.asked.text)
            seen = Seen(record, tuple(one.fit for one in fitted), language)
            useless = _useless(seen)
        except DataError as error:  # the template has no place for it
            fitted, seen, useless = [], Seen(record, (), language), str(error).removeprefix(f"{record.source}: ")
        found = self.sieve.reasons(seen, bool(useless))
        name = self.sieve.decisive(found) or (BAD_ROW if useless else None)
        if name is not None:
            reason = found.get(name, useless)
            self._drop(BadRow(record.source.file, record.source.line, reason), name, record)
        elif self.clean is not None:
            self.clean.keep(record)
        if not useless:
            self._count(seen, fitted, stays=name is None)
        return useless

    def _fitted(self, record: Record, text: Text) -> list[Fitted]:
        """The shift by one makes seq_len predictions of one id more."""
        return fit_record(record, text.tokenizer, text.template, self.asked.seq_len + 1)

    def _count(self, seen: Seen, fitted: list[Fitted], stays: bool) -> None:
        record, source = seen.record, seen.record.source
        self.kinds[type(record).__name__] += 1
        self.languages.update([seen.language] if seen.language else [])
        self.turns.extend(len(one) for one in conversations(record))
        self.lengths.extend(one.tokens for one in fitted)
        self.learned.extend(sum(one.example.mask) if one.example else 0 for one in fitted)
        self.tally.add(record)
        lost = [fit for fit in seen.fits if fit in LOSSES]
        self.losses.update(map(str, lost))
        self.cut.extend([str(source)] * (Fit.ANSWER_CUT in lost))
        row = [Truncated(source.file, source.line, str(lost[0]))] if lost else []
        self.account.truncated.extend(row)
        if stays:
            self.left.read, self.left.used, self.left.records = (self.left.records + 1,) * 3
            self.left.truncated.extend(row)
        self._keep(record, bool(lost))

    @property
    def sample(self) -> list[Record]:
        """Some of the records in their order: each with the same chance, and the first that lost text."""
        return [record for _, record in sorted(dict([*self._sample, *self._lost]).items())]

    def _keep(self, record: Record, is_cut: bool) -> None:
        """The first records, and a sample in which each has the same chance (Vitter's algorithm R, seeded)."""
        if len(self.first) < self.asked.first:
            self.first.append(record)
        number = sum(self.kinds.values()) - 1
        place = number if number < SAMPLE else self._random.randrange(number + 1)
        if place < SAMPLE:
            self._sample[place : place + 1] = [(number, record)]
        if is_cut and len(self._lost) < LOST:
            self._lost.append((number, record))

    def _drop(self, row: BadRow, name: str, *records: Record) -> None:
        if self.clean is not None:
            self.clean.drop(row, name, records)

    def _languages(self) -> Languages | None:
        """Without the library, languages are not told unless somebody asks for them."""
        try:
            return Languages()
        except DataError as error:
            if self.asked.wanted.languages:
                raise
            self.notes.append(f"languages are not counted: {error}")
            return None


def _useless(seen: Seen) -> str:
    """Why nothing can be learned; a problem is a prompt, whose answer is made later."""
    if isinstance(seen.record, Problem):
        return ""
    return next((str(fit) for fit in seen.fits if fit in (Fit.UNLEARNABLE, Fit.NOTHING_LEARNED)), "")


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
