"""The judge of `compare`: its graders or a reward model, found before any model is asked."""

from collections.abc import Callable
from typing import Literal

from chatwright.checkpoint import read_json
from chatwright.data import source
from chatwright.data.split import split
from chatwright.errors import ConfigError, DataError
from chatwright.evals import judging
from chatwright.evals.compare import Comparison
from chatwright.evals.winrate import Agreement, Judge, WinRate
from chatwright.generate.judge import RewardModel
from chatwright.text.records import Preference
from chatwright.train.card import METADATA

GRADER = "grader"
Part = Literal["all", "validation", "test"]
Judging = Callable[[Comparison], list[WinRate]]


def judge_of(name: str | None, data: str | None, part: Part, device: str, *, graded: bool) -> Judging:
    """What makes the win rates of a comparison: none without a name. Raises ConfigError and DataError.

    A reward model is held against the labelled pairs of `data` at once; without any, what its training measured counts.
    `graded`: whether graded questions are asked.
    """
    if data is not None and name in (None, GRADER):
        raise ConfigError("--judge-data holds a reward model against labelled pairs; give its folder with --judge")
    if name is None:
        return lambda comparison: []
    if name == GRADER:
        if not graded:
            raise ConfigError("--judge grader needs graded questions; give --task primer")
        return judging.by_grader
    pairs = [] if data is None else _pairs(data, part)
    model = RewardModel.load(name, device)
    where = data if part == "all" else f"{data}, {part}"
    held = judging.agreement_with(pairs, model.score, str(where)) if pairs else _in_training(model)
    return lambda comparison: judging.by_model(comparison, model.score, Judge(name, held))


def _in_training(model: RewardModel) -> Agreement | None:
    """How often the model was right on the pairs that its training held out, where that was written down."""
    folder = model.checkpoint.folder
    told = read_json(folder / METADATA) if folder is not None and (folder / METADATA).is_file() else {}
    agreed, count = told.get("held_out_agreed"), told.get("held_out_pairs")
    if not isinstance(agreed, int | float) or not isinstance(count, int) or not 0 <= agreed <= count or not count:
        return None
    return Agreement(float(agreed), count, f"{told.get('dataset') or 'its own data'}, held out in its training")


def _pairs(data: str, part: Part) -> list[Preference]:
    records = source.read(data, kind="preferences").records
    pairs = [record for record in records if isinstance(record, Preference)]
    if not pairs:
        raise DataError(f"--judge-data {data} has no pairs of a better and a worse answer; give preferences")
    if part != "all":
        parts = split(pairs)
        held_out = parts.test if part == "test" else parts.validation
        pairs = [record for record in held_out if isinstance(record, Preference)]
        if not pairs:
            raise DataError(f"--judge-data {data}: its {part} split is empty; give more pairs, or --judge-split all")
    return pairs
