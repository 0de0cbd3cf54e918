"""From a Conversation and a Tokenizer to token ids, each with a mask that says whether the model learns to produce it.

The only place where conversations become ids, for training and for talking alike, so that a prompt is always a prefix
of what was trained. Control tokens get their ids from here (`pieces.py`), contents never do. Three templates are
written here (`layouts.py`); a model's own Jinja text enters by `from_jinja` (`jinja_template.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from chatwright.errors import ConfigError, DataError
from chatwright.registry import suggestion
from chatwright.text.layouts import END_OF_TEXT, LAYOUTS, Layout
from chatwright.text.pieces import PROBES, check_waits, encode, listed, runs
from chatwright.text.pieces import Example as Example
from chatwright.text.records import Conversation, Document, conversation

if TYPE_CHECKING:
    from chatwright.text.tokenizer import Tokenizer

BEGIN_JINJA = "{{- bos_token -}}\n"  # leads the Jinja text where the vocabulary begins every text with a token


class ChatTemplate(Protocol):
    """A way to write conversations as ids. `special_tokens` are the spellings that the vocabulary must hold."""

    @property
    def name(self) -> str: ...

    @property
    def special_tokens(self) -> tuple[str, ...]: ...

    def render(self, conversation: Conversation, tokenizer: Tokenizer, *, reply: bool = False) -> Example:
        """The whole conversation or, with `reply`, the prompt for the assistant's next turn.

        Raises DataError for a message that the template has no place for, ConfigError for a vocabulary
        without its tokens and for `reply` where the conversation does not wait for the assistant.
        """

    def check(self, tokenizer: Tokenizer) -> None:
        """Raises ConfigError where this template cannot be used with this tokenizer; to be called once, at load."""

    def stop_ids(self, tokenizer: Tokenizer) -> tuple[int, ...]:
        """The ids that end an assistant's turn: first the template's own, then the end of text."""

    def stop_strings(self) -> tuple[str, ...]:
        """Texts at which a base model, which never learned to stop, has begun to speak for the user."""

    def to_jinja(self, tokenizer: Tokenizer) -> str:
        """The same template for `transformers`: one written here has its learned parts in `{% generation %}` blocks."""

    @property
    def tokens(self) -> Mapping[str, str]:
        """What its Jinja text calls bos_token, eos_token and so on, where it is to be kept as it came."""

    @property
    def now(self) -> datetime | None:
        """The time that it tells in every render; None where it tells none."""

    def at(self, now: datetime) -> ChatTemplate:
        """The same template, telling another time."""


@dataclass(frozen=True)
class WrittenTemplate:
    """One of the templates of `text/layouts.py`.

    `plain` and `alpaca` mark roles with ordinary text, so a user who types "\\nAssistant:" imitates the
    assistant and no reader of the ids can tell. In `chatml` roles are control tokens, which no content
    can spell: it is the template for chatbots that talk with strangers.

    Learned are, of each message whose `learned` is true, the content and the control token that ends it. A
    vocabulary that begins every text with a token (Llama's, Mistral's, Gemma's) has it before the first message.
    """

    name: str
    layout: Layout

    @property
    def special_tokens(self) -> tuple[str, ...]:
        return self.layout.special_tokens

    @property
    def tokens(self) -> Mapping[str, str]:
        return {}

    @property
    def now(self) -> None:
        return None

    def at(self, now: datetime) -> WrittenTemplate:
        return self

    def render(self, conversation: Conversation, tokenizer: Tokenizer, *, reply: bool = False) -> Example:
        self._check_messages(conversation)
        pieces = list(self.layout.pieces(conversation))
        if reply:
            check_waits(conversation)
            pieces.extend(self.layout.header)
        return encode(pieces, tokenizer, lambda token: self._id(token, tokenizer), first=tokenizer.begin_of_text)

    def check(self, tokenizer: Tokenizer) -> None:
        for token in (*self.special_tokens, self.layout.end):
            self._id(token, tokenizer)
        for probe in PROBES:
            found = list(runs(self.layout.pieces(conversation("Hi", probe))))
            at = next(i for i, run in enumerate(found) if run.cut)
            left, answer = found[at - 1].text, found[at].text
            if not tokenizer.splits_before(left, answer):
                raise ConfigError(
                    f"--template {self.name} does not fit this tokenizer, which may join {left[-12:]!r} and the start "
                    f"of an answer, got {answer!r}; choose another of {', '.join(LAYOUTS)}"
                )

    def stop_ids(self, tokenizer: Tokenizer) -> tuple[int, ...]:
        end = self._id(self.layout.end, tokenizer)
        others = () if tokenizer.end_of_text in (None, end) else (tokenizer.end_of_text,)
        return (end, *others)

    def stop_strings(self) -> tuple[str, ...]:
        return self.layout.stop_strings

    def to_jinja(self, tokenizer: Tokenizer) -> str:
        begins = tokenizer.begin_of_text is not None
        return BEGIN_JINJA + self.layout.jinja if begins else self.layout.jinja

    def _id(self, token: str, tokenizer: Tokenizer) -> int:
        """The id of a control token."""
        if token == END_OF_TEXT:
            return _end_of_text(tokenizer, f"--template {self.name} ends every answer with")
        found = tokenizer.special_tokens.get(token)
        if found is None:
            raise ConfigError(
                f"--template {self.name} needs the special token {token} in the vocabulary, which has "
                f"{listed(tokenizer.special_tokens)}; fine-tune with --template {self.name}, "
                "which adds it, or use --template plain"
            )
        return found

    def _check_messages(self, conversation: Conversation) -> None:
        """Nothing is left out silently: a message without a place in the layout is refused by name."""
        for number, message in enumerate(conversation.messages, start=1):
            if message.tool_calls:
                what, way_out = "tool_calls", "leave such rows out"
            elif message.role not in self.layout.roles:
                what, way_out = f"the role {message.role}", "leave such rows out or use --template chatml"
            else:
                continue
            where = f"{conversation.source}: " if str(conversation.source) else ""
            raise DataError(f"{where}message {number} has {what}, for which {self.name} has no place; {way_out}")


def load(name_or_path: str, tokens: Mapping[str, str] | None = None) -> ChatTemplate:
    """`plain`, `chatml`, `alpaca`, or a `.jinja` file; raises ConfigError for anything else. `tokens`: see from_jinja."""
    if name_or_path in LAYOUTS:
        return WrittenTemplate(name_or_path, LAYOUTS[name_or_path])
    path = Path(name_or_path)
    if path.suffix != ".jinja":
        raise ConfigError(
            f"--template is {name_or_path!r}{suggestion(name_or_path, LAYOUTS)}; "
            f"give one of {', '.join(LAYOUTS)} or the path of a .jinja file"
        )
    try:
        source = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--template {path} cannot be read ({error}); give a Jinja file in UTF-8") from None
    return from_jinja(source, tokens, name=path.name)


def from_jinja(source: str, tokens: Mapping[str, str] | None = None, *, name: str = "") -> ChatTemplate:
    """The template that wrote this Jinja text or, where none of ours did, the text itself as a template.

    tokens: the variables bos_token, eos_token and so on of the text, as `jinja_template.variables` reads them.
    name: of the file it was given in; "" for a model's own. Raises ConfigError for what is no Jinja.
    """
    for known, layout in LAYOUTS.items():
        if source.strip().removeprefix(BEGIN_JINJA) == layout.jinja:
            return WrittenTemplate(known, layout)
    from chatwright.text.jinja_template import OWN, JinjaTemplate

    return JinjaTemplate(source, tokens or {}, name or OWN)


def render_document(document: Document, tokenizer: Tokenizer) -> Example:
    """The text as it stands, then the end of text, all learned; before it what the vocabulary begins a text with."""
    begin = [] if tokenizer.begin_of_text is None else [tokenizer.begin_of_text]
    ids = [*tokenizer.encode(document.text), _end_of_text(tokenizer, "every document ends with")]
    return Example(begin + ids, [0] * len(begin) + [1] * len(ids))


def _end_of_text(tokenizer: Tokenizer, what: str) -> int:
    if tokenizer.end_of_text is None:
        raise ConfigError(
            f"{what} an end-of-text token, and this vocabulary has none; "
            f"train the tokenizer with {END_OF_TEXT} or use --template chatml"
        )
    return tokenizer.end_of_text
