"""Prompts with the name of a grader in `tasks/` and its answer: `{"prompt", "grader": "contains", "answer": {...}}`."""

from dataclasses import replace
from typing import Any

from chatwright import registry
from chatwright.data.formats import fields, prompt_only, turns
from chatwright.errors import DataError
from chatwright.text.records import Problem, Record

KIND = "problems"
# An answer may have a `value` of its own, which is none of ShareGPT's.
COLUMNS = {"prompt": ("prompt",), "system": ("system",), "grader": ("grader",), "answer": ("answer",), **turns.OPENAI}
INSTEAD_OF = ("prompt_only",)
DEEPEST = 50


def matches(row: dict[str, Any]) -> bool:
    """Whether the row has a prompt that nothing answers, and says how an answer is graded."""
    return prompt_only.matches(row) and isinstance(row.get("grader"), str) and "answer" in row


def parse(row: dict[str, Any], columns: fields.Columns) -> Record:
    """The row as a Problem whose answer its grader can use."""
    asked = prompt_only.parse(row, columns)
    assert isinstance(asked, Problem)
    grader, column = fields.text(row, columns.get("grader", "grader")), columns.get("answer", "answer")
    given = fields.present(row, column)
    if not isinstance(given, dict):
        raise DataError(f"{column!r} is {fields.kind_of(given)}; it must be an object")
    answer = {name: value for name, value in given.items() if value is not None}  # a Parquet file has all names in all
    if fields.is_deep([answer], DEEPEST):
        raise DataError(f"{column!r} is nested more than {DEEPEST} levels deep")
    _try(grader, answer)
    return replace(asked, grader=grader, answer=answer)


def _try(grader: str, answer: dict[str, Any]) -> None:
    """Grades an empty reply, which shows whether the grader can use the answer; raises DataError where it cannot."""
    tasks = registry.names("tasks")
    if grader not in tasks:
        known = [name for name in tasks if _grades(name)]
        near = registry.suggestion(grader, known)
        raise DataError(f"there is no grader {grader!r}{near}; known: {', '.join(known)}")
    if not _grades(grader):
        raise DataError(f"{grader!r} asks questions and grades none; name the grader of their answers")
    try:
        registry.load("tasks", grader).grade("", answer)
    except DataError as error:
        raise DataError(f"the grader {grader} cannot use the answer: {error}") from None


def _grades(task: str) -> bool:
    """Whether a task is a grader; others only ask questions."""
    return "grade" in vars(registry.load("tasks", task))
