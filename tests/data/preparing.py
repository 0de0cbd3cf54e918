"""Preparing small data: a way to write rows, pieces of a few hundred bytes, and children that are killed on the way."""

import json
import multiprocessing
import os
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from chatwright.data import prepare, source
from chatwright.data.files import json_lines
from chatwright.data.prepare import Prepared
from chatwright.data.split import Shares, SplitRule
from chatwright.data.tokenise import How, TextKey
from chatwright.errors import ChatwrightError
from chatwright.text import template as templates
from chatwright.text.template import ChatTemplate
from chatwright.text.tokenizer import Tokenizer

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
ALL_TRAINED: Shares = (1.0, 0.0, 0.0)
WINDOW = 64


@cache
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["What is the answer? The answer is a number. " * 3], 290, SPECIAL)


@cache
def template(name: str = "chatml") -> ChatTemplate:
    return templates.load(name)


def how(
    shares: Shares = ALL_TRAINED, *, rule: str = "conversations", seq_len: int = WINDOW, name: str = "chatml"
) -> How:
    return How(TextKey.of(tokenizer(), template(name)), rule, seq_len, SplitRule(shares))


def row(*turns: str, **columns: Any) -> dict[str, Any]:
    """Turns of the user's and the assistant's in turn."""
    roles = ("user", "assistant") * len(turns)
    return {"messages": [{"role": role, "content": text} for role, text in zip(roles, turns, strict=False)], **columns}


def lines(*rows: object) -> str:
    return "".join(json.dumps(one) + "\n" for one in rows)


def talks(count: int, start: int = 0) -> str:
    """A file of short conversations, some of which do not fit the window whole."""
    return lines(
        *(
            row(f"What is {n} and {n}?", "It is " + f"{2 * n} " * (1 + n % 9), "Is it?", f"Yes, {2 * n}.")
            for n in range(start, start + count)
        )
    )


def put(path: Path, content: str) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(content, encoding="utf-8", errors="surrogateescape", newline="")
    return path


def prepared(spec: Path | str, one: How, root: Path, **options: Any) -> Prepared:
    """What `prepare` makes of a source; `kind` and `workers` are options."""
    stream = source.open(str(spec), options.pop("kind", "conversations"), options.pop("options", None))
    return prepare.prepare(stream, one, root=root, **options)


def ids(found: Prepared, split: str = "train") -> list[tuple[list[int], list[bool]]]:
    """Ids and masks of each example, in order."""
    examples = found.examples.get(split)
    return [(examples[k].ids.tolist(), examples[k].mask.tolist()) for k in range(len(examples))] if examples else []


def files(root: Path) -> dict[str, bytes]:
    """Everything that lies in a folder, however deep."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@contextmanager
def pieces_of(size: int, *, alone: int = 8, segment: int = 2, seconds: float = 1e9) -> Iterator[None]:
    """Pieces of `size` bytes, `alone` of them before others are asked, and `segment` in a segment, or those of `seconds`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_lines, "BYTES", size)
        patch.setattr(prepare, "ALONE", alone)
        patch.setattr(prepare, "PIECES", segment)
        patch.setattr(prepare, "SECONDS", seconds)
        yield


@contextmanager
def quick() -> Iterator[None]:
    """Without waiting for the disk, and without hashing the program again for every preparation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        patch.setattr(prepare, "_program", cache(prepare._program))
        yield


def child(function: Callable[..., None], *arguments: object) -> BaseProcess:
    """A function in a process of its own, which has begun."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["chatwright.data.prepare", "pytest"])
    process = context.Process(target=_ended, args=(function, *arguments))
    process.start()
    return process


def in_child(function: Callable[..., None], *arguments: object) -> int | None:
    """The exit code of a function in a process of its own; below 0 where a signal ended it."""
    process = child(function, *arguments)
    process.join(60)
    return process.exitcode


def _ended(function: Callable[..., None], *arguments: object) -> None:
    """Ends as the command line does, and says nothing: where files are kept small, so is the one that says it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    try:
        function(*arguments)
    except ChatwrightError as error:
        os._exit(error.exit_code)


def killed_at(number: int, torn: bool, given: tuple[Any, ...]) -> None:
    """`prepared` in pieces, killed before the disk is told to keep something for the nth time.

    `torn`: the last bytes that were written then are lost, as when the power fails.
    """
    path, one, root, program = given
    prepare._program = lambda: program  # which the parent has hashed already
    calls = iter(range(1_000_000))

    def dying(inner: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if next(calls) == number:
                if torn and isinstance(arguments[0], int) and stat.S_ISREG((found := os.fstat(arguments[0])).st_mode):
                    os.truncate(arguments[0], max(0, found.st_size - 3))
                os.kill(os.getpid(), signal.SIGKILL)
            return inner(*arguments)

        return call

    for name, inner in {"fsync": lambda _: None, "replace": os.replace, "rename": os.rename}.items():
        setattr(os, name, dying(inner))
    with pieces_of(400, alone=1_000):
        prepared(path, one, root)
