"""A piece of a source -> ids, masks and an account of its rows. Runs in whichever process: without torch, and quickly."""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from chatwright.data import shards
from chatwright.data.ends import answers_without_end
from chatwright.data.lessons import RULES, Text
from chatwright.data.parts import Used, Work
from chatwright.data.report import Account, Truncated
from chatwright.data.rows import BadRow
from chatwright.data.samples import Sample
from chatwright.data.split import NAMES, Placed, SplitRule
from chatwright.data.truncate import Fit, Fitted
from chatwright.errors import DataError, LeftOut
from chatwright.text import template as templates
from chatwright.text.records import Conversation, Record
from chatwright.text.template import ChatTemplate
from chatwright.text.tokenizer import Tokenizer

Kind = Literal["bad", "filtered"]


@dataclass(frozen=True)
class TextKey:
    """Tokenizer and template in a form that can be sent to another process, and told apart from others.

    `now`: what the template tells as the time, where it tells one, so that all processes tell the same.
    """

    file: bytes
    eos_token: str | None
    jinja: str
    variables: tuple[tuple[str, str], ...]
    name: str
    now: datetime | None = None

    @classmethod
    def of(cls, tokenizer: Tokenizer, template: ChatTemplate) -> "TextKey":
        end = tokenizer.spelling_of(tokenizer.end_of_text)
        variables = tuple(sorted(template.tokens.items()))
        return cls(tokenizer.file, end, template.to_jinja(tokenizer), variables, template.name, template.now)

    def opened(self) -> Text:
        return _opened(self)


@dataclass(frozen=True)
class How:
    """Everything that decides what ids a row becomes."""

    text: TextKey
    rule: str  # of `lessons`
    seq_len: int
    split: SplitRule


@dataclass(frozen=True)
class Task:
    """A piece of work and how to do it. `most`: records that are still wanted; `samples`: whether to give some back."""

    work: Work
    how: How
    most: int | None = None
    samples: bool = False


@dataclass
class Chunk:
    """What a piece of work became."""

    segment: shards.Segment
    account: Account
    samples: list[Sample]


def tokenise(task: Task) -> Chunk:
    """Reads, places, renders and cuts every row of a piece."""
    making = _Making(task)
    for found in task.work.found():
        if isinstance(found, BadRow):
            making.account.read += found.rows
            making.account.listed.append(found)
        else:
            making.row(found)
        if task.most is not None and making.account.records >= task.most:
            break
    return making.chunk()


class _Making:
    """The arrays of a chunk while they grow."""

    def __init__(self, task: Task) -> None:
        self.task, self.text = task, task.how.text.opened()
        self.account = Account()
        self.samples: list[Sample] = []
        self.ids: list[NDArray[np.integer]] = []
        self.masks: list[NDArray[np.bool_]] = []
        self.index: list[tuple[int, int, int, int]] = []
        self.hashes: list[float] = []

    def row(self, found: Used) -> None:
        """Adds the records of a row, up to those that are wanted."""
        most, account = self.task.most, self.account
        records = found.records if most is None else found.records[: most - account.records]
        account.read += found.covers
        account.records += len(records)
        unused = [(record, *useless) for record in records if (useless := self._record(record))]
        if len(unused) < len(records):
            account.used += found.covers
        for number, (record, kind, reason) in enumerate(unused):
            rows = found.covers if number == 0 and len(unused) == len(records) else 0
            account.listed.append(BadRow(record.source.file, record.source.line, reason, kind, rows))

    def chunk(self) -> Chunk:
        kind = shards.id_type(self.text.tokenizer.vocab_size)
        ids = np.concatenate(self.ids) if self.ids else np.zeros(0, dtype=kind)
        masks = np.concatenate(self.masks) if self.masks else np.zeros(0, dtype=np.bool_)
        index = np.array(self.index, dtype=shards.ENTRY)
        hashes = np.array(self.hashes, dtype=np.float64)
        return Chunk(shards.Segment(ids.astype(kind), masks, index, hashes), self.account, self.samples)

    def _record(self, record: Record) -> tuple[Kind, str] | None:
        """Adds what a record teaches; or why that is nothing, and whether something is wrong with it."""
        how = self.task.how
        placed = how.split.place(record)
        try:
            fitted = [(one, RULES[how.rule](one.record, self.text, how.seq_len)) for one in placed]
        except DataError as error:
            kind: Kind = "filtered" if isinstance(error, LeftOut) else "bad"
            return kind, str(error).removeprefix(f"{record.source}: ")
        useless = [one.fit for _, some in fitted for one in some if one.example is None]
        if useless:
            return "bad", str(useless[0])
        pieces = sum(len(one.hashes) for one in placed)
        if pieces > 1:
            self.account.cut_documents += 1
            self.account.document_pieces += pieces
        for one, some in fitted:
            self._add(one, some)
        return None

    def _add(self, placed: Placed, fitted: list[Fitted]) -> None:
        split, source = NAMES.index(placed.split), placed.record.source
        self.hashes.extend(placed.hashes)
        for one in fitted:
            assert one.example is not None
            mask = np.frombuffer(bytes(one.example.mask), dtype=np.bool_)
            self.ids.append(np.array(one.example.ids))
            self.masks.append(mask)
            self.index.append((len(mask), int(np.count_nonzero(mask[1:])), split, one.label))
            if one.conversation is not None:
                self._account_for(one, one.conversation, placed.split)
        cut = next((one.fit for one in fitted if one.fit is not Fit.WHOLE), None)
        if cut is not None:
            self.account.truncated.append(Truncated(source.file, source.line, str(cut)))

    def _account_for(self, fitted: Fitted, conversation: Conversation, split: str) -> None:
        """The ends of its answers, and the conversation itself where samples are wanted."""
        assert fitted.example is not None
        if fitted.fit not in (Fit.ANSWER_CUT, Fit.PART_CUT):
            answers, without = answers_without_end(
                conversation, fitted.example, self.text.template, self.text.tokenizer
            )
            self.account.answers += answers
            self.account.without_end.extend([str(conversation.source)] * without)
        if self.task.samples:
            self.samples.append(Sample(split, fitted.fit is Fit.WHOLE, conversation))


@lru_cache(maxsize=2)
def _opened(key: TextKey) -> Text:
    """Made once in each process: reading a vocabulary takes a good part of a second."""
    tokenizer = Tokenizer(key.file, eos_token=key.eos_token)
    template = templates.from_jinja(key.jinja, dict(key.variables), name=key.name)
    return Text(tokenizer, template if key.now is None else template.at(key.now))
