"""Is the end of every answer learned? A chatbot that never saw one learned never stops."""

from collections.abc import Collection, Sequence

from chatwright.text.records import Conversation
from chatwright.text.template import ChatTemplate, Example
from chatwright.text.tokenizer import Tokenizer


def answers_without_end(
    conversation: Conversation, example: Example, template: ChatTemplate, tokenizer: Tokenizer
) -> tuple[int, int]:
    """How many answers a whole (not cut) conversation has to learn, and how many of those do not teach their end.

    Where each answer is one run of learned ids, it is seen at the run's last id; otherwise each answer's start is found
    by rendering what comes before it.
    """
    stops = set(template.stop_ids(tokenizer))
    learned = [k for k, message in enumerate(conversation.messages) if message.learned]
    answers = [k for k in learned if conversation.messages[k].role == "assistant"]
    ends = learned_runs(example.mask)
    if len(ends) == len(learned) and all(example.ids[end - 1] in stops for end in ends):
        return len(answers), 0
    starts = [len(template.render(conversation[:k], tokenizer, reply=True).ids) for k in answers]
    return len(answers), sum(not _end_is_learned(example, start, stops) for start in starts)


def learned_runs(mask: Sequence[int]) -> list[int]:
    """Where each run of learned ids ends: the index after its last."""
    bits = bytes(mask)  # searched at the speed of memory
    ends = []
    at = bits.find(b"\1\0")
    while at >= 0:
        ends.append(at + 1)
        at = bits.find(b"\1\0", at + 1)
    return [*ends, len(bits)] if bits.endswith(b"\1") else ends


def _end_is_learned(example: Example, start: int, stops: Collection[int]) -> bool:
    """Whether the first end token from `start` on has mask 1: contents never hold one, so it ends this answer."""
    end = next((i for i in range(start, len(example.ids)) if example.ids[i] in stops), None)
    return end is not None and example.mask[end] == 1
