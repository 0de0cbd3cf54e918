"""From a conversation to what the engine is given: the ids of the prompt, and the texts that stop a base model."""

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
    were dropped. The system message and the newest user turn stay. ConfigError when those do not fit."""
    window = checkpoint.model.config.context_length
    system = [m for m in conversation.messages[:1] if m.role == "system"]
    turns = list(conversation.messages[len(system) :])
    dropped = 0
    while True:
        kept = Conversation((*system, *turns), conversation.source)
        length = len(prompt_ids(checkpoint, kept))
        if length + min(reserve, window // 4) <= window:
            return kept, dropped
        later = next((i for i, m in enumerate(turns) if i > 0 and m.role == "user"), None)
        if later is None:
            raise ConfigError(
                f"the message has {length} tokens with its frame, but the model's window is {window}; shorten it"
            )
        dropped += later
        turns = turns[later:]
