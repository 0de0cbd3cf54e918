"""One thing the primer knows, with every way it is stated, asked and answered."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Fact:
    """A fact of the primer's small world.

    `statements` are whole sentences for documents; `questions` are ways to ask for it and `replies` are the
    answers an assistant gives, each a whole sentence that names the subject, so that a chatbot which read only the
    statements has somewhere to put what it knows. `follow_up` asks it after another fact of the same `relation`
    ("And of Spain?"); it is empty where that makes no sense. A `closed` fact has one short answer, and
    `answers` lists its accepted spellings, the first being the one that is said. Of an open fact they are the groups of
    key words that a right answer holds, with "|" between alternatives.
    """

    id: str  # "capitals/france": stable, because the splits hash it
    domain: str
    relation: str  # facts of one relation share their phrasings, in the same order
    subject: str
    answers: tuple[str, ...]
    statements: tuple[str, ...]
    questions: tuple[str, ...]
    replies: tuple[str, ...]
    follow_up: str = ""
    closed: bool = True

    def share(self, purpose: str) -> float:
        """A number in [0, 1) fixed by the fact's id and a purpose: what every split of the primer is cut by."""
        digest = hashlib.sha256(f"{purpose}/{self.id}".encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64
