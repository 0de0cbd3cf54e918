"""From a conversation to what the engine is given: the ids of the prompt, and the texts that stop a base model."""

from bisect import bisect_left
from dataclasses import replace

from chatwright.checkpoint import Checkpoint
from chatwright.errors import ConfigError
from chatwright.generate.sampling import Sampling
from chatwright.text.records import Conversation


def prompt_ids(checkpoint: Checkpoint, conversation: Conversation) -> list[int]:
    """The conversation as training saw it, up to where the next answer begins. ConfigError if no answer is due."""
    return checkpoint.render(conversation, reply=True).ids


def with_stops(checkpoint: Checkpoint, sampling: Sampling) -> Sampling:
    """A base model knows no end of turn; the next speaker's label stops it, and is counted apart."""
    if checkpoint.own_template:
        return sampling
    return replace(sampling, stop=(*sampling.stop, *checkpoint.template.stop_strings()))


def fit(checkpoint: Checkpoint, conversation: Conversation, reserve: int) -> tuple[Conversation, int]:
    """The conversation without its oldest exchanges, so that `reserve` tokens of answer fit too; and how many messages
    were dropped. The system message and the newest user turn stay. ConfigError when those do not fit.

    The fewer exchanges, the fewer tokens: how many have to go is found by halving, in eleven renders for a thousand
    messages.
    """
    window = checkpoint.model.config.context_length
    system = tuple(message for message in conversation.messages[:1] if message.role == "system")
    turns = conversation.messages[len(system) :]
    starts = [place for place, turn in enumerate(turns) if place == 0 or turn.role == "user"]

    def kept(start: int) -> Conversation:
        return Conversation((*system, *turns[start:]), conversation.source)

    def length(start: int) -> int:
        return len(prompt_ids(checkpoint, kept(start)))

    def fits(start: int) -> bool:
        return length(start) + min(reserve, window // 4) <= window

    if fits(0):  # as most do
        return conversation, 0
    fewest = bisect_left(starts, True, lo=1, key=fits)
    if fewest == len(starts):
        raise ConfigError(
            f"the message has {length(starts[-1])} tokens with its frame, but the model's window is {window}; shorten it"
        )
    return kept(starts[fewest]), starts[fewest]
