"""Whether what lies in folders belongs together: model, vocabulary and template; an adapter, its base and its run."""

from pathlib import Path

from chatwright import console
from chatwright.checkpoint.adapter import Adapter
from chatwright.checkpoint.weights import fingerprint
from chatwright.errors import ConfigError, DataError
from chatwright.text.template import ChatTemplate
from chatwright.text.tokenizer import Tokenizer


def check_vocabulary(tokenizer: Tokenizer, rows: int, folder: Path) -> None:
    """DataError for a model with fewer embeddings than there are tokens."""
    if tokenizer.vocab_size > rows:
        raise DataError(
            f"{folder}: the tokenizer has {tokenizer.vocab_size} tokens, but the model only {rows} "
            "embeddings; the two do not belong together"
        )


def warn_of_missing(template: ChatTemplate, tokenizer: Tokenizer, folder: Path) -> None:
    """Says on stderr that a model's own template needs tokens that its vocabulary lacks."""
    missing = [token for token in template.special_tokens if tokenizer.id_of(token) is None]
    if missing:
        console.warn(
            f"the chat template of {folder} needs {missing[0]}, which its vocabulary lacks: a row is added that the model "
            "never learned; if it was trained on that spelling as text, give another --template"
        )


def check_same(adapter: Adapter, written: Adapter, folder: Path) -> None:
    """ConfigError for a folder that was written on another base than the run's."""
    if written.base_fingerprint != adapter.base_fingerprint:
        raise ConfigError(
            f"{folder} was trained on another {adapter.base} than what lies there now; bring that back, or begin anew"
        )


def check_text(tokenizer: Tokenizer, template: ChatTemplate, own: bool, folder: Path) -> None:
    """ConfigError for an adapter that cannot be talked to, because the base of a chat gets no new tokens."""
    missing = [token for token in template.special_tokens if tokenizer.id_of(token) is None]
    if missing:
        raise ConfigError(
            f"{folder} lacks {missing[0]!r} of its template {template.name} in its vocabulary, and a model that others "
            f"speak through cannot grow; load it alone: chatwright chat {folder}"
        )
    if own:
        template.check(tokenizer)
    template.stop_ids(tokenizer)


def check_base(adapter: Adapter, base: Path) -> None:
    """ConfigError where the weights of the base are not those that the adapter was made for."""
    if adapter.base_fingerprint and adapter.base_fingerprint != fingerprint(base):
        raise ConfigError(
            f"the adapter was trained on another {adapter.base}: the weights in {base} are not the ones it was made for"
        )
