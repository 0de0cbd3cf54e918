"""Learns a vocabulary from data: a byte-level BPE, written as a tokenizer.json that Hugging Face reads.

Documents are learned from by their text, conversations by what is said in them. Deterministic: the same data give the
same file.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from chatwright import config, console
from chatwright.commands import _out
from chatwright.data import source
from chatwright.errors import DataError
from chatwright.text.records import Conversation, Document, Preference, Problem, Rated, Record
from chatwright.text.tokenizer import END_OF_TEXT, Tokenizer

POSITIONAL = ("data",)
EXAMPLES = (
    "chatwright tokenizer corpus.txt --vocab-size 4096 --out runs/tokenizer",
    "chatwright tokenizer primer:documents primer:conversations --vocab-size 2048 --out runs/tokenizer",
)


class Settings(config.Settings):
    """What to learn from, how large, and where to."""

    data: tuple[str, ...] = Field(
        min_length=1, description="files, folders, hub data sets or primer; several may be given"
    )
    out: Path = Field(description="folder for tokenizer.json")
    vocab_size: int = Field(default=4096, ge=257, description="ids in all: 256 bytes, merges, special tokens")
    special: tuple[str, ...] = Field(
        default=(END_OF_TEXT, "<|im_start|>", "<|im_end|>"), description="special tokens, which get the last ids"
    )
    format: str | None = Field(default=None, description="row format of the data; recognised if not given")
    skip_bad_rows: bool = Field(default=False, description="leave bad rows out and list them, instead of stopping")


def run(settings: Settings) -> dict[str, Any]:
    """Trains and saves; gives the sizes, what a token is worth in bytes, and the seconds that training took."""
    _out.check(settings.out)
    read = [source.read(name, format=settings.format, skip_bad_rows=settings.skip_bad_rows) for name in settings.data]
    texts = [text for dataset in read for record in dataset.records for text in contents(record)]
    if not texts:
        raise DataError(f"{', '.join(settings.data)}: holds no text to learn from; give a file with some")
    start = time.perf_counter()
    tokenizer = Tokenizer.train(texts, settings.vocab_size, settings.special)
    seconds = time.perf_counter() - start
    tokenizer.save(settings.out)
    missing = settings.vocab_size - tokenizer.vocab_size
    if missing:
        console.warn(f"the vocabulary is {missing:,} ids smaller than asked for: no more pairs occur twice in the data")
    size, count = sum(len(text.encode()) for text in texts), sum(map(len, tokenizer.encode_batch(texts)))
    report = {
        "out": str(settings.out),
        "vocab_size": tokenizer.vocab_size,
        "special_tokens": tokenizer.special_tokens,
        "texts": len(texts),
        "bytes": size,
        "tokens": count,
        "bytes_per_token": round(size / count, 3),
        "seconds": round(seconds, 3),
        "fingerprint": tokenizer.fingerprint,
    }
    if not settings.json:
        _show(report)
    return report


def contents(record: Record) -> Iterator[str]:
    """What a model would read of a record, text by text."""
    match record:
        case Document():
            yield record.text
        case Conversation():
            yield from (message.content for message in record.messages)
        case Preference():
            yield from contents(record.chosen)
            yield record.rejected.messages[-1].content
        case Rated():
            yield from contents(record.conversation)
        case Problem():
            yield from contents(record.prompt)


def _show(report: dict[str, Any]) -> None:
    """Three lines for a person."""
    out = console.out()
    out.print(f"{report['out']}/tokenizer.json: {report['vocab_size']:,} ids", style="bold", markup=False)
    out.print(
        f"learned in {report['seconds']:.1f} s from {report['texts']:,} texts, {report['bytes']:,} bytes, now "
        f"{report['tokens']:,} tokens of {report['bytes_per_token']:.2f} bytes"
    )
    named = ", ".join(f"{token} = {number}" for token, number in report["special_tokens"].items())
    out.print(f"special tokens: {named or 'none'}", markup=False)
