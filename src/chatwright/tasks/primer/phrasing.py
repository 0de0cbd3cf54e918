"""From a table of subjects and answers, and the phrasings of one relation, to the facts of a closed domain.

A row is `(subject, answer, *other accepted spellings)`, both written as they stand in the middle of a sentence
("the Netherlands"). A template names its gaps: {subject}, {answer}, {owner} (France's), {a_subject}, {a_answer} (a
dog, an owl); a capital first letter ({Subject}, {A_answer}) is for the start of a sentence.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from chatwright.tasks.primer.fact import Fact


@dataclass(frozen=True)
class Phrasing:
    """How every fact of one relation is stated, asked and answered; `id_suffix` marks a domain's second relation."""

    relation: str
    statements: tuple[str, ...]
    questions: tuple[str, ...]
    replies: tuple[str, ...]
    follow_up: str = ""
    id_suffix: str = ""


def closed_facts(domain: str, phrasing: Phrasing, rows: Iterable[tuple[str, ...]]) -> list[Fact]:
    """One fact a row, all with the same templates in the same order."""
    return [_fact(domain, phrasing, subject, answers) for subject, *answers in rows]


def _fact(domain: str, phrasing: Phrasing, subject: str, answers: list[str]) -> Fact:
    gaps = _gaps(subject, answers[0])

    def fill(templates: tuple[str, ...]) -> tuple[str, ...]:
        # An answer may bring its own full stop: "… is Washington, D.C."
        return tuple(template.format_map(gaps).replace("..", ".") for template in templates)

    return Fact(
        id=f"{domain}/{_slug(subject)}{phrasing.id_suffix}",
        domain=domain,
        relation=phrasing.relation,
        subject=subject,
        answers=tuple(answers),
        statements=fill(phrasing.statements),
        questions=fill(phrasing.questions),
        replies=fill(phrasing.replies),
        follow_up=phrasing.follow_up.format_map(gaps),
    )


def _gaps(subject: str, answer: str) -> dict[str, str]:
    """Everything a template may name: `("owl", "owlet") -> {"a_subject": "an owl", "A_subject": "An owl", ...}`."""
    gaps = {
        "subject": subject,
        "answer": answer,
        "owner": subject + ("'" if subject.endswith("s") else "'s"),
        "a_subject": _with_article(subject),
        "a_answer": _with_article(answer),
    }
    return gaps | {name[0].upper() + name[1:]: text[0].upper() + text[1:] for name, text in gaps.items()}


def _with_article(noun: str) -> str:
    return f"an {noun}" if noun[0].lower() in "aeiou" else f"a {noun}"


def _slug(subject: str) -> str:
    """`"the United States" -> "united-states"`."""
    return re.sub(r"[^a-z0-9]+", "-", subject.lower().removeprefix("the ")).strip("-")
