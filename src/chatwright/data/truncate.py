"""Conversations longer than the window: whole later turns are dropped, so what is left ends with its end-of-turn token.

Only where not even the first exchange fits is an answer cut, and then the lost end is counted: a model that never sees
the end of an answer never stops.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from chatwright.data.ends import learned_runs
from chatwright.text.records import Conversation, Document, Preference, Problem, Rated, Record
from chatwright.text.template import ChatTemplate, Example, render_document
from chatwright.text.tokenizer import Tokenizer


class Fit(StrEnum):
    """How a record came into the window; the text is what a report says."""

    WHOLE = ""
    TURNS_DROPPED = "later turns do not fit and are dropped"
    ANSWER_CUT = "the first answer does not fit: it is cut, and its end is not learned"
    PART_CUT = "an answer does not fit: it is cut, and its end is not learned"
    UNLEARNABLE = "the prompt alone fills the window, so nothing can be learned"
    NOTHING_LEARNED = "no token is learned: no turn of the assistant's has an answer to learn"


@dataclass(frozen=True)
class Fitted:
    """`example` has at most `seq_len` ids, and is None where nothing can be learned; `tokens` is the whole length."""

    fit: Fit
    example: Example | None
    conversation: Conversation | None  # what was kept of it; None for a document
    tokens: int
    dropped: int = 0  # messages left out at the end
    label: int = 0  # 1: an answer that was preferred, or found good


def fit(conversation: Conversation, tokenizer: Tokenizer, template: ChatTemplate, seq_len: int) -> Fitted:
    """Renders a conversation into at most `seq_len` ids (the shift by one is the loader's: it may pass T + 1).

    A later turn is never learned without the turns before it, so turns go from the end; by law 1 the ids of what is
    left are the first ids of the whole. Raises DataError for a message that the template has no place for.
    """
    whole = template.render(conversation, tokenizer)
    tokens = len(whole.ids)
    if not any(whole.mask[1:]):  # nothing comes before the first id, so it is no target
        return Fitted(Fit.NOTHING_LEARNED, None, None, tokens)
    if _needed(whole, conversation) <= seq_len:
        return Fitted(Fit.WHOLE, _cut(whole, seq_len), conversation, tokens)
    answers = [number for number, message in enumerate(conversation.messages, start=1) if message.learned]
    for end, needed in zip(
        reversed(answers), reversed(_ends(whole, conversation, answers, tokenizer, template)), strict=True
    ):
        if needed <= seq_len and end < len(conversation):
            cut = _cut(whole, needed)
            return Fitted(Fit.TURNS_DROPPED, cut, conversation[:end], tokens, len(conversation) - end)
    cut = _cut(whole, seq_len)
    if not any(cut.mask[1:]):
        return Fitted(Fit.UNLEARNABLE, None, None, tokens)
    return Fitted(Fit.ANSWER_CUT, cut, conversation[: answers[0]], tokens, len(conversation) - answers[0])


def fit_answer(conversation: Conversation, tokenizer: Tokenizer, template: ChatTemplate, seq_len: int) -> Fitted:
    """Renders a conversation of which only the last answer is learned, its end included, into at most `seq_len` ids.

    What comes before that answer is its prompt, and is never cut. An answer that did not end has no end to learn.
    """
    *before, last = conversation.messages
    prompt = (replace(message, learn=False) for message in before)
    answered = Conversation((*prompt, last), conversation.source)
    whole = template.render(answered, tokenizer)
    if not any(whole.mask[1:]):
        return Fitted(Fit.NOTHING_LEARNED, None, None, len(whole.ids))
    needed = _needed(whole, answered)
    if not last.ended and whole.ids[needed - 1] in template.stop_ids(tokenizer):
        needed -= 1
    answer = _cut(whole, min(needed, seq_len))
    if not any(answer.mask[1:]):
        return Fitted(Fit.UNLEARNABLE, None, None, len(whole.ids))
    return Fitted(Fit.WHOLE if needed <= seq_len else Fit.PART_CUT, answer, answered, len(whole.ids))


def fit_document(document: Document, tokenizer: Tokenizer) -> Fitted:
    """A document is learned whole, however long: packing carries it over from one window to the next."""
    example = render_document(document, tokenizer)
    return Fitted(Fit.WHOLE, example, None, len(example.ids))


def fit_record(record: Record, tokenizer: Tokenizer, template: ChatTemplate, seq_len: int) -> list[Fitted]:
    """What is learned from a record: one example, or two where there is a better and a worse answer."""
    match record:
        case Document():
            return [fit_document(record, tokenizer)]
        case Preference():
            return [fit_answer(one, tokenizer, template, seq_len) for one in (record.chosen, record.rejected)]
        case Rated():
            return [fit_answer(record.conversation, tokenizer, template, seq_len)]
        case Conversation():
            return [fit(record, tokenizer, template, seq_len)]
        case Problem():
            return [fit(record.prompt, tokenizer, template, seq_len)]


def _needed(example: Example, conversation: Conversation) -> int:
    """The ids that must fit: all, or up to the end of turn where only the template's line end comes after it."""
    if not conversation.messages[-1].learned:
        return len(example.ids)
    return len(example.mask) - example.mask[::-1].index(1)


def _ends(
    whole: Example, conversation: Conversation, answers: list[int], tokenizer: Tokenizer, template: ChatTemplate
) -> list[int]:
    """How many ids it takes to the end of each answer.

    Between two answers stands the header of the second, which nobody learns: each run of learned ids is one answer,
    unless a template writes something else. Then each beginning is rendered by itself.
    """
    ends = learned_runs(whole.mask)
    if len(ends) == len(answers):
        return ends
    return [_needed(template.render(conversation[:end], tokenizer), conversation[:end]) for end in answers]


def _cut(example: Example, seq_len: int) -> Example:
    return Example(example.ids[:seq_len], example.mask[:seq_len])
