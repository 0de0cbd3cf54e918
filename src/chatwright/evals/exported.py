"""What somebody else's program makes of a saved model: its Jinja template rendered and encoded as `transformers` does.

In: a model folder. Out: the ids of a prompt. It is the second opinion that the parity proof holds ours against: the
template runs in the same sandbox, but its text goes whole through `tokenizers`, with no code of `text/` in between.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from chatwright.errors import DataError
from chatwright.text.records import Conversation
from chatwright.text.sandbox import Sandbox

if TYPE_CHECKING:
    import tokenizers


class Exported:
    """The template and the vocabulary of a model folder, as other programs read them. Raises DataError.

    now: what the template tells as the time; that of the reading if not given.
    """

    def __init__(self, folder: Path, *, now: datetime | None = None) -> None:
        from tokenizers import Tokenizer

        from chatwright.text import tokenizer

        try:
            source = (folder / "chat_template.jinja").read_text(encoding="utf-8")
            described = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
            self._template = Sandbox(source, now=now)
            self._tokenizer: tokenizers.Tokenizer = Tokenizer.from_buffer(tokenizer.Tokenizer.load(folder).file)
        except (OSError, ValueError) as error:
            raise DataError(f"{folder}: the exported chat template cannot be read ({error})") from None
        except TemplateError as error:
            raise DataError(f"{folder}: the exported template is no valid Jinja ({error})") from None
        self._special = {
            name: _spelling(value) for name, value in described.items() if name.endswith("_token") and value
        }
        self._added = [token.content for token in self._tokenizer.get_added_tokens_decoder().values()]

    def prompt(self, conversation: Conversation) -> list[int]:
        """The ids of the prompt for the next answer. Raises DataError with the reason when the template refuses."""
        messages = [
            {"role": one.role, "content": one.content} | ({"name": one.name} if one.name else {})
            for one in conversation.messages
        ]
        try:
            text = self._template.render(messages, add_generation_prompt=True, tokens=self._special)
        except TemplateError as error:
            raise DataError(f"the exported template refuses the conversation ({error})") from None
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def spells_token(self, conversation: Conversation) -> bool:
        """Whether a content spells an added token: there the two differ by design (ours has ordinary ids)."""
        return any(token in message.content for message in conversation.messages for token in self._added)


def _spelling(value: str | Mapping[str, Any]) -> str:
    """A special token stands as its text or as an object with `content`."""
    return value if isinstance(value, str) else str(value["content"])
