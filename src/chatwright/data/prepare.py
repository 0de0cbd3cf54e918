"""A source -> its examples on disk, made by several processes where there is much of it, and used again while nothing
that decides them has changed: data, tokenizer, template, window, splits and the program itself.
"""

import hashlib
import json
import os
import platform
import shutil
import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from itertools import chain, islice
from pathlib import Path
from typing import Any

from chatwright import console, disk
from chatwright.data import cache, shards
from chatwright.data.examples import Examples
from chatwright.data.report import Account, DataReport
from chatwright.data.samples import Sample, Samples
from chatwright.data.source import Stream
from chatwright.data.split import cut_notes
from chatwright.data.tokenise import Chunk, How, Task, tokenise
from chatwright.data.workers import Workers
from chatwright.errors import NoCheckpoint

FACTS, SAMPLES = "facts.json", "samples.jsonl"  # beside the arrays of `shards`
PARTIAL, WHOLE = "partial", "whole"  # of the folder that all of them lie in
ALONE = 8  # pieces of work done by this process before others are started: for less data they would not pay
PIECES, SECONDS = 32, 5.0  # of work in a segment: what is lost when the process is killed
# that read rows, find what is to be hidden in them, or make ids: another version of one may make others
LIBRARIES = ("tokenizers", "tiktoken", "jinja2", "pyarrow", "zstandard", "phonenumbers", "python-stdnum", "spacy")
Told = tuple[int, int]  # the first notes and readings of a stream, by number


@dataclass(frozen=True)
class Prepared:
    """`examples` by split, those that have any; `samples` of the conversations; the `report` of every row."""

    examples: dict[str, Examples]
    samples: Samples
    report: DataReport


def prepare(stream: Stream, how: How, *, root: Path | None = None, workers: int | None = None) -> Prepared:
    """The examples of a source, from the folder where the same were prepared before, or made now.

    root: where such folders are, `$XDG_CACHE_HOME/chatwright/prepared` by default. workers: processes, as many as there
    are processors by default. Raises DataError for files that cannot be read, DiskFull; what was done until then is kept
    and gone on from the next time.
    """
    with cache.held(root, _key(stream, how)) as folder:
        if not _is_whole(folder / WHOLE):
            _make(stream, how, folder, workers or os.cpu_count() or 1)
        with suppress(OSError):  # in the way of nothing
            _remove(folder / PARTIAL)
        return _load(stream, how, folder / WHOLE)


def _make(stream: Stream, how: How, folder: Path, workers: int) -> None:
    """Writes all segments; anew where it turns out that the splits need another rule, which few rows do."""
    while True:
        mark = hashlib.sha256(repr(how.split).encode()).hexdigest()
        _check_parts(folder / PARTIAL / mark)
        segments = _Segments(stream, how, folder / PARTIAL / mark)
        segments.write(workers)
        notes: list[str] = []
        better = how.split.corrected(shards.hashes(segments.folder), notes)
        if better == how.split:
            break
        how = replace(how, split=better)
    segments.seal(notes)
    os.rename(segments.folder, folder / WHOLE)
    disk.sync(folder)


class _Segments:
    """The segments of one source under one rule, in a folder of their own; those that are there are not made again."""

    def __init__(self, stream: Stream, how: How, folder: Path) -> None:
        self.stream, self.how, self.folder = stream, how, folder
        self.writer = shards.Writer(folder, shards.id_type(how.text.opened().tokenizer.vocab_size))
        self.samples = Samples()
        self.account = Account()
        self.told: Told = (0, 0)  # that belong to what is done
        for fact in self.writer.facts:
            self.account.add(Account.of(fact["account"]))
            self.samples.kept.extend(map(Sample.of, fact["samples"]))
        if self.writer.facts:
            console.note(f"going on with {stream.source.text}, of which {self.account.read:,} rows are prepared")

    def write(self, workers: int) -> None:
        """Adds those that are missing. What was added stays, whatever happens."""
        facts = self.writer.facts
        done = sum(fact["pieces"] for fact in facts)
        with closing(self.writer), closing(self._chunks(done, workers)) as chunks:
            if facts and facts[-1]["is_last"]:
                return
            some: list[Chunk] = []
            began = time.monotonic()
            for chunk in chunks:
                some.append(chunk)
                if len(some) == PIECES or time.monotonic() - began > SECONDS:
                    self._write(some, is_last=False)
                    some, began = [], time.monotonic()
            self._write(some, is_last=True)  # which may be empty, and says so

    def seal(self, notes: list[str]) -> None:
        """Writes what is known once all segments are there, and a manifest of everything."""
        last = self.writer.facts[-1]
        cut = cut_notes(self.account.cut_documents, self.account.document_pieces)
        facts = {
            "format": last["format"],
            "columns": last["columns"],
            "notes": [*last["notes"], *cut, *notes],
            "account": self.account.as_dict(),
        }
        self.samples.save(self.folder / SAMPLES)
        disk.sweep(self.folder)
        sums = disk.checksums(self.folder)
        disk.write_json(self.folder / FACTS, {**facts, "fingerprint": shards.fingerprint(sums)})
        sums[FACTS] = disk.sha256(self.folder / FACTS)
        disk.write_json(self.folder / disk.MANIFEST, {"files": dict(sorted(sums.items()))})

    def _write(self, chunks: list[Chunk], *, is_last: bool) -> None:
        account = Account()
        for chunk in chunks:
            account.add(chunk.account)
        samples = [sample.as_dict() for chunk in chunks for sample in chunk.samples]
        facts = {"account": account.as_dict(), "samples": samples, "pieces": len(chunks), "is_last": is_last}
        if is_last:
            notes, readings = self.told
            facts["format"] = ", ".join(dict.fromkeys(reading.format for reading in self.stream.readings[:readings]))
            facts["columns"] = dict(self.stream.readings[0].columns) if readings else {}
            facts["notes"] = self.stream.notes[:notes]
        self.writer.write(shards.merged([chunk.segment for chunk in chunks], facts))

    def _chunks(self, done: int, workers: int) -> Generator[Chunk, None, None]:
        """The pieces of work after those that are done, in their order, up to the records that are wanted."""
        most, work = self.stream.most, self.stream.work()
        for _ in islice(work, done):
            pass  # opens what they are in, which may have to be noted
        self.told = self._told()
        if most is not None and self.account.records >= most:
            return
        for task, chunk, told in self._tokenised(work, workers):
            over = most is not None and self.account.records + chunk.account.records >= most
            if over and most is not None:
                chunk = tokenise(replace(task, most=most - self.account.records))
            self.account.add(chunk.account)
            chunk.samples, self.told = self.samples.add(chunk.samples), told
            yield chunk
            if over:
                return
        self.told = self._told()

    def _tokenised(self, work: Iterator[Any], workers: int) -> Iterator[tuple[Task, Chunk, Told]]:
        """Each piece with what it became: the first ones made here, the others by other processes."""
        tasks = ((Task(one, self.how, samples=self.samples.wanted), self._told()) for one in work)
        for task, told in islice(tasks, ALONE):
            yield task, tokenise(task), told
        following = next(tasks, None)
        if following is None:
            return
        sent: deque[tuple[Task, Told]] = deque()

        def sending() -> Iterator[Task]:
            for task, told in chain([following], tasks):
                sent.append((task, told))
                yield task

        size, done = self.stream.size, 0  # without a size, rows are counted towards an end that nobody knows
        total, unit = (size // 1_000_000, "MB") if size else (None, "row")
        with console.progress("preparing", total, unit) as bar, Workers(tokenise, workers) as pool:
            for chunk in pool.results(sending()):
                task, told = sent.popleft()
                yield task, chunk, told
                done += task.work.size
                if size:
                    bar.update(done // 1_000_000, rows=self.account.read)
                else:
                    bar.update(self.account.read)

    def _told(self) -> Told:
        """How much was found out about the reading by now, which may be ahead of what is done."""
        return len(self.stream.notes), len(self.stream.readings)


def _load(stream: Stream, how: How, folder: Path) -> Prepared:
    """What a whole folder holds."""
    stored = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    examples = shards.opened(folder, shards.id_type(how.text.opened().tokenizer.vocab_size))
    report = DataReport(
        name=stream.source.text,
        format=stored["format"],
        columns=stored["columns"],
        notes=tuple(stored["notes"]),
        account=Account.of(stored["account"]),
        splits={name: len(some) for name, some in examples.items()},
        fingerprint=stored["fingerprint"],
        weight=stream.source.weight,
        public_name=stream.public_name,
    )
    return Prepared(examples, Samples.load(folder / SAMPLES), report)


def _key(stream: Stream, how: How) -> str:
    """SHA-256 of everything that decides the examples."""
    names = _pipeline(stream.options.chats.ner)
    parts = (stream.key, how.rule, how.seq_len, how.split, how.text, names, _program())
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _program() -> str:
    """What turns rows into ids: another version of it may make others."""
    package = Path(__file__).parent.parent
    sources = sorted(path for name in ("data", "text") for path in (package / name).rglob("*.py"))
    own = hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()
    return " ".join([own, platform.python_version(), *map(_version, LIBRARIES)])


def _pipeline(name: str) -> str:
    """Which names the pipeline of that name, a package or a folder, finds in texts is told by this."""
    if not name:
        return ""
    try:
        return _version(name) or repr(disk.checksums(Path(name)))
    except OSError:  # those who open it say what is wrong
        return ""


def _version(package: str) -> str:
    """The name and version of what is installed, and nothing for what is not."""
    try:
        return f"{package} {version(package)}"
    except (PackageNotFoundError, ValueError):
        return ""


def _is_whole(folder: Path) -> bool:
    """Whether everything is there, and as it was written; what is not is deleted."""
    if not (folder.exists() or folder.is_symlink()):
        return False
    try:
        disk.verify(folder)
    except NoCheckpoint:
        console.warn(f"{folder} was changed or damaged after it was written; the data is prepared anew")
        _remove(folder)
        return False
    return True


def _check_parts(folder: Path) -> None:
    """What is no folder of files was not left by a preparation: it is deleted, and begun anew."""
    for path in (folder.parent, folder):
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            _remove(path)
    if folder.exists() and not all(path.is_file() for path in folder.iterdir()):
        _remove(folder)


def _remove(path: Path) -> None:
    """A folder with all that is in it, or whatever else has its name."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
