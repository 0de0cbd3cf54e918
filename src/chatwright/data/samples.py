"""Some conversations as they are trained on, kept beside their ids: for what is shown and proved when the rows are gone."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from chatwright import disk
from chatwright.text.records import Conversation, Message, Source

WANTED = {"train": 200, "validation": 20, "test": 20}  # from the start of the data


@dataclass(frozen=True)
class Sample:
    """`whole`: the window cut nothing off."""

    split: str
    whole: bool
    conversation: Conversation

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON."""
        messages = [asdict(message) for message in self.conversation.messages]
        source = asdict(self.conversation.source)
        return {"split": self.split, "whole": self.whole, "source": source, "messages": messages}

    @classmethod
    def of(cls, row: dict[str, Any]) -> "Sample":
        """What `as_dict` gave."""
        messages = tuple(Message(**{**one, "tool_calls": tuple(one["tool_calls"])}) for one in row["messages"])
        return cls(row["split"], row["whole"], Conversation(messages, Source(**row["source"])))


@dataclass
class Samples:
    """The first conversations of each split."""

    kept: list[Sample] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path) -> "Samples":
        """Those of a file; none where it is not there."""
        if not path.exists():
            return cls()
        return cls([Sample.of(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()])

    def save(self, path: Path) -> None:
        # in ASCII, because a text may hold what Python takes for a line end, and a name half of a surrogate pair
        disk.write(path, "".join(json.dumps(one.as_dict()) + "\n" for one in self.kept))

    @property
    def wanted(self) -> bool:
        """Whether some split has fewer than it may keep."""
        return any(len(self.of(split)) < most for split, most in WANTED.items())

    def add(self, samples: Iterable[Sample]) -> list[Sample]:
        """Keeps those that there is room for, and says which."""
        before = len(self.kept)
        room = {split: most - len(self.of(split)) for split, most in WANTED.items()}
        for sample in samples:
            if room[sample.split] > 0:
                room[sample.split] -= 1
                self.kept.append(sample)
        return self.kept[before:]

    def of(self, *splits: str) -> list[Sample]:
        """Those of some splits, in the order of the splits."""
        return [one for split in splits for one in self.kept if one.split == split]
