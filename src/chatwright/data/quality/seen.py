"""What a filter is asked about: one record, with what was found out about it while it was rendered."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from chatwright.data.quality.evaluation import Evaluation
from chatwright.data.truncate import Fit
from chatwright.text.manners import words
from chatwright.text.records import Conversation, Document, Message, Preference, Problem, Rated, Record


@dataclass(frozen=True)
class Seen:
    """`fits`: how its examples came into the window. `language`: a code, "unknown", or "" where nobody looked."""

    record: Record
    fits: tuple[Fit, ...] = ()
    language: str = ""

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """What is said in it, each text once: a Preference's prompt is in both of its conversations."""
        if isinstance(self.record, Document):
            return (self.record.text,)
        if isinstance(self.record, Preference):
            rejected = self.record.rejected.messages[-1]
            return tuple(message.content for message in (*self.record.chosen.messages, rejected))
        return tuple(message.content for message in conversations(self.record)[0].messages)

    @cached_property
    def words(self) -> tuple[list[str], ...]:
        """The words of each text, without case and punctuation."""
        return tuple(map(words, self.texts))

    @property
    def learned(self) -> list[Message]:
        """The turns that a model learns to write."""
        whole = conversations(self.record)[:1]  # of a Preference, the better answer
        return [message for one in whole for message in one.messages if message.learned]


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


@dataclass(frozen=True)
class Wanted:
    """What the data is for: its languages ("en"; any, where there are none) and what will be asked in evaluations."""

    languages: tuple[str, ...] = ()
    evaluation: Evaluation | None = None


Reason = Callable[[Seen], str]  # why a record is to be left out; "" where it is not


class Filter(Protocol):
    """A module of `filters/`.

    SAYS: one line on what is left out. ON: whether that is done unless somebody chooses. REMEMBERS: compares with the
    rows before, so it is asked only about rows that the others leave in. `make` raises DataError without its library.
    """

    SAYS: str
    ON: bool
    REMEMBERS: bool
    make: Callable[[Wanted], Reason]
