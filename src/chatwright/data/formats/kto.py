"""Rows with one answer that was found good or bad: TRL's `{"prompt", "completion", "label": true}`.

Also LLaMA-Factory's `kto_tag` beside `conversations`, beside `messages`, or beside instruction, input and output.
"""

from typing import Any

from chatwright.data.formats import alpaca, fields, prompt_completion, turns
from chatwright.errors import DataError
from chatwright.text.records import Conversation, Message, Rated, Record

KIND = "rated"
COLUMNS = {
    "label": ("label", "kto_tag"),
    "conversations": ("conversations", "messages", "conversation"),
    **prompt_completion.EXCHANGE,
    **alpaca.COLUMNS,
}


def matches(row: dict[str, Any]) -> bool:
    """Whether the row has an answer with its question and a label. Which labels are none, `parse` says."""
    if "kto_tag" in row or fields.is_flag(row.get("label")):
        talks = any(turns.is_list(row.get(column)) for column in COLUMNS["conversations"])
        return talks or ("instruction" in row and "output" in row) or _is_exchange(row)
    return "label" in row and _is_exchange(row)


def parse(row: dict[str, Any], columns: fields.Columns) -> Record:
    """The row as a Rated."""
    good = fields.flag(row, fields.name(row, columns, COLUMNS, "label"))
    conversation = Conversation(tuple(_messages(row, columns)))
    last = conversation.messages[-1].role
    if last != "assistant":
        raise DataError(f"the conversation ends with {last}, not assistant, so there is nothing to rate")
    return Rated(conversation, good)


def _is_exchange(row: dict[str, Any]) -> bool:
    return "prompt" in row and fields.has(row, COLUMNS, "completion")


def _messages(row: dict[str, Any], columns: fields.Columns) -> list[Message]:
    """The conversation, by the first of the three shapes whose column is there."""
    talk = fields.name(row, columns, COLUMNS, "conversations")
    if row.get(talk) is not None:
        system = turns.system(row, columns.get("system", "system"))
        return [*system, *turns.listed(fields.items(row, talk), talk, columns)]
    if columns.get("prompt", "prompt") in row:
        prompt, completion = prompt_completion.exchange(row, columns)
        return [*prompt, *completion]
    output = fields.name(row, columns, alpaca.COLUMNS, "output")
    return [*alpaca.prompt(row, columns), Message("assistant", fields.text(row, output))]
