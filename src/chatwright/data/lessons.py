"""What a record teaches: from a Record to the ids and masks of one example or several, by the rule of an objective.

Here, and without torch, because other processes apply the rules too. A rule raises DataError for a record that it has no
use for, and that sentence names the verb that has one.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from chatwright.data.truncate import Fit, Fitted, fit, fit_answer
from chatwright.errors import DataError, LeftOut
from chatwright.text.pieces import Example
from chatwright.text.records import Conversation, Document, Preference, Rated, Record
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


def preferences(record: Record, text: Text, seq_len: int) -> list[Fitted]:
    """The preferred answer and the other one, each after the prompt, of which nothing is learned.

    LeftOut where both are the same ids, as they may be in a short window only: nothing can be preferred then.
    """
    if not isinstance(record, Preference):
        raise DataError(
            f"a {type(record).__name__.lower()}; this verb learns from preferences, a prompt with a chosen and a rejected answer"
        )
    sides = [fit_answer(one, text.tokenizer, text.template, seq_len + 1) for one in (record.chosen, record.rejected)]
    chosen, rejected = sides
    if chosen.example is not None and chosen.example == rejected.example:
        cut = "" if chosen.fit is Fit.WHOLE else " within the window"
        raise LeftOut(f"chosen and rejected are the same answer{cut}, so nothing can be preferred")
    return [replace(chosen, label=1), replace(rejected, conversation=None)]  # nobody is to speak like the second


def compared(record: Record, text: Text, seq_len: int) -> list[Fitted]:
    """The same for a model that scores answers: all ids of each are read, and none of them is predicted.

    LeftOut where one is cut, because a score is read at an answer's end. An answer that did not end by itself is given
    the end of its turn, as it is by those who ask for a score.
    """
    if isinstance(record, Preference):
        record = replace(record, chosen=_ended(record.chosen), rejected=_ended(record.rejected))
    sides = preferences(record, text, seq_len - 1)  # no id is only a target
    if any(one.fit is Fit.PART_CUT for one in sides):
        raise LeftOut("an answer does not fit the window, and without its end there is no place to score it")
    return sides


def rated(record: Record, text: Text, seq_len: int) -> list[Fitted]:
    """An answer that was found good or bad. Of a preference, both answers."""
    if isinstance(record, Preference):
        return preferences(record, text, seq_len)
    if not isinstance(record, Rated):
        raise DataError(f"a {type(record).__name__.lower()}; kto learns from answers with a label, or from preferences")
    found = fit_answer(record.conversation, text.tokenizer, text.template, seq_len + 1)
    return [replace(found, label=int(record.good))]


def rehearsed(record: Record, text: Text, seq_len: int) -> list[Fitted]:
    """A conversation as fine-tuning learns it, or a document as pretraining does."""
    return (documents if isinstance(record, Document) else conversations)(record, text, seq_len)


RULES: dict[str, Rule] = {
    "conversations": conversations,
    "documents": documents,
    "preferences": preferences,
    "compared": compared,
    "rated": rated,
    "rehearsed": rehearsed,
}


def examples(records: Iterable[Record], rule: Rule, text: Text, seq_len: int) -> Iterator[Example]:
    """Everything that can be learned from records, for sets that are small enough to be made on the spot."""
    return (example for example, _ in labelled(records, rule, text, seq_len))


def labelled(records: Iterable[Record], rule: Rule, text: Text, seq_len: int) -> Iterator[tuple[Example, int]]:
    """The same with what each is labelled as."""
    for record in records:
        try:
            fitted = rule(record, text, seq_len)
        except DataError as error:
            raise DataError(located(record, str(error))) from None
        yield from ((one.example, one.label) for one in fitted if one.example is not None)


def located(record: Record, reason: str) -> str:
    """A reason with the place of its record, said once."""
    where = str(record.source)
    return reason if not where or reason.startswith(f"{where}: ") else f"{where}: {reason}"


def _ended(conversation: Conversation) -> Conversation:
    *before, last = conversation.messages
    return Conversation((*before, replace(last, ended=True)), conversation.source)


def _windows(example: Example, seq_len: int) -> Iterator[Example]:
    for at in range(0, max(1, len(example.ids) - 1), seq_len):
        yield Example(example.ids[at : at + seq_len + 1], example.mask[at : at + seq_len + 1])
