"""Rows whose text holds the marks of another format: they were read as something that they are not."""

import json
import re
from collections.abc import Sequence

from chatwright.data.quality.seen import Reason, Seen, Wanted, conversations
from chatwright.text.records import Conversation

SAYS = "text that looks like another format"
ON = False  # reading them rightly (--format) is better than leaving them out
REMEMBERS = False

_MARK = re.compile(
    r"^[ \t]*#{2,3} ?(?:Human|Assistant|User|Instruction|Response|Input):"
    r"|<\|(?:im_start|im_end|start_header_id|end_header_id|eot_id|user|assistant|system|endoftext)\|>"
    r"|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>",
    re.MULTILINE,
)
_SPEAKER = re.compile(r"^[ \t]*(user|human|assistant|bot|system)[ \t]*:", re.MULTILINE | re.IGNORECASE)
_ASKED = frozenset({"user", "human"})
_ANSWERS = frozenset({"assistant", "bot"})
_SYSTEM = re.compile(r"\s*(?:system\s*(?:prompt|message)?\s*:|you are (?:a|an) [\w ,-]*\bassistant\b)", re.IGNORECASE)
_KEYS = (
    frozenset({"role", "content"}),
    frozenset({"from", "value"}),
    frozenset({"messages"}),
    frozenset({"conversations"}),
)


def make(wanted: Wanted) -> Reason:
    """The first thing that is found."""
    return _reason


def _reason(seen: Seen) -> str:
    """Of two answers the worse is left alone: it is there to be bad."""
    whole = conversations(seen.record)[:1]
    texts = [message.content for one in whole for message in one.messages] or seen.texts
    return next((reason for reason in map(_of_text, texts) if reason), "") or _of_first_turn(whole)


def _of_text(text: str) -> str:
    """Marks of a template, two speakers in one text, or messages as JSON."""
    mark = _MARK.search(text)
    if mark:
        return f"the text holds {mark.group().strip()!r}, a mark of another format"
    speakers = {speaker.lower() for speaker in _SPEAKER.findall(text)}
    if speakers & _ASKED and speakers & _ANSWERS:
        return "one text holds the turns of two speakers (User: …, Assistant: …)"
    if text.lstrip()[:1] in ("{", "[") and _is_messages(text):
        return "a text is itself messages in JSON"
    return ""


def _is_messages(text: str) -> bool:
    """Whether a text is an object, or a list of objects, with the keys of messages."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    first = value[0] if isinstance(value, list) and value else value
    return isinstance(first, dict) and any(keys <= first.keys() for keys in _KEYS)


def _of_first_turn(whole: Sequence[Conversation]) -> str:
    """Instructions for the assistant at the start of what the user says."""
    for conversation in whole:
        first = conversation.messages[0]
        if first.role == "user" and _SYSTEM.match(first.content):
            return "the user's turn begins with what is a system prompt"
    return ""
