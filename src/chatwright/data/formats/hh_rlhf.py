"""HH-RLHF's rows: `{"chosen": "\\n\\nHuman: Hi\\n\\nAssistant: Hello!", "rejected": "\\n\\nHuman: ..."}` (Bai et al., 2022)."""

import re
from typing import Any

from chatwright.data.formats import fields, pairs, turns
from chatwright.text.records import Record

KIND = "preferences"
COLUMNS = pairs.SIDES
INSTEAD_OF = ("preference",)
LABEL = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")


def matches(row: dict[str, Any]) -> bool:
    """Whether both sides begin with the human's label."""
    return all(isinstance(row.get(side), str) and row[side].lstrip().startswith("Human:") for side in pairs.SIDES)


def parse(row: dict[str, Any], columns: fields.Columns) -> Record:
    """The row as a Preference."""
    chosen, rejected = (turns.labelled(fields.text(row, columns.get(side, side)), LABEL) for side in pairs.SIDES)
    return pairs.compared(chosen, rejected)
