"""What a person sees of an example: the text of each token, and whether it is learned.

In come ids and masks, or a record where there is no tokenizer; out come pieces, for the terminal and for the page alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from chatwright.data.quality.seen import conversations
from chatwright.text.pieces import Example
from chatwright.text.records import Document, Record
from chatwright.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Spelled:
    """Some text and the ids that it stands for: one, several where a character takes more than one, none for words.

    `text` is empty for an id that spells nothing here, such as the space that a vocabulary puts before a text.
    """

    text: str
    ids: tuple[int, ...]
    learned: bool
    special: bool = False  # a control token: no text spells it


def tokens(example: Example, tokenizer: Tokenizer) -> list[Spelled]:
    """The pieces of an example; their ids joined are its ids, and bytes of one character stay together."""
    spelling = {number: token for token, number in tokenizer.special_tokens.items()}
    decoder = tokenizer.decoder()
    found: list[Spelled] = []
    waiting: list[int] = []  # ids of a character that is not whole yet
    before = False  # whether those are learned
    for number, one in zip(example.ids, example.mask, strict=True):
        learned = bool(one)
        if number in spelling or (waiting and learned != before):
            found += _rest(decoder.flush(), waiting, before)
            waiting = []
        if number in spelling:
            found.append(Spelled(spelling[number], (number,), learned, special=True))
            continue
        waiting.append(number)
        before = learned
        if text := decoder.push(number):
            found.append(Spelled(text, tuple(waiting), learned))
            waiting = []
    return found + _rest(decoder.flush(), waiting, before)


def words(record: Record) -> list[list[Spelled]]:
    """The same without a tokenizer: the words of a document, or who speaks and what is said in each conversation."""
    if isinstance(record, Document):
        return [[Spelled(word + " ", (), True) for word in record.text.split(" ")]]
    return [
        [part for message in one.messages for part in _spoken(message.role, message.content, message.learned)]
        for one in conversations(record)
    ]


def _rest(text: str, ids: Sequence[int], learned: bool) -> list[Spelled]:
    """What the decoder held back, or nothing where it held nothing."""
    return [Spelled(text, tuple(ids), learned)] if text or ids else []


def _spoken(role: str, content: str, learned: bool) -> list[Spelled]:
    return [Spelled(f"{role}: ", (), False), Spelled(content, (), learned), Spelled("\n", (), False)]
