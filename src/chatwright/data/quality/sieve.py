"""All filters at once: what each of them would leave out, and whether a row goes or stays."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, cast

from chatwright import registry
from chatwright.data.quality.seen import Filter, Reason, Seen, Wanted
from chatwright.data.rows import BadRow
from chatwright.errors import ConfigError, DataError

FOLDER = "data.quality.filters"
FIRST = 100  # rows of each filter that are named; all of them stand in what --fix writes


@dataclass
class Sifted:
    """What one filter found. `chosen`: whether such rows are left out by --fix; `first`: the first FIRST of `rows`."""

    name: str
    says: str
    chosen: bool
    rows: int = 0
    first: list[BadRow] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON."""
        first = [{"file": row.file, "line": row.line, "reason": row.reason} for row in self.first]
        return {"says": self.says, "chosen": self.chosen, "rows": self.rows, "first": first}


class Sieve:
    """The filters of the folder. `chosen`: the names of those that count; the ones that are ON where it is None."""

    def __init__(self, wanted: Wanted, chosen: Sequence[str] | None = None) -> None:
        self.notes: list[str] = []  # on filters that could not be asked
        self.results: dict[str, Sifted] = {}
        self._own: dict[str, Reason] = {}  # look at a row by itself
        self._remembering: dict[str, Reason] = {}
        modules = {name: registry.load(FOLDER, name) for name in registry.names(FOLDER)}
        for name, module in modules.items():
            self._add(name, module, wanted, chosen)

    def reasons(self, seen: Seen, useless: bool) -> dict[str, str]:
        """What each filter says against a record, counted; `useless` if it is left out in any case.

        Filters that remember are asked only about records that stay, and after the first of them that speaks no more:
        an exact duplicate is no near-duplicate.
        """
        found = {name: reason for name, ask in self._own.items() if (reason := ask(seen))}
        if not useless and self.decisive(found) is None:
            for name, ask in self._remembering.items():
                if reason := ask(seen):
                    found[name] = reason
                    break
        source = seen.record.source
        for name, reason in found.items():
            result = self.results[name]
            result.rows += 1
            if len(result.first) < FIRST:
                result.first.append(BadRow(source.file, source.line, reason, "filtered"))
        return found

    def decisive(self, found: dict[str, str]) -> str | None:
        """The first chosen filter among those that spoke."""
        return next((name for name in found if self.results[name].chosen), None)

    def _add(self, name: str, module: ModuleType, wanted: Wanted, chosen: Sequence[str] | None) -> None:
        one = cast(Filter, module)
        try:
            ask = one.make(wanted)
        except DataError as error:  # its library is missing
            if chosen is not None and name in chosen:
                raise
            self.notes.append(f"{name} is not looked for: {error}")
            return
        (self._remembering if one.REMEMBERS else self._own)[name] = ask
        self.results[name] = Sifted(name, one.SAYS, one.ON if chosen is None else name in chosen)


def chosen_filters(given: Sequence[str]) -> list[str] | None:
    """The names in `--filters a,b c`; None where none is given, [] for `none`."""
    names = [part.strip().replace("-", "_") for one in given for part in one.split(",") if part.strip()]
    if not names:
        return None
    if names == ["none"]:
        return []
    known = registry.names(FOLDER)
    for name in names:
        if name not in known:
            near = registry.suggestion(name, known)
            raise ConfigError(f"--filters: there is no filter {name!r}{near}; known are {', '.join(known)}, or none")
    return names
