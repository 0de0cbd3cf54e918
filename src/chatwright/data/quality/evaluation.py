"""Does the data hold what an evaluation will ask? By the same prompt, or by 13 words in a row (Brown et al., 2020).

A prompt is compared without case and spacing. Eight bytes a word of the evaluation's data are held in memory.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from chatwright.data.split import key
from chatwright.text.manners import words
from chatwright.text.records import Conversation, Document, Preference, Problem, Rated, Record

if TYPE_CHECKING:
    from chatwright.data.quality.seen import Seen

RUN = 13  # words
_FACTOR = np.uint64(0x9E3779B97F4A7C15)

Hashes = NDArray[np.uint64]


class Evaluation:
    """The prompts and word runs of data that scores are measured on, by the name of the data."""

    def __init__(self, data: Mapping[str, Iterable[Record]]) -> None:
        self.names = tuple(data)
        self._prompts: dict[int, int] = {}  # the hash of a prompt -> the number of its data
        self._shared: list[set[int]] = [set() for _ in self.names]
        runs: list[Hashes] = []
        owners: list[Hashes] = []
        for number, records in enumerate(data.values()):
            for record in records:
                self._prompts.setdefault(hash(_asked(record)), number)
                for text in _graded(record):
                    runs.append(_runs(words(text)))
                    owners.append(np.full(len(runs[-1]), number, dtype=np.uint64))
        every = np.concatenate(runs) if runs else np.zeros(0, dtype=np.uint64)
        order = np.argsort(every, kind="stable")
        self._runs = every[order]
        self._owners = np.concatenate(owners)[order] if runs else every

    @property
    def shared(self) -> dict[str, int]:
        """How many distinct prompts of each data were found in what was asked about."""
        return {name: len(found) for name, found in zip(self.names, self._shared, strict=True)}

    def reason(self, seen: "Seen") -> str:
        """What a record gives away, in words; "" when nothing."""
        reason = ""
        for prompt in _prompts(seen.record):
            value = hash(prompt)
            if value in self._prompts:
                number = self._prompts[value]
                self._shared[number].add(value)
                reason = reason or f"asks what is asked in {self.names[number]}"
        return reason or next(filter(None, map(self._run, seen.words)), "")

    def _run(self, found: list[str]) -> str:
        """The first shared run of words, in words."""
        if not len(self._runs) or len(found) < RUN:
            return ""
        runs = _runs(found)
        places = np.minimum(np.searchsorted(self._runs, runs), len(self._runs) - 1)
        hits = np.flatnonzero(self._runs[places] == runs)
        if not len(hits):
            return ""
        first = int(hits[0])
        owner = self.names[int(self._owners[places[first]])]
        return f"shares {RUN} words in a row with {owner}: {' '.join(found[first : first + RUN])!r}"


def _runs(found: Sequence[str]) -> Hashes:
    """A hash of each RUN words in a row; equal only in this process."""
    count = len(found) - RUN + 1
    if count < 1:
        return np.zeros(0, dtype=np.uint64)
    hashes = np.fromiter(map(hash, found), dtype=np.int64, count=len(found)).astype(np.uint64)
    total = hashes[:count].copy()
    for shift in range(1, RUN):
        total = total * _FACTOR + hashes[shift : shift + count]  # modulo 2^64
    return total


def _asked(record: Record) -> str:
    """The prompt that an evaluation gives: a problem's with all turns before it, else the key that data is split by."""
    return _joined(record.prompt) if isinstance(record, Problem) else key(record)


def _graded(record: Record) -> Iterator[str]:
    """The texts that must not be known: of a problem the last question only, for its earlier turns may be common."""
    match record:
        case Problem():
            yield record.prompt.messages[-1].content
        case Document():
            yield record.text
        case Preference():
            yield from (message.content for message in (*record.chosen.messages, record.rejected.messages[-1]))
        case Conversation():
            yield from (message.content for message in record.messages)
        case Rated():
            yield from (message.content for message in record.conversation.messages)


def _prompts(record: Record) -> Iterator[str]:
    """Every prompt in a record: the conversation up to each turn of the user's."""
    match record:
        case Document():
            yield key(record)
            return
        case Preference():
            conversation = record.chosen
        case Rated():
            conversation = record.conversation
        case Problem():
            conversation = record.prompt
        case Conversation():
            conversation = record
    for end, message in enumerate(conversation.messages, start=1):
        if message.role == "user":
            yield _joined(conversation[:end])


def _joined(conversation: Conversation) -> str:
    """The turns as one normalised text; a system text is no part of the question."""
    turns = [message.content for message in conversation.messages if message.role != "system"]
    return "\n".join(" ".join(unicodedata.normalize("NFKC", turn).casefold().split()) for turn in turns)
