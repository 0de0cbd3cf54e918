"""From what was asked to ids and ways to sample: the part of a request that takes time, done outside the event loop.

A text that cannot fit, however it is cut into tokens, is refused by its length alone.
"""

import secrets
from dataclasses import dataclass, replace

from chatwright.errors import ConfigError
from chatwright.generate.prompt import fit, prompt_ids, with_stops
from chatwright.generate.sampling import Sampling
from chatwright.serve import errors
from chatwright.serve.asked import Asked, Prompt
from chatwright.serve.catalogue import Served
from chatwright.text.records import Conversation


@dataclass(frozen=True)
class Ids:
    """The ids of a prompt; `text` is what `echo` repeats; `messages` and `tokens` are how many were left out of it."""

    ids: tuple[int, ...]
    text: str = ""
    messages: int = 0
    tokens: int = 0


@dataclass(frozen=True)
class Prepared:
    """A request that is ready to be decoded: each prompt with the way that its answers are sampled."""

    served: Served
    prompts: tuple[Ids, ...]
    ways: tuple[Sampling, ...]

    @property
    def left_out(self) -> dict[str, int]:
        """What `truncate` left out of all prompts: {} when that is nothing."""
        counts = {
            "messages": sum(one.messages for one in self.prompts),
            "tokens": sum(one.tokens for one in self.prompts),
        }
        return {name: count for name, count in counts.items() if count}


def prepared(served: Served, asked: Asked) -> Prepared:
    """Raises Refused (400) for a prompt that does not fit or that the model's template has no place for."""
    size = served.checkpoint.tokenizer.vocab_size
    for number, _ in asked.knobs.get("logit_bias", ()):
        if number >= size:
            raise errors.wrong(f"logit_bias: the ids of this model are 0 to {size - 1}, got {number}", "logit_bias")
    prompts = tuple(ids_of(served, prompt, asked) for prompt in asked.prompts)
    seed = secrets.randbits(62)  # where none is given, no two requests draw alike
    given = {"seed": seed, **served.defaults, **asked.knobs}
    ways = []
    for prompt, ids in zip(asked.prompts, prompts, strict=True):
        room = served.context - len(ids.ids)
        way = Sampling(max_tokens=min(asked.max_tokens or room, room), **given)
        ways.append(with_stops(served.checkpoint, way) if isinstance(prompt, Conversation) else way)
    return Prepared(served, prompts, tuple(ways))


def counted(served: Served, prompt: Prompt) -> tuple[int, ...]:
    """The ids of a prompt of any length, as it would be read. Raises Refused."""
    if isinstance(prompt, Conversation):
        return tuple(_rendered(served, prompt))
    return (*_begin(served), *served.checkpoint.tokenizer.encode(prompt)) if isinstance(prompt, str) else prompt


def ids_of(served: Served, prompt: Prompt, asked: Asked) -> Ids:
    """The ids of one prompt, with room for an answer behind it."""
    if isinstance(prompt, Conversation):
        found = _of_conversation(served, prompt, asked)
    elif isinstance(prompt, str):
        found = _of_text(served, prompt, asked)
    else:
        found = _of_ids(served, prompt, asked)
    if len(found.ids) >= served.context:
        raise errors.too_long(
            len(found.ids), served.context, "messages" if isinstance(prompt, Conversation) else "prompt"
        )
    if not found.ids:
        raise errors.wrong("the prompt is empty; send at least one word", "prompt")
    return found


def _of_conversation(served: Served, conversation: Conversation, asked: Asked) -> Ids:
    before = len(conversation)
    if asked.truncate:
        conversation = _tail(conversation, served.longest * served.context)
    else:
        _check_bytes(
            served, sum(len(message.content.strip().encode()) for message in conversation.messages), "messages"
        )
    ids = _rendered(served, conversation)
    if asked.truncate:
        try:
            conversation, _ = fit(served.checkpoint, conversation, asked.max_tokens or served.context)
        except ConfigError:  # the newest message alone is too long
            raise errors.too_long(len(ids), served.context, "messages") from None
        ids = _rendered(served, conversation)
    return Ids(tuple(ids), messages=before - len(conversation))


def _rendered(served: Served, conversation: Conversation) -> list[int]:
    try:
        return prompt_ids(served.checkpoint, conversation)
    except ConfigError as error:  # a message that the template has no place for, or no answer that is due
        raise errors.wrong(str(error), "messages") from None


def _of_text(served: Served, text: str, asked: Asked) -> Ids:
    if not asked.truncate:
        _check_bytes(served, len(text.encode()), "prompt")
    begin, ids = _begin(served), served.checkpoint.tokenizer.encode(text)
    found = _of_ids(served, (*begin, *ids), asked)
    if found.tokens and begin:
        found = replace(found, ids=(*begin, *found.ids[1:]))
    return replace(found, text=text)


def _of_ids(served: Served, ids: tuple[int, ...], asked: Asked) -> Ids:
    tokenizer = served.checkpoint.tokenizer
    if any(number >= tokenizer.vocab_size for number in ids):
        raise errors.wrong(f"the ids of this model are 0 to {tokenizer.vocab_size - 1}, got {max(ids)}", "prompt")
    kept = ids
    if asked.truncate:
        reserve = min(asked.max_tokens or served.context, served.context // 4)  # as `fit` has it
        kept = ids[-max(1, served.context - max(1, reserve)) :]
    text = tokenizer.decode(ids) if asked.echo else ""
    return Ids(kept, text, tokens=len(ids) - len(kept))


def _begin(served: Served) -> tuple[int, ...]:
    """What the model has seen before every text."""
    begin = served.checkpoint.tokenizer.begin_of_text
    return () if begin is None else (begin,)


def _check_bytes(served: Served, size: int, param: str) -> None:
    least = -(-size // served.longest)
    if least >= served.context:
        raise errors.too_long(least, served.context, param, at_least=True)


def _tail(conversation: Conversation, most: int) -> Conversation:
    """The newest messages, from a user's on, of no more than `most` bytes; the system message stays."""
    turns = list(conversation.messages)
    system = turns[:1] if turns[0].role == "system" else []
    size, first = 0, len(turns)
    for number in range(len(turns) - 1, len(system) - 1, -1):
        size += len(turns[number].content.encode())
        if size > most and first < len(turns):
            break
        if turns[number].role == "user":
            first = number
    return Conversation((*system, *turns[min(first, len(turns) - 1) :]))
