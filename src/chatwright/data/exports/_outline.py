"""What keys a JSON document has, from its beginning alone: how an export is told from data of another kind."""

import re

_DEEPEST = 5
_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*+)(?:("\s*:)|"|\\?\Z)|([\[\]{}])', re.DOTALL)


def outline(start: bytes) -> frozenset[str]:
    """The paths of the keys: `[{"a": {"b": 1}}]` -> `[]`, `[].a`, `[].a.b`. Nothing for what is no JSON."""
    text = start.decode("utf-8-sig", errors="replace").lstrip()
    if not text.startswith(("[", "{")):
        return frozenset()
    path: list[str] = []
    found = set()
    for token in _TOKEN.finditer(text):
        key, is_key, bracket = token.groups()
        if bracket in ("[", "{"):
            path.append("[]" if bracket == "[" else "")
        elif bracket and path:
            path.pop()
        elif is_key and path and path[-1] != "[]":
            path[-1] = key
        else:
            continue
        if 0 < len(path) <= _DEEPEST and path[-1]:
            found.add(".".join(path))
    return frozenset(found)
