"""A Jinja chat template that was written elsewhere, as a ChatTemplate: the ids of `transformers`, and our laws.

In: the source, from a model's folder or a file. Out: ids and mask. The template writes a text (`sandbox.py`), contents
and answers are found in it (`tracing.py`), and the pieces become ids as those of our own templates do. `check` holds
the laws against it on probes; a conversation in which it breaks one later on is refused by its row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from chatwright.errors import ConfigError, DataError
from chatwright.text import laws
from chatwright.text.laws import SHORT, WITH_SYSTEM
from chatwright.text.layouts import Piece
from chatwright.text.meter import Overrun
from chatwright.text.pieces import Example, check_waits, encode, listed
from chatwright.text.records import Conversation
from chatwright.text.sandbox import Sandbox
from chatwright.text.tracing import PRIVATE_CHARACTER, Refused, Traced, Unfit, named, trace

if TYPE_CHECKING:
    from chatwright.text.tokenizer import Tokenizer

OWN = "the model's own"
# The variables that a template finds in tokenizer_config.json, as `transformers` hands them over.
VARIABLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
MARKER = re.compile(r"<[|｜][^<>\s]+[|｜]>|<(?:start|end)_of_\w+>")  # nobody writes these for ordinary text
TOKEN_LIKE = re.compile(r"<[^<>\s]+>|\[/?\w+\]")


@dataclass(frozen=True)
class JinjaTemplate:
    """`variables`: what bos_token, eos_token and so on stand for. Raises ConfigError for a source that is no Jinja.

    Learned are, of each assistant's message, what follows the prompt for it, up to the special token that ends it; of
    any other message whose `learn` is true its text, and that token if the same one ends it. `strftime_now` tells, in
    every render, the time at which this object was made, or `given`: a chat or a run does not change at midnight.
    """

    source: str
    variables: Mapping[str, str] = field(default_factory=dict, hash=False)
    name: str = OWN
    given: datetime | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        _ = self._sandbox  # a text that is no Jinja is refused at once

    @cached_property
    def special_tokens(self) -> tuple[str, ...]:
        """What the vocabulary must hold for an answer to end.

        Where a turn ends with one of the variables, markers that the vocabulary lacks are text, as in Zephyr's `<|user|>`.
        Where it ends with a marker like `<|im_end|>`, that and all others like it are meant as tokens.
        """
        ending = self._frame.split("\0")[2].lstrip()
        for token in sorted(self.variables.values(), key=len, reverse=True):
            if ending.startswith(token):
                return (token,)
        return tuple(dict.fromkeys(MARKER.findall(self._frame))) if MARKER.match(ending) else ()

    def render(self, conversation: Conversation, tokenizer: Tokenizer, *, reply: bool = False) -> Example:
        if reply:
            check_waits(conversation)
        try:
            return self.example(conversation, tokenizer, reply=reply)
        except Unfit as unfit:
            where = f"{conversation.source}: " if str(conversation.source) else ""
            raise DataError(f"{where}{self._called} {unfit}; leave such rows out or use --template chatml") from None

    def check(self, tokenizer: Tokenizer) -> None:
        try:
            laws.check(self, tokenizer)
        except Unfit as unfit:
            raise self._unusable(unfit) from None

    def stop_ids(self, tokenizer: Tokenizer) -> tuple[int, ...]:
        try:
            end = self.id_of(self.end(tokenizer), tokenizer)
        except Unfit as unfit:
            raise self._unusable(unfit) from None
        return (end,) if tokenizer.end_of_text in (None, end) else (end, tokenizer.end_of_text)

    def stop_strings(self) -> tuple[str, ...]:
        return ()

    def to_jinja(self, tokenizer: Tokenizer) -> str:
        return self.source

    @property
    def tokens(self) -> Mapping[str, str]:
        return {name: token for name, token in self.variables.items() if name in self.source}

    @property
    def now(self) -> datetime | None:
        return self._sandbox.now if "strftime_now" in self.source else None

    def at(self, now: datetime) -> JinjaTemplate:
        return replace(self, given=now)

    # What it writes

    @cached_property
    def _sandbox(self) -> Sandbox:
        try:
            return Sandbox(self.source, now=self.given)
        except Overrun as error:
            raise self._unusable(f"takes too much: {error}") from None
        except TemplateError as error:
            raise self._unusable(f"is no valid Jinja ({_one_line(error)})") from None

    def write(self, messages: Sequence[dict[str, Any]], ask: bool) -> str:
        """The text; `ask` for the assistant's next turn. Raises Refused for the template's own no, Unfit for excess."""
        try:
            return self._sandbox.render(messages, add_generation_prompt=ask, tokens=self.variables)
        except Overrun as error:
            raise Unfit(f"takes too much: {error}") from None
        except TemplateError as error:
            raise Refused(f"refuses the conversation ({_one_line(error)})") from None

    @cached_property
    def _frame(self) -> str:
        """What it writes around a question and an answer, with \\0 for each of the two."""
        try:
            traced = trace(self.write, SHORT)
        except Unfit as unfit:
            raise self._unusable(unfit) from None
        edges = [0, *(edge for place in traced.contents for edge in place), len(traced.text)]
        return "\0".join(traced.text[start:stop] for start, stop in zip(edges[::2], edges[1::2], strict=True))

    @cached_property
    def system_fault(self) -> str:
        """What is wrong with a system text: some templates move it to the newest user turn, which breaks law 1."""
        try:
            trace(self.write, WITH_SYSTEM)
        except Refused:  # which tells the user why
            return ""
        except Unfit as unfit:
            return f"{unfit}, where there is a system text"
        return ""

    # From there to ids

    def example(self, conversation: Conversation, tokenizer: Tokenizer, *, reply: bool = False) -> Example:
        """As `render`, but raises Unfit, which says what is wrong and not where."""
        for k, message in enumerate(conversation.messages):
            if message.tool_calls:
                raise Unfit(f"has no place here for the tool_calls of {named(k, message)}")
        if conversation.messages[0].role == "system" and self.system_fault:
            raise Unfit(self.system_fault)
        traced = trace(self.write, conversation, self.pattern(tokenizer), reply=reply)
        pieces = list(self._pieces(conversation, traced, tokenizer))
        return encode(pieces, tokenizer, lambda token: self.id_of(token, tokenizer))

    def _pieces(self, conversation: Conversation, traced: Traced, tokenizer: Tokenizer) -> Iterator[Piece]:
        """Cut where answers start, and where learning starts or ends."""
        learned = list(self._learned(conversation, traced, tokenizer))
        edges = sorted({*traced.answers.values(), *(edge for stretch in learned for edge in stretch)})
        for segment in traced.segments:
            inside = [edge for edge in edges if segment.start < edge < segment.stop]
            for start, stop in pairwise([segment.start, *inside, segment.stop]):
                learn = any(first <= start < last for first, last in learned)
                text = segment.text[start - segment.start : stop - segment.start]
                if segment.control:
                    if inside:
                        raise Unfit(f"starts an answer inside of {segment.text}")
                    yield Piece(text, learn, control=True)
                    continue
                cut = start in traced.answers.values()
                for part in _parts(text, traced.spelled, tokenizer):
                    yield Piece(part, learn, cut=cut)
                    cut = True

    def _learned(self, conversation: Conversation, traced: Traced, tokenizer: Tokenizer) -> Iterator[tuple[int, int]]:
        """Where each stretch of what is learned starts and ends."""
        for k, message in enumerate(conversation.messages):
            if message.role == "assistant":
                end = traced.end(k)
                if message.learned:
                    yield traced.answers[k], end.stop
            elif message.learned:
                yield self._learned_text(k, traced, tokenizer)

    def _learned_text(self, k: int, traced: Traced, tokenizer: Tokenizer) -> tuple[int, int]:
        """A user's or a system text; Unfit where a token may reach over its start or end."""
        text, (start, stop) = traced.text, traced.contents[k]
        start -= text[:start].endswith(" ")
        token = traced.control_after(k)
        ended = token is not None and token.text == self.end(tokenizer)
        controls = [segment for segment in traced.segments if segment.control]
        before = text[max((one.stop for one in controls if one.stop <= start), default=0) : start]
        after = text[stop : min((one.start for one in controls if one.start >= stop), default=None)]
        content = traced.restored(text[start:stop])
        fits = tokenizer.splits_before(before, content) and (ended or tokenizer.splits_before(content, after))
        if not fits:
            raise Unfit(f"joins {named(k)} to its frame, so that it cannot be learned alone")
        return start, token.stop if token is not None and ended else stop

    @cached_property
    def _spelled(self) -> tuple[str, ...]:
        """What may be tokens of the vocabulary among what it writes."""
        return tuple(dict.fromkeys([*self.variables.values(), *self.special_tokens, *TOKEN_LIKE.findall(self._frame)]))

    def controls(self, tokenizer: Tokenizer) -> tuple[str, ...]:
        """The vocabulary's special tokens, and the other added ones that the template writes."""
        for token in self.special_tokens:
            self.id_of(token, tokenizer)
        added = [token for token in self._spelled if tokenizer.id_of(token) is not None]
        return tuple(dict.fromkeys([*tokenizer.special_tokens, *added]))

    def pattern(self, tokenizer: Tokenizer) -> re.Pattern[str]:
        """Matches `controls`."""
        return _pattern(self.controls(tokenizer))

    def end(self, tokenizer: Tokenizer) -> str:
        """The token that ends an answer."""
        return trace(self.write, SHORT, self.pattern(tokenizer)).end(1).text

    def id_of(self, token: str, tokenizer: Tokenizer) -> int:
        """The id of a token that the template writes."""
        number = tokenizer.id_of(token)
        if number is None:
            raise ConfigError(
                f"{self._called} needs the token {token} in the vocabulary, which has "
                f"{listed(tokenizer.special_tokens)}; fine-tune the model with it, which adds {token}, "
                "or use --template plain"
            )
        return number

    @property
    def _called(self) -> str:
        return f"{OWN} chat template" if self.name == OWN else f"--template {self.name}"

    def _unusable(self, why: Unfit | str) -> ConfigError:
        return ConfigError(f"{self._called} {why}; give --template chatml to use that one in its place")


def variables(tokenizer_config: Mapping[str, Any]) -> dict[str, str]:
    """bos_token, eos_token and so on of a tokenizer_config.json, where each is a text or an object with `content`."""
    found = {}
    for name in VARIABLES:
        token = tokenizer_config.get(name)
        spelling = token.get("content") if isinstance(token, Mapping) else token
        if isinstance(spelling, str) and spelling:
            found[name] = spelling
    return found


def source_of(tokenizer_config: Mapping[str, Any]) -> str | None:
    """The chat_template of a tokenizer_config.json: a text, or the one named `default` of a list."""
    found = tokenizer_config.get("chat_template")
    if isinstance(found, list):
        several = [one for one in found if isinstance(one, Mapping) and one.get("name") == "default"]
        found = several[0].get("template") if several else None
    return found if isinstance(found, str) else None


@lru_cache(maxsize=16)
def _pattern(tokens: tuple[str, ...]) -> re.Pattern[str]:
    """Matches the longest token at the first place where there is one, as `tokenizers` does."""
    return re.compile("|".join(map(re.escape, sorted(tokens, key=len, reverse=True))) or "(?!)")


def _parts(text: str, spelled: Mapping[str, str], tokenizer: Tokenizer) -> list[str]:
    """The text with the hidden spellings back, cut inside of those that the tokenizer would take for a token.

    It takes none for a special token, but knows no reason to spare the other added ones.
    """
    parts = [""]
    for piece in PRIVATE_CHARACTER.split(text):
        token = spelled.get(piece, piece)
        if piece in spelled and token not in tokenizer.special_tokens:
            parts[-1] += token[0]
            parts.append(token[1:])
        else:
            parts[-1] += token
    return parts


def _one_line(error: Exception) -> str:
    """A template's own words may be many."""
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else f"{text[:200]}…"
