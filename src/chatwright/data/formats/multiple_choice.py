"""Multiple choice: ARC's rows (`choices` with `text` and `label`, `answerKey`), MMLU's (a list of `choices`, `answer`).

MMLU's tables have the options in columns A, B, C, D instead. Options are lettered anew, in their order, since some rows
number them; an answer that is a whole number counts a list of choices from 0, as MMLU does.
"""

from collections.abc import Mapping
from string import ascii_uppercase
from typing import Any

from chatwright.data.formats import fields
from chatwright.errors import DataError
from chatwright.text.records import Problem, Record, conversation

KIND = "problems"
LETTERS = ascii_uppercase[:8]
COLUMNS = {
    "question": ("question",),
    "choices": ("choices",),
    "answer": ("answer", "answerKey"),
    "text": ("text",),
    "label": ("label",),
    **{letter: (letter,) for letter in LETTERS},
}


def matches(row: dict[str, Any]) -> bool:
    """Whether the row has a question, options in one of the three shapes, and an answer."""
    choices = row.get("choices")
    lettered = "A" in row and "B" in row
    listed = isinstance(choices, list) or (isinstance(choices, dict) and "text" in choices)
    return isinstance(row.get("question"), str) and (listed or lettered) and fields.has(row, COLUMNS, "answer")


def parse(row: dict[str, Any], columns: fields.Columns) -> Record:
    """The row as a Problem: the question with its options, one a line."""
    question = fields.text(row, columns.get("question", "question"))
    labels, texts = _options(row, columns)
    if not 2 <= len(texts) <= len(LETTERS):
        raise DataError(f"the question has {len(texts)} options; it must have 2 to {len(LETTERS)}")
    if len(set(labels)) < len(labels) or len(set(texts)) < len(texts) or not all(text.strip() for text in texts):
        raise DataError("an option is blank or there twice; each must have a label and a text of its own")
    right = _right(row, columns, labels)
    options = dict(zip(LETTERS, texts, strict=False))
    lines = "\n".join(f"{letter}. {text}" for letter, text in options.items())
    return Problem(conversation(f"{question}\n{lines}"), "choice", {"letter": LETTERS[right], "options": options})


def _options(row: dict[str, Any], columns: fields.Columns) -> tuple[list[str], list[str]]:
    """The labels of the options, and their texts."""
    column = columns.get("choices", "choices")
    present = {letter: columns.get(letter, letter) for letter in LETTERS if columns.get(letter, letter) in row}
    if column not in row and present:
        texts = {letter: fields.optional_text(row, name) for letter, name in present.items()}
        given = [letter for letter, text in texts.items() if text]  # a table leaves the last ones empty
        return given, [texts[letter] for letter in given]
    choices = fields.present(row, column)
    if isinstance(choices, dict):
        labels, texts_in_order = (_texts(choices, columns.get(name, name)) for name in ("label", "text"))
        if len(labels) != len(texts_in_order):
            raise DataError(
                f"{column!r} has {len(labels)} labels and {len(texts_in_order)} texts; both must be as many"
            )
        return labels, texts_in_order
    texts_in_order = _texts(row, column)
    return list(LETTERS[: len(texts_in_order)]), texts_in_order


def _texts(row: Mapping[str, Any], column: str) -> list[str]:
    """A list of texts."""
    found = fields.present(row, column)
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise DataError(f"{column!r} is {fields.kind_of(found)}; it must be a list of texts")
    return found


def _right(row: dict[str, Any], columns: fields.Columns, labels: list[str]) -> int:
    """Which option is right: its label, or its number from 0 where the options are a list."""
    column = fields.name(row, columns, COLUMNS, "answer")
    value = fields.present(row, column)
    counted = isinstance(row.get(columns.get("choices", "choices")), list)
    if isinstance(value, int) and counted and not isinstance(value, bool):
        if 0 <= value < len(labels):
            return value
    elif isinstance(value, str | int) and str(value).strip() in labels:
        return labels.index(str(value).strip())
    counts = f", or 0 to {len(labels) - 1}" if counted else ""
    raise DataError(f"{column!r} is {fields.kind_of(value)}; it must be one of {', '.join(labels)}{counts}")
