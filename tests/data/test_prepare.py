"""From a source to its examples: every row is used or listed, the ids are those of each record by itself, whoever made
them and however often."""

import importlib.metadata
import inspect
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from preparing import WINDOW, files, how, ids, lines, pieces_of, prepared, put, quick, row, talks, template, tokenizer

from chatwright.data import parts, prepare, source
from chatwright.data.options import ChatOptions, ReadOptions
from chatwright.data.prepare import Prepared
from chatwright.data.report import Truncated
from chatwright.data.rows import BadRow
from chatwright.data.samples import WANTED
from chatwright.data.split import NAMES, Shares, split
from chatwright.data.tokenise import TextKey
from chatwright.data.truncate import Fit, fit
from chatwright.text import template as templates
from chatwright.text.records import Conversation, Document, Message, Record
from chatwright.text.template import ChatTemplate, Example, render_document

THREE: Shares = (0.6, 0.2, 0.2)
MESSAGES = ReadOptions(format="messages")


@pytest.fixture(autouse=True, scope="module")
def _quick() -> Iterator[None]:
    with quick():
        yield


# ---- any rows at all

TEXT = st.builds(
    "a{}{}".format,
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12),
    st.sampled_from(["", "\u2028b", " c" * 20, "d" * 90]),
)
ANSWER = st.builds(Message, st.just("assistant"), TEXT, st.sampled_from([None, None, None, False]))
EXCHANGE = st.tuples(st.builds(Message, st.just("user"), TEXT), ANSWER)
TALK = st.builds(
    lambda system, exchanges, last: Conversation((*system, *(one for pair in exchanges for one in pair), *last)),
    st.lists(st.builds(Message, st.just("system"), TEXT), max_size=1),
    st.lists(EXCHANGE, min_size=1, max_size=3),
    st.lists(st.builds(Message, st.just("user"), TEXT), max_size=1),
)


def written(talk: Conversation, readable: bool, columns: dict[str, Any]) -> tuple[bytes, Conversation]:
    """A conversation as a line of a file."""
    messages = [
        {"role": one.role, "content": one.content} | ({} if one.learn is None else {"learn": one.learn})
        for one in talk.messages
    ]
    return json.dumps({**columns, "messages": messages}, ensure_ascii=not readable).encode(), talk


GOOD = st.builds(written, TALK, st.booleans(), st.sampled_from([{}, {"id": 1}, {"tags": ["\u2029"]}]))
BAD = st.sampled_from(
    [
        (b'{"messages": [', "is not JSON"),
        (b"[1, 2]", "a row must be an object"),
        (b"null", "a row must be an object"),
        (b'{"messages": [], "messages": []}', "is there twice"),
        (b'{"messages": "\xff"}', "byte 0xff at column 15 is not UTF-8"),
        (json.dumps(row("Hi", "")).encode(), "message 2"),
        (json.dumps(row("Hi", "half \ud800")).encode(), "half of a surrogate pair"),
        (json.dumps(row("Hi \0", "Hello")).encode(), "NUL"),
        (json.dumps(row("Hi", "Hello") | {"messages": [{"role": "robot", "content": "x"}]}).encode(), "robot"),
        (b"{}", "messages"),
        (json.dumps({"\ud800": 1}).encode(), "messages"),
    ]
)
BLANK = st.sampled_from([(b"", None), (b"  \t", None), (b"\r", None)])
LINE = st.one_of(GOOD, GOOD, GOOD, BAD, BLANK)
FILES = st.lists(
    st.tuples(st.lists(LINE, max_size=7), st.sampled_from([b"\n", b"\r\n"]), st.booleans()), min_size=1, max_size=3
)


def taught(talk: Conversation) -> tuple[Example | None, Fit]:
    """What one conversation teaches: cut to whole turns and rendered by itself."""
    found = fit(talk, tokenizer(), template(), WINDOW + 1)
    if found.conversation is None:
        return None, found.fit
    whole = template().render(found.conversation, tokenizer())
    end = WINDOW + 1
    if found.fit == Fit.TURNS_DROPPED:  # up to the end of the last turn; the line end after it may be too much
        end = max(place for place, learned in enumerate(whole.mask) if learned) + 1
        assert not any(whole.mask[end:])
    return Example(whole.ids[:end], whole.mask[:end]), found.fit


class Told:
    """What has to come of the files of a folder."""

    def __init__(self) -> None:
        self.read = 0
        self.used: list[Record] = []
        self.listed: list[tuple[str, int, str]] = []
        self.truncated: list[tuple[str, int, str]] = []

    def line(self, file: str, number: int, meaning: Conversation | str | None) -> None:
        if meaning is None:
            return
        self.read += 1
        if isinstance(meaning, str):
            self.listed.append((file, number, meaning))
            return
        example, how_it_fits = taught(meaning)
        if example is None:
            self.listed.append((file, number, how_it_fits))
            return
        self.used.append(meaning)
        if how_it_fits is not Fit.WHOLE:
            self.truncated.append((file, number, how_it_fits))


def folder_of(folder: Path, contents: list[tuple[list[tuple[bytes, Any]], bytes, bool]]) -> Told:
    """Writes the files, and says what has to come of them."""
    told = Told()
    for number, (rows, end, ends) in enumerate(contents):
        path = folder / f"{number}.jsonl"
        content = end.join(text for text, _ in rows)
        path.write_bytes(content + (end if ends else b""))
        if not (content + (end if ends else b"")).strip():
            told.line(str(path), 1, "the file is empty")
            continue
        for line, (_, meaning) in enumerate(rows, start=1):
            told.line(str(path), line, meaning)
    return told


def agrees(found: list[dict[str, Any]], expected: list[tuple[str, int, str]]) -> None:
    """The same files and lines in the same order, for the same reasons."""
    assert [(one["file"], one["line"]) for one in found] == [(file, line) for file, line, _ in expected]
    for one, (_, _, reason) in zip(found, expected, strict=True):
        assert reason in one["reason"]


@given(contents=FILES, size=st.integers(20, 2_000), shares=st.sampled_from([(1.0, 0.0, 0.0), THREE]))
@settings(max_examples=60, deadline=None)
def test_every_row_is_used_or_listed_and_its_ids_are_those_of_the_record_by_itself(
    contents: Any, size: int, shares: Shares
) -> None:
    with TemporaryDirectory() as place, pieces_of(size, alone=1_000):
        folder = Path(place) / "data"
        folder.mkdir()
        told = folder_of(folder, contents)
        found = prepared(folder, how(shares), Path(place) / "cache", options=MESSAGES)
        again = prepared(folder, how(shares), Path(place) / "cache", options=MESSAGES)
        report = found.report.as_dict()
        assert json.loads(json.dumps(report)) == report == again.report.as_dict()
        assert report["read"] == told.read == report["used"] + sum(one["rows"] for one in report["listed"])
        assert report["used"] == len(told.used)
        assert report["dropped"] + report["filtered"] == len(report["listed"])
        agrees(report["listed"], told.listed)
        agrees(report["truncated"], told.truncated)
        places = {(one["file"], one["line"]) for one in report["listed"]}
        assert not places & {(one["file"], one["line"]) for one in report["truncated"]}
        wanted = split(told.used, shares)
        for name in NAMES:
            expected = [taught(one)[0] for one in getattr(wanted, name)]
            assert (
                ids(found, name) == ids(again, name) == [(one.ids, [*map(bool, one.mask)]) for one in expected if one]
            )
            assert report["splits"].get(name, 0) == len(expected) == len(ids(found, name))
            learned = [sum(one.mask[1:]) for one in expected if one]
            assert (found.examples[name].learned.tolist() if name in found.examples else []) == learned
            assert all(learned)


def message(name: str, parent: str | None, speaks: str, text: str) -> dict[str, Any]:
    return {"message_id": name, "parent_id": parent, "message_tree_id": "t", "role": speaks, "text": text, "lang": "en"}


NODE = st.builds(
    message,
    st.sampled_from("abcdef"),
    st.sampled_from([None, "start", "start", *"abcdefz"]),
    st.sampled_from(["prompter", "assistant", "nobody"]),
    st.sampled_from(["Hi", "", "x" * 200, "half \ud800"]),
)


@given(
    nodes=st.lists(st.one_of(NODE, NODE, NODE, st.just([1])), min_size=1, max_size=12),
    threads=st.sampled_from(["best", "all", "2"]),
    size=st.integers(50, 800),
    limit=st.integers(0, 3),
)
@example(nodes=[message("a", "start", "assistant", "Hi")], threads="best", size=800, limit=0)
@settings(max_examples=60, deadline=None)
def test_every_message_of_a_tree_is_on_a_thread_that_is_used_or_listed(
    nodes: list[Any], threads: str, size: int, limit: int
) -> None:
    options = ReadOptions(format="oasst", threads=threads)
    with TemporaryDirectory() as place, pieces_of(size, alone=1_000):
        path = put(Path(place) / "trees.jsonl", lines(message("start", None, "prompter", "Hi"), *nodes))
        spec = f"{path}#{limit}" if limit else path
        found = prepared(spec, how(THREE), Path(place) / "cache", options=options)
        report = found.report.as_dict()
        assert report["read"] == report["used"] + sum(one["rows"] for one in report["listed"])
        stream = source.open(str(spec), "conversations", options)
        records = [one for one in stream if not isinstance(one, BadRow)]
        assert report["read"] == stream.report.read
        assert limit or report["read"] == 1 + len(nodes)
        assert report["records"] == len(records)
        taken = [example for one in records if isinstance(one, Conversation) and (example := taught(one)[0])]
        assert sum(report["splits"].values()) == len(taken) == sum(len(ids(found, name)) for name in NAMES)


def test_what_would_be_learned_of_nothing_but_its_first_token_is_listed(tmp_path: Path) -> None:
    """The first token of a text is no target: nothing comes before it."""
    alone = {"messages": [{"role": "system", "content": "a", "learn": True}, {"role": "user", "content": "Hi"}]}
    path = put(tmp_path / "rows.jsonl", lines(alone, row("Hi", "Hello")))
    found = prepared(path, how(name="plain"), tmp_path / "cache")
    assert [one["line"] for one in found.report.as_dict()["listed"]] == [1]
    assert found.examples["train"].learned.min() > 0


# ---- documents


@given(
    texts=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    seq_len=st.sampled_from([16, 300, 5_000]),
    words=st.sampled_from([3, 150, 700]),
)
@settings(max_examples=30, deadline=None)
def test_documents_are_split_as_records_are_and_each_of_their_tokens_is_learned_once(
    texts: list[int], seq_len: int, words: int
) -> None:
    documents = [
        "".join(f"Page {page} of {number}.\n{'word ' * words}\n\n" for page in range(pages))
        for number, pages in enumerate(texts)
    ]
    with TemporaryDirectory() as place:
        path = put(Path(place) / "texts.jsonl", lines(*({"text": text} for text in documents)))
        one = how(THREE, rule="documents", seq_len=seq_len)
        found = prepared(path, one, Path(place) / "cache", kind="documents")
    wanted = split([Document(text) for text in documents], THREE)
    assert list(found.report.notes)[1:] == list(wanted.notes)
    for name in NAMES:
        whole = [render_document(record, tokenizer()).ids for record in getattr(wanted, name)]
        windows = [window for window, mask in ids(found, name) if all(mask)]
        assert len(windows) == len(ids(found, name))
        assert all(len(window) <= seq_len + 1 for window in windows)
        for text in whole:
            joined, windows = joined_up(windows, len(text), seq_len)
            assert joined == text
        assert not windows


def joined_up(windows: list[list[int]], size: int, seq_len: int) -> tuple[list[int], list[list[int]]]:
    """The windows of a text as one again, each beginning with the token that the one before ended with; and the rest."""
    count = max(1, -(-(size - 1) // seq_len))
    text = list(windows[0])
    for window in windows[1:count]:
        assert window[0] == text[-1]
        text += window[1:]
    return text, windows[count:]


# ---- whoever makes it


def test_one_process_and_several_write_the_same_bytes(tmp_path: Path) -> None:
    """Also with pieces of other records in the order of the file, and with what is listed between them."""
    path = put(tmp_path / "rows.jsonl", talks(90) + "[1]\n" + lines(row("Hi", "x" * 500)) + talks(60, start=90))
    made = {}
    for name, alone, workers in (("alone", 1_000, 1), ("one", 0, 1), ("two", 3, 2), ("three", 0, 3)):
        with pieces_of(700, alone=alone, segment=5):
            found = prepared(path, how(THREE), tmp_path / name, workers=workers)
        assert found.report.account.read == 152
        made[name] = files(tmp_path / name)
    assert made["alone"] == made["one"] == made["two"] == made["three"]
    assert len(made["alone"]) == 9


def test_the_first_records_are_taken_whoever_makes_them(tmp_path: Path) -> None:
    """Neither a row nor a file after the last of them is spoken of, though others may have begun to read it."""
    for number in range(6):
        put(tmp_path / "d" / f"{number}.jsonl", talks(6, start=6 * number) + "[1]\n")
    made = []
    for alone, workers in ((1_000, 1), (0, 3)):
        with pieces_of(200, alone=alone):
            found = prepared(f"{tmp_path / 'd'}#17", how(), tmp_path / f"cache{workers}", workers=workers)
        made.append(files(tmp_path / f"cache{workers}"))
        report = found.report.as_dict()
        assert (report["read"], report["used"], report["splits"]["train"]) == (19, 17, 17)
        assert [one["line"] for one in report["listed"]] == [7, 7]
        assert len(report["notes"]) == 3
        assert ids(found) == ids(prepared(tmp_path / "d", how(), tmp_path / "all"))[:17]
    assert made[0] == made[1]


@pytest.mark.parametrize("count", [1, 6, 7, 12, 13, 30, 31])
def test_a_limit_reads_no_further_than_its_last_record(tmp_path: Path, count: int) -> None:
    """Bad rows behind it are no concern of who asked for the records before."""
    path = put(tmp_path / "rows.jsonl", "".join(talks(1, start=n) + "[1]\n[2]\n" * (n % 3 == 0) for n in range(40)))
    with pieces_of(300, alone=1_000):
        found = prepared(f"{path}#{count}", how(THREE), tmp_path / "cache").report.as_dict()
    stream = source.open(f"{path}#{count}", "conversations")
    assert sum(1 for one in stream if not isinstance(one, BadRow)) == found["used"] == count
    assert stream.report.read == found["read"]
    stream = source.open(str(path), "conversations", most=count)
    found = prepare.prepare(stream, how(THREE), root=tmp_path / "cache").report.as_dict()
    assert found["used"] == count


def test_each_split_keeps_its_first_conversations(tmp_path: Path) -> None:
    path = put(tmp_path / "rows.jsonl", talks(400))
    with pieces_of(3_000, alone=3):
        found = prepared(path, how(THREE), tmp_path / "cache", workers=1)
    records = source.read(str(path)).records
    for name, most in WANTED.items():
        samples = found.samples.of(name)
        first = getattr(split(records, THREE), name)[:most]
        kept = [
            fit(record, tokenizer(), template(), WINDOW + 1) for record in first if isinstance(record, Conversation)
        ]
        expected = [(one.conversation, one.fit is Fit.WHOLE) for one in kept]
        assert [(one.conversation, one.whole) for one in samples] == expected
        assert [str(one.conversation.source) for one in samples] == [str(record.source) for record in first]


# ---- used again


def readings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files whose rows are read from now on."""
    seen: list[str] = []
    found = parts.RowsWork.found
    monkeypatch.setattr(parts.RowsWork, "found", lambda work: (seen.append(work.file), found(work))[1])
    return seen


def test_the_same_is_used_again_and_anything_else_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, root = put(tmp_path / "rows.jsonl", talks(30)), tmp_path / "cache"
    seen = readings(monkeypatch)

    def made(spec: Any = path, one: Any = None, **options: Any) -> bool:
        """Whether rows were read for it; the second time none are."""
        seen.clear()
        first = prepared(spec, one or how(THREE), root, **options)
        result = bool(seen)
        seen.clear()
        assert same(first, prepared(spec, one or how(THREE), root, **options))
        assert not seen
        return result

    assert made()
    assert not made()
    assert made(one=how((0.8, 0.1, 0.1)))
    assert made(one=how(THREE, seq_len=WINDOW - 1))
    assert made(one=how(THREE, name="plain"))
    text = how(THREE).text
    other = type(text).of(tokenizer().with_special(["<|more|>"]), template())
    assert made(one=type(how(THREE))(other, "conversations", WINDOW, how(THREE).split))
    assert made(f"{path}#20")
    assert made(options=MESSAGES)
    assert not made()
    put(path, talks(30).replace("Yes", "Sure", 1))
    assert made()
    put(path, talks(30))
    assert not made()
    monkeypatch.setattr(prepare, "_program", lambda: "another version")
    assert made()


def same(one: Prepared, other: Prepared) -> bool:
    return all(ids(one, name) == ids(other, name) for name in NAMES) and one.report == other.report


def test_a_template_that_tells_the_time_tells_all_processes_the_same_and_another_time_is_made_anew(
    tmp_path: Path,
) -> None:
    path = put(tmp_path / "rows.jsonl", talks(20))
    dated = templates.from_jinja("{{ strftime_now('%Y-%m-%d') }}" + template().to_jinja(tokenizer()))
    records = source.read(str(path)).records
    for day in (1, 2, 1):
        told = dated.at(datetime(2031, 5, day))
        one = replace(how(seq_len=200), text=TextKey.of(tokenizer(), told))
        with pieces_of(300, alone=2):
            found = ids(prepared(path, one, tmp_path / "cache", workers=1))
        assert tokenizer().decode(found[-1][0]).startswith(f"2031-05-0{day}")
        assert [some for some, _ in found] == [
            told.render(record, tokenizer()).ids for record in records if isinstance(record, Conversation)
        ]
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_template_that_tells_no_time_is_not_made_anew(tmp_path: Path) -> None:
    stream = source.open(str(put(tmp_path / "rows.jsonl", talks(5))), "conversations")
    jinja = template().to_jinja(tokenizer()) + "{# its own #}"

    def key(one: ChatTemplate) -> str:
        return prepare._key(stream, replace(how(), text=TextKey.of(tokenizer(), one)))

    assert key(templates.from_jinja(jinja)) == key(templates.from_jinja(jinja))
    timed = [templates.from_jinja(jinja + "{{ strftime_now('%f') }}") for _ in range(2)]
    assert key(timed[0]) == key(timed[0]) != key(timed[1])


@pytest.mark.parametrize("name", prepare.LIBRARIES)
def test_another_version_of_what_reads_or_hides_makes_it_anew(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    version = importlib.metadata.version
    asked = inspect.unwrap(prepare._program)
    before = asked()
    monkeypatch.setattr(prepare, "version", lambda one: "9.9.9" if one == name else version(one))
    assert asked() != before
    monkeypatch.setattr(prepare, "version", version)
    assert asked() == before
    monkeypatch.setattr(prepare.platform, "python_version", lambda: "3.99.0")
    assert asked() != before


def test_another_pipeline_that_finds_names_makes_it_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its version where it is a package, by its files where it is a folder."""
    path = put(tmp_path / "rows.jsonl", talks(5))

    def key(name: str) -> str:
        options = ReadOptions(chats=ChatOptions(ner=name))
        return prepare._key(source.open(str(path), "conversations", options), how())

    weights = put(tmp_path / "pipeline" / "ner" / "model", "weights")
    names = [str(tmp_path / "pipeline"), "numpy", "not installed", ""]
    keys = [key(name) for name in names]
    assert keys == [key(name) for name in names]
    weights.write_text("others")
    assert key(names[0]) != keys[0]
    version = importlib.metadata.version
    monkeypatch.setattr(prepare, "version", lambda name: "9.9.9" if name == "numpy" else version(name))
    assert key(names[1]) != keys[1]
    assert [key(name) for name in names[2:]] == keys[2:]


def test_data_that_became_the_same_ids_have_the_same_fingerprint(tmp_path: Path) -> None:
    """Wherever they lie, whatever is said of their bad rows, however large the segments were."""
    content = talks(20) + "[1]\n" + talks(20, start=20)
    here = put(tmp_path / "a" / "rows.jsonl", content)
    there = put(tmp_path / "b" / "other.jsonl", content.replace("[1]", "null"))
    with pieces_of(400, alone=1_000):
        first = prepared(here, how(THREE), tmp_path / "cache").report
        second = prepared(there, how(THREE), tmp_path / "cache").report
    with pieces_of(400, alone=1_000, segment=7):
        third = prepared(here, how(THREE), tmp_path / "third").report
    other = prepared(
        put(tmp_path / "c.jsonl", content.replace("Yes", "Sure", 1)), how(THREE), tmp_path / "cache"
    ).report
    placed = prepared(here, how((0.5, 0.25, 0.25)), tmp_path / "cache").report
    assert first.account.listed != second.account.listed
    assert first.fingerprint == second.fingerprint == third.fingerprint
    assert len({first.fingerprint, other.fingerprint, placed.fingerprint}) == 3


def test_rows_that_were_cut_are_told_with_place_and_reason_alone(tmp_path: Path) -> None:
    """They are used: no kind and no number of rows that would be counted as lost."""
    path = put(tmp_path / "rows.jsonl", lines(row("Hi", "Hello"), row("Hi", "x" * 20, "And?", "y" * 200)))
    for _ in range(2):
        found = prepared(path, how(), tmp_path / "cache").report
        assert found.account.truncated == [Truncated(str(path), 2, str(Fit.TURNS_DROPPED))]
        assert str(found.account.truncated[0]) == f"{path}:2: {Fit.TURNS_DROPPED}"
        assert list(found.as_dict()["truncated"][0]) == ["file", "line", "reason"]


def test_what_nobody_used_for_a_month_is_deleted_and_what_somebody_uses_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, root = put(tmp_path / "rows.jsonl", talks(5)), tmp_path / "cache"
    prepared(path, how(), root)
    (old,) = root.iterdir()
    put(root / "mine" / "lock", "")
    now = prepare.time.time()
    monkeypatch.setattr(prepare.time, "time", lambda: now + 29 * 86_400)
    prepared(path, how(THREE), root)
    assert old.exists()
    monkeypatch.setattr(prepare.time, "time", lambda: now + 31 * 86_400)
    prepared(path, how(THREE, seq_len=50), root)
    assert [folder.name for folder in root.iterdir() if folder.name in (old.name, "mine")] == ["mine"]


# ---- texts


def test_texts_and_columns_that_no_line_or_utf_8_holds_are_kept(tmp_path: Path) -> None:
    """U+2028 and U+0085 end a line for Python; half of a surrogate pair is no text, but may be a column's name."""
    rows = lines(row("one\u2028two", "three\u0085four", **{"\ud800": 1}), [1])
    path = put(tmp_path / "rows.jsonl", rows)
    for _ in range(2):
        found = prepared(path, how(), tmp_path / "cache")
        (sample,) = found.samples.of("train")
        assert [one.content for one in sample.conversation.messages] == ["one\u2028two", "three\u0085four"]
        assert "not read: \ud800" in found.report.notes[0]
