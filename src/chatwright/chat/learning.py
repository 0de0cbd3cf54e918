"""`/train`: what was corrected becomes a short run of `sft`, of `dpo`, or of both, beside the model that was talked to.

A handful of rows makes a model forget the rest within twenty steps: whatever it is asked, it gives the corrected answer.
So its own answers to other questions (`rehearsal.py`) are learned beside them. Every run begins with the model that the
chat was opened with and learns all that was ever corrected of it, so that runs do not pile up on each other.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatwright import console
from chatwright.chat import rehearsal
from chatwright.chat.adapters import NONE
from chatwright.chat.feedback import Feedback
from chatwright.chat.session import Session
from chatwright.errors import ConfigError
from chatwright.generate.completion import Completion
from chatwright.text.records import Conversation
from chatwright.train.signals import Interrupted

STEPS, RATE, ROWS, RANK = 60, 1e-3, 8, 8
CORRECTED = 0.25  # share of what is learned that are corrections
HOLDS = 1.0  # weight of the preferred answer's own loss: compared alone, both answers become unlikely
INTERRUPTED = 130  # exit code of a run that Ctrl-C ended; another was told to end for good


@dataclass(frozen=True)
class Lesson:
    """One run: its verb, the file of corrections, what is rehearsed beside them, and the folder it goes to."""

    verb: str
    corrected: Path
    rehearsed: Path
    rows: int
    out: Path


def train(session: Session, steps: int = STEPS) -> str:
    """Learns, lets the result answer from then on, and says what changed.

    Raises ConfigError where nothing was corrected yet. Ctrl-C ends it; the conversation is then as it was.
    """
    feedback = session.feedback
    lessons = _lessons(feedback)
    if not lessons:
        raise ConfigError("there is nothing to learn yet; /fix puts an answer right, /better gives a better one")
    wanted = [feedback.rows(lesson.corrected)[-1] for lesson in lessons]  # the newest of each
    done: list[Lesson] = []
    try:
        before = _answers(session, wanted)
        longest = rehearsal.prepare(session, feedback)
        for lesson in lessons:
            model = str(done[-1].out) if done else session.opening.model
            session.opening.train(lesson.verb, _settings(lesson, model, longest, steps))
            done.append(lesson)
        loaded = _adopt(session, done[-1].out)
        after = _answers(session, wanted)
    except (KeyboardInterrupt, Interrupted) as error:
        if isinstance(error, Interrupted) and error.exit_code != INTERRUPTED:
            raise
        return _stopped(lessons, done)
    return "\n".join([*_told(session, done, loaded), *_shown(wanted, before, after, steps)])


def _lessons(feedback: Feedback) -> list[Lesson]:
    """What there is to learn: first the answers that were put right, then the preferences."""
    rows = (("sft", feedback.fixes, feedback.kept), ("dpo", feedback.preferences, feedback.contrasts))
    counted = [(verb, path, beside, len(feedback.rows(path))) for verb, path, beside in rows]
    wanted = [row for row in counted if row[3]]
    return [Lesson(*row, out) for row, out in zip(wanted, _free(feedback.folder, len(wanted)), strict=True)]


def _free(folder: Path, count: int) -> list[Path]:
    """The next folders NAME-feedback-N that are not there; those of a run that learned corrections itself go on with
    its number."""
    folder = folder.resolve() if folder.name in ("", "..") else folder
    name = re.sub(r"-feedback-\d+$", "", folder.name)
    found = [re.fullmatch(re.escape(name) + r"-feedback-(\d+)", path.name) for path in folder.parent.glob("*")]
    taken = max((int(one.group(1)) for one in found if one), default=0)
    return [folder.parent / f"{name}-feedback-{taken + n}" for n in range(1, count + 1)]


def _settings(lesson: Lesson, model: str, longest: int, steps: int) -> dict[str, Any]:
    """A short run, of an adapter, without anything held out: there is too little of it."""
    own = {} if lesson.verb == "sft" else {"nll_weight": HOLDS, "guards.prompts": 0}
    both = [f"{lesson.corrected}@{CORRECTED}", f"{lesson.rehearsed}@{1 - CORRECTED}"]
    return {
        "model": model,
        "data": both if lesson.rehearsed.stat().st_size else [str(lesson.corrected)],
        "out": str(lesson.out),
        "lora.rank": RANK,
        "lr": RATE,
        "steps": steps,
        "batch_size": ROWS,
        "seq_len": longest,
        "save_every": steps,
        "sample_every": steps,
        "eval_every": steps,
        "validation_share": 0.0,
        "test_share": 0.0,
        "max_truncated_share": 1.0,
        "workers": 1,
        "compare": False,
        "proofs": "warn",
        **own,
    }


def _adopt(session: Session, out: Path) -> bool:
    """Lets the new adapter answer, on the weights that are in memory; True where it has a base of its own, which had to
    be read: that of an adapter on an adapter, or under a template with new tokens."""
    if not (out / "base").is_dir():
        session.use_adapter(str(out))
        return False
    console.note(f"{out} lies on a base of its own, which is read now")
    session.use_model(session.opening.load(str(out)))
    return True


def _stopped(lessons: Sequence[Lesson], done: Sequence[Lesson]) -> str:
    left = [f"{lesson.out} is finished: /adapter {lesson.out} speaks through it" for lesson in done]
    left += [f"{lesson.out} was begun and may be deleted" for lesson in lessons[len(done) :] if lesson.out.exists()]
    return "\n".join(["Stopped; the conversation and what was corrected are as they were.", *left])


def _told(session: Session, done: Sequence[Lesson], loaded: bool) -> list[str]:
    learned = [f"{lesson.rows} row{'s' * (lesson.rows > 1)} by {lesson.verb}: {lesson.out}" for lesson in done]
    back = f"/model {session.opening.model}" if loaded else f"/adapter {NONE}"
    if not loaded and len(session.adapters.names) > 2:
        back = "/adapter NAME"
    return [*learned, f"The adapter {session.adapters.active} answers; {back} goes back."]


def _answers(session: Session, wanted: Sequence[Conversation]) -> list[Completion]:
    """What the model says now to what was corrected."""
    return rehearsal.answers(session.chatbot, [talk[:-1] for talk in wanted])


def _shown(
    wanted: Sequence[Conversation], before: Sequence[Completion], after: Sequence[Completion], steps: int
) -> list[str]:
    """The newest question that was corrected in each way, what was said to it, and whether that is learned by now."""
    shown = []
    for talk, former, now in zip(wanted, before, after, strict=True):
        texts = (("asked", talk.messages[-2].content), ("before", former.text), ("now", now.text))
        shown += [f"  {name:<8}{' '.join(console.clean(text).split())}" for name, text in texts]
    missed = sum(not _learned(now, talk.messages[-1].content) for talk, now in zip(wanted, after, strict=True))
    if missed:
        which = "That is not your answer" if len(wanted) == 1 else f"{missed} of {len(wanted)} are not your answers"
        shown.append(f"{which} yet; /train {2 * steps} learns longer.")
    return shown


def _learned(now: Completion, answer: str) -> bool:
    """Whether the model says it; a long answer is asked for only in part."""
    said = now.text.strip()
    return said == answer or (now.finish == "length" and answer.startswith(said))
