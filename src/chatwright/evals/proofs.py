"""Proofs: what a run sets out to show, whether it holds, and the sentence that says so.

In come examples, conversations, a saved model or evaluations; out comes a `Proof` for each and `proofs.json`. A red one
leaves the model saved and ends the command with exit 6. (The sanity proof needs the trainer and is made there.)
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from chatwright import disk
from chatwright.errors import DataError
from chatwright.text.records import Conversation
from chatwright.text.template import Example

if TYPE_CHECKING:
    from chatwright.evals.compare import Change, Evaluation
    from chatwright.evals.health import Health

State = Literal["green", "red", "warning", "not comparable", "not run"]
STATES: tuple[str, ...] = get_args(State)
FILE = "proofs.json"
STOP_RATE_WANTED = 0.9
SHOWN = 5  # offenders that a sentence names


@dataclass(frozen=True)
class Proof:
    """One thing shown: its state, the sentence that says it, and the figures behind the sentence."""

    name: str
    state: State
    says: str
    figures: dict[str, Any] = field(default_factory=dict)


def write(folder: Path, proofs: Iterable[Proof]) -> None:
    """`proofs.json` in `folder`, whole or not at all."""
    disk.write_json(folder / FILE, {"proofs": [asdict(proof) for proof in proofs]})


def load(folder: Path) -> list[Proof]:
    """The proofs that were written; none when there is no file. Raises DataError for a broken one."""
    path = folder / FILE
    if not path.exists():
        return []
    try:
        proofs = [Proof(**row) for row in json.loads(path.read_text(encoding="utf-8"))["proofs"]]
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}: is no list of proofs ({error}); remove it and run again") from None
    for proof in proofs:
        if proof.state not in STATES:
            raise DataError(f"{path}: {proof.name} has the state {proof.state!r}; known are {', '.join(STATES)}")
    return proofs


def any_red(proofs: Iterable[Proof]) -> bool:
    """Whether the command has to end with exit 6."""
    return any(proof.state == "red" for proof in proofs)


def mask_proof(lengths: Sequence[int], learned: Sequence[int], listed: Collection[int] = ()) -> Proof:
    """Something is learned, and every row from which nothing is learned was listed (`listed`: row numbers from 0).

    lengths: ids of each row; learned: how many of them are.
    """
    without = [row for row, count in enumerate(learned) if not count]
    unlisted = sorted(set(without) - set(listed))
    tokens, taught = int(sum(lengths)), int(sum(learned))
    per_row = [int(value) for value in (min(learned), statistics.median(learned), max(learned))] if len(learned) else []
    figures: dict[str, Any] = {
        "rows": len(learned),
        "tokens": tokens,
        "learned": taught,
        "learned_per_row": per_row,
        "rows_without": len(without),
        "rows_without_not_listed": unlisted[:SHOWN],
    }
    if not taught:
        return Proof("mask", "red", f"None of the {tokens:,} tokens in {len(learned):,} rows is learned.", figures)
    if unlisted:
        named = ", ".join(map(str, unlisted[:SHOWN]))
        says = f"{len(unlisted):,} rows teach nothing and are not listed: {named} (from 0)."
        return Proof("mask", "red", says, figures)
    says = f"{taught:,} of {tokens:,} tokens are learned ({taught / tokens:.0%}), {per_row[0]:,} to {per_row[2]:,} in a row"
    left_out = f"; {len(without):,} rows teach nothing and are listed" if without else ""
    return Proof("mask", "green", f"{says}{left_out}.", figures)


def stop_proof(answers: int, without: Sequence[str], *, truncated: int = 0, measured: Health | None = None) -> Proof:
    """The end of every assistant turn is learned; cut rows are counted, not judged.

    answers: in whole rows; without: file:line of those whose end token is missing or has mask 0, which is red; truncated:
    rows that lost the end of an answer. `measured` is the finished model's chat health: a share of stopping under 90 %
    is a warning.
    """
    figures: dict[str, Any] = {"turns": answers, "turns_without": len(without), "truncated_rows": truncated}
    cut = f"; {truncated:,} rows were truncated" if truncated else ""
    if without:
        named = ", ".join(list(dict.fromkeys(without))[:SHOWN])
        says = f"{len(without):,} of {answers:,} answers do not teach their end, in {named}{cut}."
        return Proof("stop", "red", says, figures)
    if not answers:
        return Proof("stop", "not run", f"There is no whole assistant turn to look at{cut}.", figures)
    says = f"The end of {f'all {answers:,} answers' if answers > 1 else 'the one answer'} is learned{cut}"
    if measured is None:
        return Proof("stop", "green", f"{says}.", figures)
    return with_measured(Proof("stop", "green", f"{says}.", figures), measured)


def with_measured(stop: Proof, measured: Health) -> Proof:
    """The stop proof with how often the finished model really stops; a rate under 90 % is a warning, never red."""
    figures = {**stop.figures, "measured": measured.n, "stop_rate": measured.stop_rate}
    says = f"{stop.says.rstrip('.')}; {measured.stop_rate:.1%} of {measured.n:,} replies stop by themselves."
    weak = stop.state == "green" and measured.stop_rate < STOP_RATE_WANTED
    return Proof("stop", "warning" if weak else stop.state, says, figures)


def parity_proof(
    folder: Path,
    conversations: Sequence[Conversation],
    trained: Sequence[Example] | None = None,
    *,
    now: datetime | None = None,
) -> Proof:
    """The chatbot's prompt, and the exported template's, are exactly what training saw before every answer.

    `trained` are the whole (not truncated) examples of these conversations, by default made anew with the saved
    model's own template. now: the time that the template told in training, where it tells one; all three tell the same
    here. Raises DataError for a folder that cannot be read.
    """
    from chatwright import checkpoint
    from chatwright.evals.exported import Exported

    tokenizer, template = checkpoint.load_text(folder)  # what a chatbot renders with, without its weights
    template = template if now is None else template.at(now)
    exported = Exported(checkpoint.find(folder), now=template.now)
    figures = {"conversations": len(conversations), "answers": 0, "ids": 0, "spell_a_token": 0}
    for row, conversation in enumerate(conversations):
        seen = (trained[row] if trained is not None else template.render(conversation, tokenizer)).ids
        for k, message in enumerate(conversation.messages):
            if message.role != "assistant":
                continue
            before = conversation[:k]
            fed = template.render(before, tokenizer, reply=True).ids
            figures["answers"] += 1
            figures["ids"] += len(fed)
            wrong = _first_difference("the chatbot", fed, seen[: len(fed)])
            if exported.spells_token(before):
                figures["spell_a_token"] += 1
            elif not wrong:
                wrong = _exported_differs(exported, before, fed)
            if wrong:
                return Proof("parity", "red", f"Row {row} (from 0), message {k + 1}: {wrong}.", figures)
    if not figures["answers"]:
        return Proof("parity", "not run", "There is no assistant turn to compare.", figures)
    return Proof("parity", "green", _same_says(figures), figures)


def before_after_proof(stages: Mapping[str, Evaluation | None], *, consecutive: bool = False) -> Proof:
    """Every stage answered the same prompts and problems with the same seeds and decoding.

    Red when one did not, or was not evaluated at all. Where a later stage is worse than the first beyond chance (with
    `consecutive`, than the one before it), the proof is a warning and says at what.
    """
    from chatwright.evals.compare import changes

    missing = [name for name, evaluation in stages.items() if evaluation is None]
    done = {name: evaluation for name, evaluation in stages.items() if evaluation is not None}
    figures: dict[str, Any] = {"settings": {name: evaluation.fingerprint for name, evaluation in done.items()}}
    if missing:
        return Proof(
            "before/after", "red", f"{_listed(missing)} {'were' if len(missing) > 1 else 'was'} not evaluated.", figures
        )
    if len(done) < 2:
        return Proof("before/after", "not run", "There is only one model, so nothing to compare it with.", figures)
    first, *later = done.values()
    other = [evaluation.name for evaluation in later if evaluation.fingerprint != first.fingerprint]
    if other:
        says = f"{_listed(other)} answered under other prompts, seeds or decoding than {first.name}."
        return Proof("before/after", "red", says, figures)
    pairs = pairwise(done.values()) if consecutive else ((first, evaluation) for evaluation in later)
    found = [change for before, after in pairs for change in changes(before, after)]
    worse = [change for change in found if change.worse]
    figures["worse"] = [f"{change.second}: {change.what}" for change in worse]
    says = f"{_listed(list(done))} gave {len(first.completions):,} replies each, with the same seeds and decoding"
    if worse:
        return Proof("before/after", "warning", f"{says}; worse: {'; '.join(map(_worse, worse))}.", figures)
    return Proof("before/after", "green", f"{says}; none became worse beyond chance.", figures)


def _listed(names: Sequence[str]) -> str:
    """`base, sft and dpo`."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _same_says(figures: Mapping[str, int]) -> str:
    says = (
        f"Chatbot and exported template feed the model exactly what training saw, "
        f"{figures['ids']:,} ids before {figures['answers']:,} answers"
    )
    spelled = figures["spell_a_token"]
    left_out = f"; {spelled:,} prompts that spell a control token are not compared with the template" if spelled else ""
    return f"{says}{left_out}."


def _exported_differs(exported: Any, before: Conversation, fed: list[int]) -> str:
    try:
        return _first_difference("the exported template", exported.prompt(_as_answered(before)), fed)
    except DataError as error:
        return str(error)


def _as_answered(conversation: Conversation) -> Conversation:
    """Earlier answers as a chatbot gives them: without white space at their ends."""
    answers = [m if m.role != "assistant" else replace(m, content=m.content.strip()) for m in conversation.messages]
    return Conversation(tuple(answers), conversation.source)


def _first_difference(who: str, got: Sequence[int], wanted: Sequence[int]) -> str:
    """`""` when equal, else where the two part."""
    if list(got) == list(wanted):
        return ""
    place = next((i for i, (a, b) in enumerate(zip(got, wanted, strict=False)) if a != b), min(len(got), len(wanted)))
    said, right = (ids[place] if place < len(ids) else "the end" for ids in (got, wanted))
    return f"{who} feeds id {said} where {right} belongs, at place {place}"


def _worse(change: Change) -> str:
    """`never asked (sft: -4.0 points, 95 % -7.0 to -1.0)`."""
    points = [100 * value for value in (change.difference.value, change.difference.low, change.difference.high)]
    return f"{change.what} ({change.second}: {points[0]:+.1f} points, 95 % {points[1]:+.1f} to {points[2]:+.1f})"
