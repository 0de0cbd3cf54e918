"""Slack's markup as the words that people see: `<@U1> &amp; <https://a.example|this>` -> `@Ana & this`."""

import re
from collections.abc import Mapping

_MARK = re.compile(r"<([^<>]*)>|&(lt|gt|amp);")
_ENTITIES = {"lt": "<", "gt": ">", "amp": "&"}


def plain(text: str, people: Mapping[str, str], channels: Mapping[str, str]) -> str:
    """The text with ids replaced by names. Raises nothing: what is no markup stays."""

    def words(mark: re.Match[str]) -> str:
        if mark[2]:
            return _ENTITIES[mark[2]]
        target, _, label = mark[1].partition("|")
        label = _unescaped(label)
        match target[:1]:
            case "@":
                return f"@{people.get(target[1:]) or label or target[1:]}"
            case "#":
                return f"#{label or channels.get(target[1:], target[1:])}"
            case "!":
                return _command(target[1:], label)
            case "":
                return mark[0]
        return label or _unescaped(target)

    return _MARK.sub(words, text)


def _command(target: str, label: str) -> str:
    """A call to all, to a group, or a date."""
    name, _, _ = target.partition("^")
    if name == "date":
        return label or target
    label = label.removeprefix("@")
    return f"@{label or ('group' if name == 'subteam' else name)}"


def _unescaped(text: str) -> str:
    return re.sub(r"&(lt|gt|amp);", lambda found: _ENTITIES[found[1]], text)
