"""Learns a vocabulary from data: a byte-level BPE, written as a tokenizer.json that Hugging Face reads.

Documents are learned from by their text, conversations by what is said in them. Deterministic: the same data give the
same file.
"""

import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import Field

from chatwright import console
from chatwright.commands import _out
from chatwright.data import source
from chatwright.data.rows import BadRow
from chatwright.data.settings import DataSettings, Names
from chatwright.data.source import Stream
from chatwright.errors import DataError
from chatwright.text.records import Conversation, Document, Preference, Problem, Rated, Record
from chatwright.text.tokenizer import END_OF_TEXT, Tokenizer

POSITIONAL = ("data",)
EXAMPLES = (
    "chatwright tokenizer corpus.txt --vocab-size 4096 --out runs/tokenizer",
    "chatwright tokenizer primer:documents primer:conversations --vocab-size 2048 --out runs/tokenizer",
)

MEASURED = 1_000  # texts that are encoded together


class Settings(DataSettings):
    """What to learn from, how large, and where to."""

    data: Names = Field(min_length=1, description="files, folders, hub data sets or primer; several may be given")
    out: Path = Field(description="folder for tokenizer.json")
    vocab_size: int = Field(default=4096, ge=257, description="ids in all: 256 bytes, merges, special tokens")
    special: tuple[str, ...] = Field(
        default=(END_OF_TEXT, "<|im_start|>", "<|im_end|>"), description="special tokens, which get the last ids"
    )


def run(settings: Settings) -> dict[str, Any]:
    """Trains and saves; gives the sizes, what a token is worth in bytes, and the seconds that training took."""
    _out.check(settings.out)
    streams = [source.open(name, options=settings.read_options()) for name in settings.data]
    start = time.perf_counter()
    tokenizer = Tokenizer.train(_texts(streams), settings.vocab_size, settings.special)
    seconds = time.perf_counter() - start
    for stream in streams:
        source.judge(stream.report, settings.skip_bad_rows, settings.max_bad_share)
        source.tell(stream.report)
    count, size, tokens = _measured(streams, tokenizer)
    if not count:
        raise DataError(f"{', '.join(settings.data)}: holds no text to learn from; give a file with some")
    tokenizer.save(settings.out)
    missing = settings.vocab_size - tokenizer.vocab_size
    if missing:
        console.warn(f"the vocabulary is {missing:,} ids smaller than asked for: no more pairs occur twice in the data")
    report = {
        "out": str(settings.out),
        "vocab_size": tokenizer.vocab_size,
        "special_tokens": tokenizer.special_tokens,
        "texts": count,
        "bytes": size,
        "tokens": tokens,
        "bytes_per_token": round(size / tokens, 3),
        "seconds": round(seconds, 3),
        "fingerprint": tokenizer.fingerprint,
    }
    if not settings.json:
        _show(report)
    return report


def _texts(streams: Sequence[Stream]) -> Iterator[str]:
    """All texts of all sources, read anew each time: they may be more than fit into memory."""
    records = (found for stream in streams for found in stream if not isinstance(found, BadRow))
    return (text for record in records for text in contents(record))


def _measured(streams: Sequence[Stream], tokenizer: Tokenizer) -> tuple[int, int, int]:
    """Texts, their bytes and their tokens."""
    count = size = tokens = 0
    texts = _texts(streams)
    while some := list(islice(texts, MEASURED)):
        count, size = count + len(some), size + sum(len(text.encode()) for text in some)
        tokens += sum(map(len, tokenizer.encode_batch(some)))
    return count, size, tokens


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
