"""What was hidden in somebody's chats, and first of all what was not looked for.

What is printed and kept with a run names nobody; the originals are for the owner's eyes (`legend`, `write`) and for the
search for them in what the model says (`secrets`).
"""

import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chatwright import disk

SHOWN = 20  # people whose counts are printed one by one
_BLIND = "nicknames, misspelt and inflected names, street addresses, dates of birth and identity numbers"
_NOUNS = {
    "[email]": ("e-mail address", "e-mail addresses"),
    "[phone]": ("phone number", "phone numbers"),
    "[card]": ("payment card", "payment cards"),
    "[iban]": ("bank account", "bank accounts"),
    "[key]": ("key", "keys"),
    "[password]": ("password", "passwords"),
    "[ip]": ("network address", "network addresses"),
}


@dataclass(frozen=True)
class Hidden:
    """One placeholder: `name` is whose it is ("" for what is no person's), `forms` what stood in its place, how often."""

    placeholder: str
    name: str = field(repr=False)
    forms: tuple[tuple[str, int], ...] = field(repr=False)

    @property
    def count(self) -> int:
        return sum(count for _, count in self.forms)

    @property
    def is_person(self) -> bool:
        return self.placeholder not in _NOUNS


@dataclass(frozen=True)
class RedactionReport:
    """`secrets` are the strings that must not come back; ordinary words ("Will") are left out, as nobody could tell."""

    hidden: tuple[Hidden, ...]
    secrets: frozenset[str] = field(repr=False)
    model: str = ""  # that looked for names in free text
    asked: int = 0  # lines of --hide
    unused: int = 0  # of them, that stand nowhere

    @property
    def not_looked_for(self) -> str:
        """The sentence that comes before everything else."""
        if self.model:
            return f"{_BLIND} were not looked for; names of people who are not in the export only as {self.model} sees them"
        return (
            "names inside free text of people who are not in the export were not looked for; --redact.ner MODEL does; "
            f"{_BLIND} were not looked for either"
        )

    @property
    def people(self) -> list[Hidden]:
        """Those who were named in the texts, most often first."""
        return sorted((one for one in self.hidden if one.is_person), key=lambda one: -one.count)

    @property
    def counts(self) -> dict[str, int]:
        """Kind -> places: {"name": 214, "phone": 4}."""
        counts: Counter[str] = Counter()
        for one in self.hidden:
            counts["name" if one.is_person else one.placeholder.strip("[]")] += one.count
        return dict(counts)

    def lines(self) -> list[str]:
        """For people, and free of anybody's name."""
        named = sum(one.count for one in self.people)
        others = [(one.count, *_NOUNS[one.placeholder]) for one in self.hidden if not one.is_person]
        parts = [f"{named:,} {_plural(named, 'mention', 'mentions')} of {len(self.people):,} people"]
        parts += [f"{count:,} {_plural(count, *nouns)}" for count, *nouns in others]
        found = [f"hidden: {', '.join(parts)}"]
        for one in self.people[:SHOWN]:
            times, forms = _plural(one.count, "time", "times"), _plural(len(one.forms), "form", "forms")
            found.append(f"{one.placeholder}: {one.count:,} {times}, in {len(one.forms):,} {forms}")
        if len(self.people) > SHOWN:
            found.append(f"… and {len(self.people) - SHOWN:,} more people")
        if self.unused:
            found.append(f"{self.unused:,} of {self.asked:,} lines of --hide stand nowhere in these chats")
        return [self.not_looked_for, *found]

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON, free of anybody's name."""
        return {
            "not_looked_for": self.not_looked_for,
            "counts": self.counts,
            "people": [{"placeholder": o.placeholder, "count": o.count, "forms": len(o.forms)} for o in self.people],
            "hide": {"lines": self.asked, "not_found": self.unused},
            "model": self.model,
        }

    def legend(self) -> list[str]:
        """Who is who, for the terminal of the owner and no file: `[name 1] is Anna Meyer: Anna (12), anna (3)`."""
        lines = []
        for one in self.people:
            forms = ", ".join(f"{' '.join(form.split())} ({count:,})" for form, count in one.forms)
            lines.append(f"{one.placeholder} is {one.name}: {forms}")
        return lines

    def write(self, path: Path) -> None:
        """Everything with its originals as JSON, in a file that only its owner can read. Raises DiskFull."""
        rows = [{"placeholder": one.placeholder, "name": one.name, "forms": dict(one.forms)} for one in self.hidden]
        contents = {**self.as_dict(), "hidden": rows, "secrets": sorted(self.secrets)}
        temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
        try:
            with disk.room(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary.unlink(missing_ok=True)
                with open(
                    os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
                ) as file:
                    json.dump(contents, file, indent=2, ensure_ascii=False)
                os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _plural(count: int, one: str, many: str) -> str:
    return one if count == 1 else many
