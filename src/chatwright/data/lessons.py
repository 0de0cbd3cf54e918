"""What a record teaches: from a Record to the ids and masks of one example or several, by the rule of an objective.

Here, and without torch, because other processes apply the rules too. A rule raises DataError for a record that it has no
use for, and that sentence names the verb that has one.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from chatwright.data.truncate import Fit, Fitted, fit
from chatwright.errors import DataError
from chatwright.text.pieces import Example
from chatwright.text.records import Conversation, Document, Record
from chatwright.text.template import ChatTemplate, render_document
from chatwright.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Text:
    """A vocabulary and a way to write conversations."""

    tokenizer: Tokenizer
    template: ChatTemplate


Rule = Callable[[Record, Text, int], list[Fitted]]  # the record, how it is written, the predictions that fit into a row


def conversations(record: Record, text: Text, seq_len: int) -> list[Fitted]:
    """A conversation, cut to whole turns where it is longer than the window."""
    if not isinstance(record, Conversation):
        raise DataError(f"a {type(record).__name__.lower()}; sft learns from conversations, `pretrain` from documents")
    # the shift by one makes seq_len predictions of one id more
    return [fit(record, text.tokenizer, text.template, seq_len + 1)]


def documents(record: Record, text: Text, seq_len: int) -> list[Fitted]:
    """A document, all of it learned, in windows of at most `seq_len` predictions.

    A window begins with the token that the one before ended with, so that each token but a document's first is
    predicted exactly once.
    """
    if isinstance(record, Conversation):
        raise DataError("a conversation; pretraining reads documents, use `chatwright sft` for this data")
    if not isinstance(record, Document):
        raise DataError(f"a {type(record).__name__.lower()}; pretraining reads documents")
    whole = render_document(record, text.tokenizer)
    return [Fitted(Fit.WHOLE, window, None, len(window.ids)) for window in _windows(whole, seq_len)]


RULES: dict[str, Rule] = {"conversations": conversations, "documents": documents}


def examples(records: Iterable[Record], rule: Rule, text: Text, seq_len: int) -> Iterator[Example]:
    """Everything that can be learned from records, for sets that are small enough to be made on the spot."""
    for record in records:
        try:
            fitted = rule(record, text, seq_len)
        except DataError as error:
            raise DataError(located(record, str(error))) from None
        yield from (one.example for one in fitted if one.example is not None)


def located(record: Record, reason: str) -> str:
    """A reason with the place of its record, said once."""
    where = str(record.source)
    return reason if not where or reason.startswith(f"{where}: ") else f"{where}: {reason}"


def _windows(example: Example, seq_len: int) -> Iterator[Example]:
    for at in range(0, max(1, len(example.ids) - 1), seq_len):
        yield Example(example.ids[at : at + seq_len + 1], example.mask[at : at + seq_len + 1])
