"""Tokenizer and chat template of a model folder, which need none of its weights."""

from pathlib import Path
from typing import Any

from chatwright import console
from chatwright.checkpoint import adapter
from chatwright.checkpoint.files import read_json
from chatwright.checkpoint.places import find, is_adapter
from chatwright.errors import DataError
from chatwright.text import jinja_template
from chatwright.text import template as templates
from chatwright.text.template import ChatTemplate
from chatwright.text.tokenizer import Tokenizer

LARGEST_TEMPLATE = 2**20  # bytes; long ones take some 20 kB


def load_text(name: str | Path, template: str | None = None) -> tuple[Tokenizer, ChatTemplate]:
    """Tokenizer and template of `M`, without its weights."""
    folder = find(name)
    if is_adapter(folder) and not Tokenizer.is_in(folder):
        folder = adapter.base_folder(folder, adapter.read(folder))
    tokenizer, chat, own = read_text(folder, template, quiet=False)
    missing = [token for token in chat.special_tokens if tokenizer.id_of(token) is None]
    tokenizer = tokenizer.with_special(missing) if missing else tokenizer
    if own:
        chat.check(tokenizer)
    return tokenizer, chat


def load_tokenizer(folder: Path) -> Tokenizer:
    """A vocabulary from the folder of a tokenizer, a run's or a model's."""
    return Tokenizer.load(folder / "model" if (folder / "model").is_dir() else folder)


def read_text(folder: Path, template: str | None, *, quiet: bool) -> tuple[Tokenizer, ChatTemplate, bool]:
    """Tokenizer, template, and whether the template is the model's own or was asked for: a base model has none."""
    tokenizer = Tokenizer.load(folder)
    tokens = jinja_template.variables(_described(folder))
    if template is not None:
        return tokenizer, templates.load(template, tokens), True
    source = template_source(folder)
    if source is not None:
        return tokenizer, templates.from_jinja(source, tokens), True
    if not quiet:
        console.note(f"{folder} has no chat template; using --template plain")
    return tokenizer, templates.load("plain"), False


def template_source(folder: Path) -> str | None:
    """The Jinja text, from its own file or from tokenizer_config.json, where older tools keep it.

    Raises DataError for one that is no text, or absurdly large.
    """
    path = folder / "chat_template.jinja"
    if path.exists():
        _check_size(path.stat().st_size, path)
        try:
            return path.read_bytes().decode("utf-8")  # as text, its line ends might become others
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is not UTF-8 ({error})") from None
    source = jinja_template.source_of(_described(folder))
    _check_size(len(source or ""), f"the chat template in {folder / 'tokenizer_config.json'}")
    return source


def tokenizer_config(tokenizer: Tokenizer, template: ChatTemplate | None, stop: int | None) -> dict[str, Any]:
    """`tokenizer_config.json`, without the length of the window; `stop` ends an answer, where there is a template."""
    end = tokenizer.spelling_of(tokenizer.end_of_text)
    begin = tokenizer.spelling_of(tokenizer.begin_of_text)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": begin or end,
        "end_of_text": end,  # ours: the eos token ends a turn, this one a document
        "eos_token": end if template is None else tokenizer.spelling_of(stop),
        "pad_token": end,
        "clean_up_tokenization_spaces": False,
    }
    if template is None:
        return settings
    return {**settings, **template.tokens, "chat_template": template.to_jinja(tokenizer)}


def _check_size(size: int, what: object) -> None:
    if size > LARGEST_TEMPLATE:
        raise DataError(f"{what} has {size:,} bytes; a chat template has less than {LARGEST_TEMPLATE:,}")


def _described(folder: Path) -> dict[str, Any]:
    path = folder / "tokenizer_config.json"
    return read_json(path) if path.exists() else {}
