"""UltraFeedback's rows: `{"instruction", "completions": [{"response", "overall_score"}, ...]}`, best against worst.

Also those of its binarised edition, `{"prompt", "chosen": [...], "rejected": [...], "score_chosen", "score_rejected"}`.
"""

import math
from typing import Any

from chatwright.data.formats import fields, pairs, turns
from chatwright.errors import DataError, LeftOut
from chatwright.text.records import Conversation, Message, Preference, Record

KIND = "preferences"
COLUMNS = {
    "instruction": ("instruction",),
    "completions": ("completions",),
    "response": ("response",),
    "overall_score": ("overall_score",),
    **pairs.SIDES,
    "score_chosen": ("score_chosen",),
    "score_rejected": ("score_rejected",),
    **turns.OPENAI,
}
INSTEAD_OF = ("preference", "messages")


def matches(row: dict[str, Any]) -> bool:
    """Whether the row has scored completions, or two scored conversations."""
    scored = "score_chosen" in row and "score_rejected" in row
    if scored and all(turns.is_list(row.get(side)) for side in pairs.SIDES):
        return True
    return "instruction" in row and "overall_score" in fields.first_item(row, "completions")


def parse(row: dict[str, Any], columns: fields.Columns) -> Record:
    """The row as a Preference. LeftOut where no completion is better than another."""
    column = columns.get("completions", "completions")
    if column not in row:
        return _binarised(row, columns)
    found = [_scored(item, columns, n) for n, item in enumerate(fields.items(row, column), start=1)]
    if len(found) < 2:
        raise LeftOut(f"{column!r} has {len(found)} completions; two are needed to compare them")
    best, worst = max(found, key=lambda one: one[0]), min(found, key=lambda one: one[0])
    if best[0] == worst[0]:
        raise LeftOut(f"all completions have the score {best[0]:g}, so none is the better one")
    user = Message("user", fields.text(row, columns.get("instruction", "instruction")))
    first, second = (Conversation((user, Message("assistant", response))) for _, response in (best, worst))
    return Preference(first, second)


def _scored(item: Any, columns: fields.Columns, number: int) -> tuple[float, str]:
    """Score and text of one completion."""
    if not isinstance(item, dict):
        raise DataError(f"completion {number} is {fields.kind_of(item)}; it must be an object")
    try:
        score = _score(item, columns.get("overall_score", "overall_score"))
        return score, fields.text(item, columns.get("response", "response"))
    except DataError as error:
        raise DataError(f"completion {number}: {str(error).replace('the row has', 'it has', 1)}") from None


def _binarised(row: dict[str, Any], columns: fields.Columns) -> Record:
    """The two sides as they are named; a score that says the opposite is an error."""
    chosen, rejected = (_score(row, columns.get(name, name)) for name in ("score_chosen", "score_rejected"))
    if chosen < rejected:
        raise DataError(f"chosen has the score {chosen:g}, less than the {rejected:g} of rejected")
    return pairs.preference([], row, columns)


def _score(row: dict[str, Any], column: str) -> float:
    value = fields.present(row, column)
    try:
        score = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        score = math.nan
    if not math.isfinite(score):
        raise DataError(f"{column!r} is {fields.kind_of(value)}; it must be a number")
    return score
