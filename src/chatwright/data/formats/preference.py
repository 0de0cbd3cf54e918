"""TRL's preference rows: `{"prompt", "chosen", "rejected"}`, texts or lists of messages, or the two without a prompt.

Without one, the prompt is what both sides begin with. A prompt may also be Alpaca's instruction and input, or be called
`question`, and have a `system` text beside it.
"""

from typing import Any

from chatwright.data.formats import alpaca, fields, pairs, turns
from chatwright.text.records import Message, Record

KIND = "preferences"
COLUMNS = {"prompt": ("prompt", "question"), **alpaca.QUESTION, **pairs.SIDES, **turns.COLUMNS}
TALKS = ("messages", "conversations", "conversation")  # with single answers beside them: sharegpt_preference


def matches(row: dict[str, Any]) -> bool:
    """Whether the row has two sides and a prompt for them, its own or the one that both begin with."""
    if not pairs.are_in(row) or (pairs.is_continued(row) and any(turns.is_list(row.get(talk)) for talk in TALKS)):
        return False
    if fields.has(row, COLUMNS, "prompt") or "instruction" in row:
        return True
    chosen, rejected = row["chosen"], row["rejected"]
    if isinstance(chosen, str) and isinstance(rejected, str):
        return bool(pairs.beginning(chosen, rejected).strip())
    return turns.is_list(chosen) and turns.is_list(rejected)


def parse(row: dict[str, Any], columns: fields.Columns) -> Record:
    """The row as a Preference."""
    prompt = _prompt(row, columns)
    chosen, rejected = (row.get(columns.get(side, side)) for side in pairs.SIDES)
    if isinstance(chosen, str) and isinstance(rejected, str) and not prompt:
        return pairs.implicit(chosen, rejected)
    return pairs.preference(prompt, row, columns)


def _prompt(row: dict[str, Any], columns: fields.Columns) -> list[Message]:
    """The messages before the answers, as far as the row has them apart from these."""
    column = fields.name(row, columns, COLUMNS, "prompt")
    value = row.get(column)
    if value is None:
        asks = columns.get("instruction", "instruction") in row
        return alpaca.prompt(row, columns) if asks else turns.system(row, columns.get("system", "system"))
    system = turns.system(row, columns.get("system", "system"))
    return [*system, *turns.prompt(value, column, columns)]
