"""What comes out of the engine: news of a sequence token by token, and what it became in the end."""

from dataclasses import dataclass
from typing import Literal, get_args

# stop: the end-of-turn token came by itself; string: a stop string; length: max_tokens; context: the window is full
Finish = Literal["stop", "string", "length", "context", "cancelled"]
FINISHES: tuple[str, ...] = get_args(Finish)


@dataclass(frozen=True)
class Token:
    """A token that was chosen, with its log-probability and the likeliest ones in its place, as (id, log-probability).

    All are the model's own, before temperature, penalties and cuts.
    """

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Completion:
    """What a sequence became: the new ids, their text, and why it ended.

    `end` is the token that ended it, if one did, and no part of the ids. `reused` counts the tokens of the prompt whose
    keys and values were still there from an earlier sequence.
    """

    ids: tuple[int, ...]
    text: str
    finish: Finish
    end: int | None = None
    reused: int = 0


@dataclass(frozen=True)
class Piece:
    """News of one sequence: text that may be shown now (often empty), and the completion when it has ended.

    `tokens` are those of this step, where the sequence asked for log-probabilities; their text may still be held back.
    """

    sequence: int
    text: str
    completion: Completion | None = None
    tokens: tuple[Token, ...] = ()
