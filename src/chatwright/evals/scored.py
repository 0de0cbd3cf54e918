"""Proofs of a reward model: every score is read at an answer's end, and the judge reads the ids that training saw."""

from collections.abc import Sequence
from pathlib import Path

import numpy

from chatwright.data.examples import Examples
from chatwright.evals.proofs import Proof
from chatwright.generate.judge import RewardModel
from chatwright.text.pieces import Example
from chatwright.text.records import Conversation


def mask_proof(examples: Examples, stop_ids: Sequence[int]) -> Proof:
    """Every answer that is scored ends with the end of its turn, which is the one id that the loss looks at."""
    last = numpy.zeros(len(examples), dtype=numpy.int64)
    for number, tokens in enumerate(examples.tokens):
        here = examples.files == number
        last[here] = tokens.ids[examples.ends[here] - 1]
    without = numpy.flatnonzero(~numpy.isin(last, stop_ids))
    figures = {"answers": len(examples), "without_end": len(without)}
    if len(without):
        says = f"{len(without):,} of {len(examples):,} answers are scored where their turn does not end; the first is {without[0]}"
        return Proof("mask", "red", f"{says} (from 0).", figures)
    says = f"Each of the {len(examples):,} answers is scored at the end of its turn, and nowhere else."
    return Proof("mask", "green", says, figures)


def parity_proof(folder: Path, conversations: Sequence[Conversation], trained: Sequence[Example]) -> Proof:
    """A judge that is loaded from the folder reads exactly the ids of these conversations that training saw."""
    judge = RewardModel.load(folder, device="cpu")
    figures = {"answers": len(conversations), "ids": sum(len(one.ids) for one in trained)}
    for row, (conversation, example) in enumerate(zip(conversations, trained, strict=True)):
        if judge.ids(conversation) != example.ids:
            says = f"The judge reads other ids of row {row} (from 0) than training saw."
            return Proof("parity", "red", says, figures)
    if not conversations:
        return Proof("parity", "not run", "There is no answer to compare.", figures)
    says = f"The judge reads exactly what training saw, {figures['ids']:,} ids of {figures['answers']:,} answers."
    return Proof("parity", "green", says, figures)
