"""Where in a rendered text each message stands, and where each answer starts and ends.

In: a conversation and a way to render it (`text/sandbox.py`). Out: the text with the places of everything that was not
written by the template itself, or `Unfit` with the reason why contents, prompts or ends are not where they have to be.
Private-use characters stand in for what must be found again: for the ends of contents, and for tokens spelled in them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import filterfalse, islice
from typing import Any

from chatwright.text.records import Conversation, Message

PRIVATE = (0xF0000, 0xFFFFE)  # the first plane for private use
PRIVATE_CHARACTER = re.compile(f"([{chr(PRIVATE[0])}-{chr(PRIVATE[1] - 1)}])")
NO_TOKENS = re.compile("(?!)")

Write = Callable[[Sequence[dict[str, Any]], bool], str]  # messages, and whether the assistant is asked to speak


class Unfit(Exception):
    """What the template does that it must not, as the end of a sentence that begins with its name."""


class Refused(Unfit):
    """The template itself says no, as Gemma's does to a system text: it works for other conversations."""


@dataclass(frozen=True)
class Segment:
    """Some text, or one control token that the template wrote; `start` counts characters from the text's first."""

    start: int
    text: str
    control: bool = False

    @property
    def stop(self) -> int:
        return self.start + len(self.text)


@dataclass(frozen=True)
class Traced:
    """`contents[k]`: where message k stands. `answers[k]`: where the assistant's message k starts, the space before it
    included. `spelled`: what a stand-in stands for; `restored(text)` puts that back."""

    segments: list[Segment]
    contents: list[tuple[int, int]]
    answers: dict[int, int]
    spelled: dict[str, str]

    @property
    def text(self) -> str:
        return "".join(segment.text for segment in self.segments)

    def end(self, k: int) -> Segment:
        """The control token that ends message k. Raises Unfit where there is none, so that nothing would be learned."""
        found = self.control_after(k)
        if found is None:
            raise Unfit(f"ends {named(k)} with no special token, so the model could never stop")
        return found

    def control_after(self, k: int) -> Segment | None:
        """The control token behind the content of message k, if only white space stands between."""
        stop = self.contents[k][1]
        for segment in self.segments:
            if segment.start >= stop and segment.text and (segment.control or not segment.text.isspace()):
                return segment if segment.control else None
        return None

    def restored(self, text: str) -> str:
        """With the spellings that were hidden."""
        return text.translate({ord(stand_in): token for stand_in, token in self.spelled.items()})


def trace(
    write: Write, conversation: Conversation, controls: re.Pattern[str] = NO_TOKENS, *, reply: bool = False
) -> Traced:
    """Renders the conversation, asking for the next answer with `reply`, and finds everything in it.

    controls: matches the tokens of the vocabulary, which are the template's own only where no content spells them.
    """
    hidden = _Hidden(conversation, controls)
    text = write(hidden.messages(), reply)
    segments, contents = hidden.found(write(hidden.messages(marked=True), reply))
    traced = Traced(segments, contents, {}, {stand_in: token for token, stand_in in hidden.stand_ins.items()})
    for k, (message, (start, stop)) in enumerate(zip(conversation.messages, contents, strict=True)):
        if text[start:stop] != hidden.contents[k].strip():
            raise Unfit(f"changes the text of {named(k, message)}")
    if traced.text != text:
        raise Unfit("writes a message in another way for what its text begins or ends with")
    for k, message in enumerate(conversation.messages):
        if message.role == "assistant":
            prompt = write(hidden.messages(k), True)
            traced.answers[k] = _answer_start(text, prompt, contents[k][0], k)
    return traced


def _answer_start(text: str, prompt: str, content: int, k: int) -> int:
    """Law 1: the prompt for an answer is how the whole begins, and goes on with nothing but the answer."""
    if not text.startswith(prompt):
        raise Unfit(f"asks for {named(k)} with a prompt that is no prefix of the text once the answer is there")
    between = text[len(prompt) : content]
    if len(prompt) > content or between.strip():
        raise Unfit(f"puts {between.strip()[:40]!r} between the prompt for {named(k)} and the answer")
    return len(prompt)


class _Hidden:
    """The messages with stand-ins in them; no stand-in occurs in any content.

    An answer is handed over without white space at its ends, because a token may reach from the line end before it
    into the space that it starts with; other contents are handed over as they are.
    """

    def __init__(self, conversation: Conversation, controls: re.Pattern[str]) -> None:
        self._given, self._controls = conversation.messages, controls
        contents = [one.content.strip() if one.role == "assistant" else one.content for one in self._given]
        self._free = filterfalse(set("".join(contents)).__contains__, map(chr, range(*PRIVATE)))
        self.stand_ins: dict[str, str] = {}
        self.contents = [controls.sub(self._stand_in, content) for content in contents]
        self._marks = [(next(self._free), next(self._free)) for _ in self._given]

    def messages(self, most: int | None = None, *, marked: bool = False) -> list[dict[str, Any]]:
        """What the template is handed, up to message `most`; `marked` with a character at both ends of each content."""
        contents = map(_between, self.contents, self._marks) if marked else iter(self.contents)
        return [
            {"role": message.role, "content": content} | ({"name": message.name} if message.name else {})
            for message, content in islice(zip(self._given, contents, strict=True), most)
        ]

    def found(self, text: str) -> tuple[list[Segment], list[tuple[int, int]]]:
        """The text without the marks, cut at control tokens, and where the marks were."""
        segments: list[Segment] = []
        places: dict[str, list[int]] = {mark: [] for marks in self._marks for mark in marks}
        at = 0
        for part in PRIVATE_CHARACTER.split(text):
            if part in places:
                places[part].append(at)
                continue
            for segment in _segments(part, self._controls, at):
                segments.append(segment)
                at = segment.stop
        return segments, [self._place(k, places[first], places[last]) for k, (first, last) in enumerate(self._marks)]

    def _place(self, k: int, first: list[int], last: list[int]) -> tuple[int, int]:
        what = named(k, self._given[k])
        if not first and not last:
            raise Unfit(f"leaves out the text of {what}")
        if len(first) != 1 or len(last) != 1:
            raise Unfit(f"{'changes' if 0 in (len(first), len(last)) else 'repeats'} the text of {what}")
        return first[0], last[0]

    def _stand_in(self, found: re.Match[str]) -> str:
        if found[0] not in self.stand_ins:
            self.stand_ins[found[0]] = next(self._free)
        return self.stand_ins[found[0]]


def _segments(text: str, controls: re.Pattern[str], at: int) -> Iterator[Segment]:
    """Text and control tokens in turn."""
    done = 0
    for match in controls.finditer(text):
        if match.start() > done:
            yield Segment(at + done, text[done : match.start()])
        yield Segment(at + match.start(), match[0], control=True)
        done = match.end()
    if done < len(text):
        yield Segment(at + done, text[done:])


def _between(content: str, marks: tuple[str, str]) -> str:
    """Marks inside the white space at the ends, which a template may take away."""
    body = content.strip()
    start = content.index(body)
    return content[:start] + marks[0] + body + marks[1] + content[start + len(body) :]


def named(k: int, message: Message | None = None) -> str:
    """Message k for a sentence: users count from one."""
    return f"message {k + 1}" + (f" ({message.role})" if message else "")
