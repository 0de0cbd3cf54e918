"""What somebody else's program makes of a saved model: its Jinja template rendered and encoded as `transformers` does.

In: a model folder. Out: the ids of a prompt. It renders and encodes with no code of `text/`, because it is the second
opinion that the parity proof holds ours against: Jinja's sandbox for the template, `tokenizers` for the ids.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from jinja2 import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import CallBlock, Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from chatwright.errors import DataError
from chatwright.text.records import Conversation

if TYPE_CHECKING:
    import jinja2
    import tokenizers


class Exported:
    """The template and the vocabulary of a model folder, as other programs read them. Raises DataError."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        from chatwright.text import tokenizer

        try:
            source = (folder / "chat_template.jinja").read_text(encoding="utf-8")
            described = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
            self._template: jinja2.Template = _environment().from_string(source)
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
        messages = [{"role": message.role, "content": message.content} for message in conversation.messages]
        try:
            text = self._template.render(messages=messages, add_generation_prompt=True, tools=None, **self._special)
        except TemplateError as error:
            raise DataError(f"the exported template refuses the conversation ({error})") from None
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def spells_token(self, conversation: Conversation) -> bool:
        """Whether a content spells an added token: there the two differ by design (ours has ordinary ids)."""
        return any(token in message.content for message in conversation.messages for token in self._added)


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}`, which marks what is learned, renders its contents and nothing else."""

    tags = {"generation"}  # noqa: RUF012  (declared so by the base class)

    def parse(self, parser: Parser) -> Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return CallBlock(self.call_method("_contents"), [], [], body).set_lineno(line)

    def _contents(self, caller: Any) -> Any:
        return caller()


def _environment() -> jinja2.Environment:
    """The sandbox with the settings that chat templates are written for."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    return environment


def _to_json(value: Any, indent: int | None = None) -> str:
    """Jinja's own `tojson` escapes for HTML, which prompts are not."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _spelling(value: str | Mapping[str, Any]) -> str:
    """A special token stands as its text or as an object with `content`."""
    return value if isinstance(value, str) else str(value["content"])
