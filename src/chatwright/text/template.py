"""From a Conversation and a Tokenizer to token ids, each with a mask that says whether the model learns to produce it.

The only place where conversations become ids, for training and for talking alike, so that a prompt is always a prefix
of what was trained. Text is encoded in runs, cut only at control tokens and where an answer (or another learned turn)
starts; control tokens get their ids from here, contents never do. A model's own Jinja text enters by `from_jinja`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from chatwright.errors import ConfigError, DataError
from chatwright.registry import suggestion
from chatwright.text.layouts import END_OF_TEXT, LAYOUTS, Layout, Piece
from chatwright.text.records import Conversation, Document, conversation

if TYPE_CHECKING:
    from chatwright.text.tokenizer import Tokenizer

# One start of an answer of each kind that pre-tokenizers treat apart.
PROBES = ("Paris", "it", "'s", "1. one", "2024", "(a)", "...", "**bold**", "`x`", "<b>", "École", "東京", "🙂", "_")


@dataclass(frozen=True)
class Example:
    """`mask[i] == 1`: the model learns to produce `ids[i]` from the ids before it. Both have the same length."""

    ids: list[int]
    mask: list[int]


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

    def to_jinja(self) -> str:
        """The same template for `transformers`, with the learned parts in `{% generation %}` blocks."""


@dataclass(frozen=True)
class WrittenTemplate:
    """One of the templates of `text/layouts.py`.

    `plain` and `alpaca` mark roles with ordinary text, so a user who types "\\nAssistant:" imitates the
    assistant and no reader of the ids can tell. In `chatml` roles are control tokens, which no content
    can spell: it is the template for chatbots that talk with strangers.

    Learned are, of each message whose `learned` is true, the content and the control token that ends it.
    """

    name: str
    layout: Layout

    @property
    def special_tokens(self) -> tuple[str, ...]:
        return self.layout.special_tokens

    def render(self, conversation: Conversation, tokenizer: Tokenizer, *, reply: bool = False) -> Example:
        self._check_messages(conversation)
        pieces = list(self.layout.pieces(conversation))
        if reply:
            last = conversation.messages[-1].role
            if last not in ("user", "tool"):
                raise ConfigError(f"the last message is of the role {last}; end with a user message to ask for a reply")
            pieces.extend(self.layout.header)
        ids: list[int] = []
        mask: list[int] = []
        for run in _runs(pieces):
            if run.control:
                new = [self._id(run.text, tokenizer)]
            else:  # a vocabulary that begins a text with a space does so at the first run only
                new = tokenizer.encode(run.text, continues=bool(ids))
            ids.extend(new)
            mask.extend([int(run.learned)] * len(new))
        return Example(ids, mask)

    def check(self, tokenizer: Tokenizer) -> None:
        for token in (*self.special_tokens, self.layout.end):
            self._id(token, tokenizer)
        for probe in PROBES:
            runs = list(_runs(self.layout.pieces(conversation("Hi", probe))))
            at = next(i for i, run in enumerate(runs) if run.answer)
            left, answer = runs[at - 1].text, runs[at].text
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

    def to_jinja(self) -> str:
        return self.layout.jinja

    def _id(self, token: str, tokenizer: Tokenizer) -> int:
        """The id of a control token."""
        if token == END_OF_TEXT:
            return _end_of_text(tokenizer, f"--template {self.name} ends every answer with")
        found = tokenizer.special_tokens.get(token)
        if found is None:
            raise ConfigError(
                f"--template {self.name} needs the special token {token} in the vocabulary, which has "
                f"{', '.join(tokenizer.special_tokens) or 'no special tokens'}; fine-tune with --template {self.name}, "
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


def load(name_or_path: str) -> ChatTemplate:
    """`plain`, `chatml`, `alpaca`, or a `.jinja` file; raises ConfigError for anything else."""
    if name_or_path in LAYOUTS:
        return WrittenTemplate(name_or_path, LAYOUTS[name_or_path])
    path = Path(name_or_path)
    if path.suffix != ".jinja":
        raise ConfigError(
            f"--template is {name_or_path!r}{suggestion(name_or_path, LAYOUTS)}; "
            f"give one of {', '.join(LAYOUTS)} or the path of a .jinja file"
        )
    try:
        return from_jinja(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--template {path} cannot be read ({error}); give a Jinja file in UTF-8") from None


def from_jinja(source: str) -> ChatTemplate:
    """The template that wrote this Jinja text; raises ConfigError for one that was written elsewhere."""
    for name, layout in LAYOUTS.items():
        if source.strip() == layout.jinja:
            return WrittenTemplate(name, layout)
    raise ConfigError(
        f"the model's own chat template ({source.strip()[:40]!r}…) is none of {', '.join(LAYOUTS)}; "
        "give --template chatml to use that one in its place"
    )


def render_document(document: Document, tokenizer: Tokenizer) -> Example:
    """The text as it stands, then the end of text; all of it is learned."""
    ids = [*tokenizer.encode(document.text), _end_of_text(tokenizer, "every document ends with")]
    return Example(ids, [1] * len(ids))


def _runs(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Neighbouring texts joined, except where an answer starts or learning starts or ends."""
    run: Piece | None = None
    for piece in pieces:
        if run and not (run.control or piece.control or piece.answer) and run.learned == piece.learned:
            run = Piece(run.text + piece.text, run.learned, answer=run.answer)
            continue
        if run:
            yield run
        run = piece
    if run:
        yield run


def _end_of_text(tokenizer: Tokenizer, what: str) -> int:
    if tokenizer.end_of_text is None:
        raise ConfigError(
            f"{what} an end-of-text token, and this vocabulary has none; "
            f"train the tokenizer with {END_OF_TEXT} or use --template chatml"
        )
    return tokenizer.end_of_text
