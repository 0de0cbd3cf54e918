"""Two ways to answer one prompt, out of whatever a row gives: two answers, or two conversations that part somewhere."""

from collections.abc import Sequence
from typing import Any

from chatwright.data.formats import fields, turns
from chatwright.errors import DataError
from chatwright.text.records import Conversation, Message, Preference

SIDES = {"chosen": ("chosen",), "rejected": ("rejected",)}


def are_in(row: dict[str, Any]) -> bool:
    """Whether the row has two sides."""
    return all(isinstance(row.get(side), str | list | dict) for side in SIDES)


def is_continued(row: dict[str, Any]) -> bool:
    """Whether the row has two single answers: what stands beside them is then their prompt and no conversation."""
    return all(isinstance(row.get(side), str | dict) for side in SIDES)


def preference(prompt: Sequence[Message], row: dict[str, Any], columns: fields.Columns) -> Preference:
    """The two sides of a row after their prompt; a side that begins with the user's turn is the whole conversation."""
    chosen, rejected = (_whole(prompt, row, columns.get(side, side), columns) for side in SIDES)
    return compared(chosen, rejected)


def compared(chosen: Sequence[Message], rejected: Sequence[Message]) -> Preference:
    """Two conversations as a Preference: its prompt is what both say, its answers are the first that differ.

    Turns after these answer different things and cannot be compared. DataError where nothing is common.
    """
    sides = (("chosen", chosen), ("rejected", rejected))
    for side, messages in sides:
        if all(message.role != "assistant" for message in messages):
            raise DataError(f"{side} has no answer; one of its messages must be the assistant's")
    shared = 0
    while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
        shared += 1
    if not shared:
        raise DataError("chosen and rejected have no message in common, and the row has no prompt")
    for side, messages in sides:
        if messages[shared].role != "assistant":
            raise DataError(
                f"message {shared + 1} of {side} ({messages[shared].role}) is the first that differs; "
                "it must be the assistant's"
            )
    return Preference(Conversation(tuple(chosen[: shared + 1])), Conversation(tuple(rejected[: shared + 1])))


def beginning(chosen: str, rejected: str) -> str:
    """The whole words that both texts begin with: TRL's implicit prompt."""
    shortest = min(len(chosen), len(rejected))
    common = next((n for n, (one, other) in enumerate(zip(chosen, rejected, strict=False)) if one != other), shortest)
    end = max(chosen.rfind(space, 0, common) for space in " \n\t")
    return chosen[:end].rstrip() if end > 0 else ""


def implicit(chosen: str, rejected: str) -> Preference:
    """Two texts without a prompt of their own. DataError where they begin differently."""
    prompt = beginning(chosen, rejected)
    if not prompt.strip():
        raise DataError("chosen and rejected have no beginning in common, and the row has no prompt")
    user = Message("user", prompt)
    sides = (Message("assistant", text[len(prompt) :].strip()) for text in (chosen, rejected))
    first, second = (Conversation((user, side)) for side in sides)
    return Preference(first, second)


def _whole(prompt: Sequence[Message], row: dict[str, Any], column: str, columns: fields.Columns) -> list[Message]:
    """One side of a row with its prompt before it."""
    value = fields.present(row, column)
    if isinstance(value, str):
        return [*prompt, Message("assistant", value)]
    found = turns.listed(value, column, columns)
    has_prompt = found[0].role in ("system", "user") and not (prompt and prompt[-1].role == "assistant")
    if not has_prompt:
        return [*prompt, *found]
    # the prompt is in it, but for a system text that stands in a column of its own
    system = [message for message in prompt if message.role == "system"]
    return found if found[0].role == "system" else [*system, *found]
