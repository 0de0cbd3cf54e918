"""The settings of every verb that reads data: how rows are understood, whose chats they are, and what may be wrong."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from chatwright import config
from chatwright.data.options import ChatOptions, ReadOptions
from chatwright.data.source import MAX_BAD_SHARE
from chatwright.errors import ConfigError

MAX_TRUNCATED_SHARE = 0.01  # of the rows, that may lose text at --seq-len


def _several(value: Any) -> Any:
    """One name is a list of one: in YAML, `data: chats.jsonl`."""
    return [value] if isinstance(value, str) else value


Names = Annotated[list[str], BeforeValidator(_several)]


class Redact(config.Group):
    """What is hidden in somebody's own chats before anything else sees them."""

    off: bool = Field(
        default=False,
        description="hide nothing: names, addresses and numbers are learned",
        json_schema_extra={"short": ["--no-redact"]},
    )
    ner: str | None = Field(default=None, description="a token-classification model that finds names in free text")


class DataSettings(config.Settings):
    """How data is read; `read_options` is the same for `source`."""

    format: str | None = Field(
        default=None,
        description="how rows are read, where it is not to be recognised",
        json_schema_extra={"short": ["--data.format"]},
    )
    columns: dict[str, str] | None = Field(
        default=None,
        description="columns by other names: {instruction: question}",
        json_schema_extra={"short": ["--data.columns"]},
    )
    tree: str = Field(
        default="best",
        description="threads read of each message tree: best, all or a number",
        json_schema_extra={"short": ["--data.threads"]},
    )
    languages: list[str] = Field(
        default=[],
        description="the wanted ones (en de): in trees, messages that say another are left out; check --fix leaves out rows",
        json_schema_extra={"short": ["--data.languages"]},
    )
    me: str | None = Field(
        default=None, description="in an export of chats, whose messages are learned; guessed if not given"
    )
    gap_hours: float = Field(
        default=8.0,
        gt=0,
        allow_inf_nan=False,
        description="hours of silence, after which a new conversation begins in them",
    )
    hide: Path | None = Field(default=None, description="a file of further names to hide in chats, one a line")
    redact: Redact = Redact()
    skip_bad_rows: bool = Field(default=False, description="leave out rows that cannot be read, and list them")
    max_bad_share: float = Field(
        default=MAX_BAD_SHARE, ge=0, le=1, description="of the rows, when bad ones are skipped"
    )
    max_truncated_share: float = Field(
        default=MAX_TRUNCATED_SHARE, ge=0, le=1, description="of the rows, that may lose text at --seq-len"
    )

    @field_validator("tree")
    @classmethod
    def _threads(cls, value: str) -> str:
        if value not in ("best", "all") and not (value.isdecimal() and int(value) > 0):
            raise ValueError(f"must be best, all or a whole number from 1 up, got {value!r}")
        return value

    def read_options(self) -> ReadOptions:
        """The same as plain values; ConfigError if the file of names to hide cannot be read."""
        return ReadOptions(
            format=self.format,
            columns=tuple((self.columns or {}).items()),
            threads=self.tree,
            languages=tuple(part.strip() for one in self.languages for part in one.split(",") if part.strip()),
            chats=ChatOptions(
                me=self.me or "",
                gap_hours=self.gap_hours,
                redact=not self.redact.off,
                hide=() if self.hide is None else hidden(self.hide),
                ner=self.redact.ner or "",
            ),
        )


def hidden(path: Path) -> tuple[str, ...]:
    """The names in a file, one a line; empty lines and those that begin with # are left out."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"--hide: {path} cannot be read: {reason}; give a text file with one name a line") from None
    return tuple(name for line in lines if (name := line.strip()) and not name.startswith("#"))
