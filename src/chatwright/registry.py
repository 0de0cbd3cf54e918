"""The folder is the registry: `objectives/kto.py` *is* the objective `kto`.

A folder's `__init__.py` may name the helper modules that are no members in `SHARED = ("protocol",)`.
"""

import difflib
import importlib
import pkgutil
import sys
from collections.abc import Iterable
from types import ModuleType

from chatwright.errors import ConfigError


def names(folder: str) -> list[str]:
    """The members of a folder of the package, sorted: `names("objectives") -> ["pretrain", "sft"]`."""
    package = importlib.import_module(f"chatwright.{folder}")
    found = (module.name for module in pkgutil.iter_modules(package.__path__))
    return sorted(name for name in found if _is_member(folder, name))


def load(folder: str, name: str) -> ModuleType:
    """The module of one member; raises ConfigError with the list and the nearest name for an unknown one."""
    place = f"chatwright.{folder}.{name}"
    if place in sys.modules and _is_member(
        folder, name
    ):  # every answer asks for its grader: no folder is listed for it
        return sys.modules[place]
    known = names(folder)
    if name not in known:
        raise ConfigError(f"{folder}: there is no {name!r}{suggestion(name, known)}; known: {', '.join(known)}")
    return importlib.import_module(place)


def _is_member(folder: str, name: str) -> bool:
    """Whether a module of the folder is no helper of the others."""
    package = importlib.import_module(f"chatwright.{folder}")
    return name not in vars(package).get("SHARED", ()) and not name.startswith("_")


def suggestion(name: str, known: Iterable[str]) -> str:
    """`", did you mean 'seq_len'?"` for the nearest known name, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f", did you mean {near[0]!r}?" if near else ""
