"""Judges at work on a comparison: the graders of its questions, or a reward model that reads every answer.

In comes a `Comparison`, out come the win rates of each later model against the first.
"""

from collections.abc import Callable, Sequence

from chatwright.evals.compare import Comparison, Evaluation
from chatwright.evals.prompts import NO_ANSWER, Prompt
from chatwright.evals.winrate import GRADER, Agreement, Judge, Judged, WinRate, agreement, win_rate
from chatwright.text.records import Conversation, Preference

Score = Callable[[Sequence[Conversation]], Sequence[float]]  # conversations that end with an answer -> how good it is


def by_grader(comparison: Comparison) -> list[WinRate]:
    """Each graded question is won by the answer with the higher grade; prompts without a grader do not count."""
    return _against_first([_graded(one) for one in comparison.evaluations], Judge(GRADER))


def by_model(comparison: Comparison, score: Score, judge: Judge) -> list[WinRate]:
    """Every answer counts, those to graded questions too, and each in the conversation that the model itself had."""
    prompts = comparison.examination.prompts
    return _against_first([_scored(one, prompts, score) for one in comparison.evaluations], judge)


def agreement_with(pairs: Sequence[Preference], score: Score, data: str) -> Agreement:
    """How often the judge prefers what was labelled the better answer."""
    return agreement(score([one.chosen for one in pairs]), score([one.rejected for one in pairs]), data)


def _against_first(judged: Sequence[Judged], judge: Judge) -> list[WinRate]:
    first, *others = judged
    return [win_rate(first, other, judge) for other in others]


def _graded(evaluation: Evaluation) -> Judged:
    rows = [row for score in evaluation.scores.values() for row in score.rows]
    return Judged(evaluation.name, tuple(row.completion.text for row in rows), tuple(row.grade for row in rows))


def _scored(evaluation: Evaluation, prompts: Sequence[Prompt], score: Score) -> Judged:
    asked = [
        prompt.history([answer.text for answer in answers[:turn]])
        for prompt, answers in zip(prompts, evaluation.answers, strict=True)
        for turn in range(len(answers))
    ]
    asked += [row.problem.prompt for one in evaluation.scores.values() for row in one.rows]
    texts = [completion.text for completion in evaluation.completions]
    said = [one.add("assistant", text if text.strip() else NO_ANSWER) for one, text in zip(asked, texts, strict=True)]
    return Judged(evaluation.name, tuple(texts), tuple(score(said)))
