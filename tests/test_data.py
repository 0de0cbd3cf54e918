"""Data: every row becomes a record or is named by file and line; the same prompt is in the same split everywhere."""

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright import registry
from chatwright.data import hub, source
from chatwright.data.options import ReadOptions
from chatwright.data.recognise import recognise
from chatwright.data.source import Dataset, fingerprint, read
from chatwright.data.spec import parse
from chatwright.data.split import LONG, key, overlap, split
from chatwright.errors import ConfigError, DataError
from chatwright.text.records import Conversation, Document, Message, Preference, Record, conversation

ALPACA = {"instruction": "Name a colour.", "input": "", "output": "Blue."}
MESSAGES = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]}
SHAREGPT = {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello!"}]}
TEXT = {"text": "Once upon a time."}

Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Puts a file into an empty folder."""

    def put(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return put


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def reason(path: Path | str, **options: object) -> str:
    """The sentence with which a reading is refused."""
    with pytest.raises(DataError) as caught:
        read(str(path), **options)  # type: ignore[arg-type]
    assert caught.value.exit_code == 2
    return str(caught.value)


# ---- formats


@pytest.mark.parametrize(
    ("row", "record"),
    [
        (TEXT, Document("Once upon a time.")),
        (MESSAGES, conversation("Hi", "Hello!")),
        (SHAREGPT, conversation("Hi", "Hello!")),
        (ALPACA, conversation("Name a colour.", "Blue.")),
        ({**ALPACA, "input": "Not red."}, conversation("Name a colour.\n\nNot red.", "Blue.")),
        ({"instruction": "Sum up.", "context": "A long text.", "response": "Short."}, None),
        ({"conversations": MESSAGES["messages"]}, conversation("Hi", "Hello!")),
        ({**SHAREGPT, "system": "Be kind."}, conversation("Hi", "Hello!", system="Be kind.")),
        (
            {**ALPACA, "history": [["Hi", "Hello!"]], "system": "Be kind."},
            conversation("Hi", "Hello!", "Name a colour.", "Blue.", system="Be kind."),
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]},
            Conversation((Message("user", "a\nb"),)),
        ),
        (
            {"messages": [{"role": "developer", "content": "Be kind."}, {"role": "user", "content": "Hi"}]},
            Conversation((Message("system", "Be kind."), Message("user", "Hi"))),
        ),
    ],
)
def test_every_known_shape_of_row_is_recognised_and_becomes_its_record(
    write: Write, row: dict[str, object], record: Record | None
) -> None:
    expected = record or conversation("Sum up.\n\nA long text.", "Short.")
    assert read(str(write("rows.jsonl", lines(row)))).records == [expected]


def test_each_format_matches_its_own_rows_and_no_other_s() -> None:
    rows = {"text": TEXT, "messages": MESSAGES, "sharegpt": SHAREGPT, "alpaca": ALPACA}
    for name, row in rows.items():
        matching = [other for other in rows if registry.load("data.formats", other).matches(row)]
        assert matching == [name]
        assert registry.load("data.formats", name).parse(row, {}) is not None


def test_rows_with_two_readings_are_refused_with_the_row_and_both_readings(write: Write) -> None:
    path = write("rows.jsonl", lines({**ALPACA, "text": "### Instruction: Name a colour."}))
    sentence = reason(path)
    assert "--format alpaca" in sentence
    assert "--format text" in sentence
    assert "Name a colour." in sentence
    assert isinstance(read(str(path), options=ReadOptions(format="text")).records[0], Document)


def test_what_is_wanted_decides_between_a_text_and_its_parts_and_says_so(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write("rows.jsonl", lines({**ALPACA, "text": "### Instruction: Name a colour."})))
    assert isinstance(read(path, kind="conversations").records[0], Conversation)
    assert isinstance(read(path, kind="documents").records[0], Document)
    assert "--format text would read it differently" in capsys.readouterr().err


def test_columns_with_other_names_are_mapped_and_the_mapping_is_said(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write("rows.csv", "id,question,output\n1,Why?,Because.\n"))
    dataset = read(path, options=ReadOptions(columns=(("instruction", "question"),)))
    assert dataset.records == [conversation("Why?", "Because.")]
    said = capsys.readouterr().err
    assert "instruction from 'question'" in said
    assert "not read: id" in said
    assert "did you mean 'question'" in reason(path, options=ReadOptions(columns=(("instruction", "qestion"),)))
    assert "did you mean 'instruction'" in reason(
        path, options=ReadOptions(format="alpaca", columns=(("instuction", "question"),))
    )


def test_speakers_by_other_keys_are_mapped_inside_the_messages(write: Write) -> None:
    turns = [{"speaker": "user", "says": "Hi"}, {"speaker": "assistant", "says": "Hello!"}]
    path = str(write("rows.jsonl", lines({"dialogue": turns})))
    columns = {"messages": "dialogue", "role": "speaker", "content": "says"}
    assert read(path, options=ReadOptions(columns=tuple(columns.items()))).records == [conversation("Hi", "Hello!")]


def test_an_unknown_shape_shows_the_row_and_an_unknown_format_the_nearest(write: Write) -> None:
    path = write("rows.jsonl", lines({"foo": 1}))
    assert '{"foo": 1}' in reason(path)
    with pytest.raises(ConfigError, match="did you mean 'alpaca'"):
        read(str(path), options=ReadOptions(format="alpacca"))


# ---- bad rows, by file and line

GOOD = json.dumps(MESSAGES)
BAD_LINES: list[tuple[str, str | bytes, str]] = [
    ("broken JSON", '{"messages": [', "is not JSON"),
    ("not an object", "[1, 2]", "a row must be an object"),
    ("a bare word", "hello", "is not JSON"),
    ("a key twice", '{"text": "a", "text": "b"}', "'text' is there twice"),
    ("wrong encoding", b'{"text": "caf\xe9"}', "byte 0xe9 at column 14 is not UTF-8"),
    ("a lone surrogate", r'{"messages": [{"role": "user", "content": "\ud800"}]}', "U+D800"),
    ("NUL", r'{"messages": [{"role": "user", "content": "a\u0000b"}]}', "NUL"),
    ("nested too deeply", "[" * 200_000, "is nested too deeply"),
    ("a very long number", '{"text": ' + "1" * 5000 + "}", "is not usable JSON"),
    ("no messages", '{"messages": []}', "no messages"),
    ("another column", '{"text": "Hi"}', "the row has no 'messages'"),
    ("null messages", '{"messages": null}', "'messages' is null"),
    ("a message that is text", '{"messages": ["Hi"]}', "message 1 is text, 'Hi'"),
    ("no role", '{"messages": [{"content": "Hi"}]}', "message 1: it has no 'role'"),
    ("an unknown role", '{"messages": [{"role": "gpt", "content": "Hi"}]}', "message 1: the role is 'gpt'"),
    ("content of a wrong type", '{"messages": [{"role": "user", "content": 3}]}', "'content' is a number, 3"),
    (
        "a picture",
        '{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}',
        "message 1: a part of the content has the type 'image_url'",
    ),
    (
        "assistant first",
        '{"messages": [{"role": "assistant", "content": "Hi"}]}',
        "message 1 (assistant) follows nothing",
    ),
    (
        "an empty answer",
        '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": " "}]}',
        "message 2 (assistant) is empty",
    ),
]


@pytest.mark.parametrize(("line", "why"), [bad[1:] for bad in BAD_LINES], ids=[bad[0] for bad in BAD_LINES])
def test_a_bad_line_is_refused_by_file_and_line(write: Write, line: str | bytes, why: str) -> None:
    bad = line if isinstance(line, bytes) else line.encode()
    path = write("chats.jsonl", b"\n".join([GOOD.encode(), b"", bad, GOOD.encode()]))
    sentence = reason(path)
    assert sentence.startswith(f"{path}:3: ")
    assert why in sentence
    assert "1 of 3 rows" in sentence
    assert "--skip-bad-rows" in sentence
    dataset = read(str(path), skip_bad_rows=True, max_bad_share=0.5)
    assert (dataset.report.read, dataset.report.kept) == (3, 2)
    assert [row.line for row in dataset.report.skipped] == [3]
    assert [record.source.line for record in dataset.records] == [1, 4]


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("empty.jsonl", "", ":1: the file is empty"),
        ("empty.json", " \n ", ":1: the file is empty"),
        ("empty.csv", b"\xef\xbb\xbf", ":1: the file is empty"),
        ("utf16.txt", "Hello".encode("utf-16"), ":1: byte 0xff at column 1 begins UTF-16"),
        ("latin.txt", b"one\ntwo caf\xe9\n", ":2: byte 0xe9 at column 8 is not UTF-8"),
        ("nul.txt", "one\0two", ":1: the text holds a NUL character"),
        ("word.json", '\n"hello"', ":2: '\"hello\"' begins no JSON array or object"),
        ("object.json", '{"text": \n}', ":2: is not JSON"),
        ("twice.csv", "a,a\n1,2\n", ":1: two columns have the same name"),
    ],
)
def test_a_bad_file_is_refused_by_its_line(write: Write, name: str, content: str | bytes, where: str) -> None:
    path = write(name, content)
    assert reason(path).startswith(f"{path}{where}")


def test_files_without_rows_are_refused(write: Write) -> None:
    assert "no rows" in reason(write("array.json", "[]"))
    assert "no rows" in reason(write("header.csv", "instruction,output\n"))


def test_elements_of_an_array_are_named_by_the_line_they_begin_in(write: Write) -> None:
    text = json.dumps([ALPACA, {**ALPACA, "output": 3}, ALPACA, 7], indent=2)
    path = write("rows.json", text)
    found = text.splitlines()
    begins = [number for number, line in enumerate(found, start=1) if line.startswith("  {")]
    dataset = read(str(path), skip_bad_rows=True, max_bad_share=1)
    assert [record.source.line for record in dataset.records] == [begins[0], begins[2]]
    assert [row.line for row in dataset.report.skipped] == [begins[1], found.index("  7") + 1]


def test_a_line_of_ten_megabytes_is_read(write: Write) -> None:
    long = "word " * 2_000_000
    dataset = read(str(write("long.jsonl", lines(TEXT, {"text": long}))))
    assert dataset.records[1] == Document(long)


def test_all_bad_rows_are_counted_and_the_first_ten_listed(write: Write) -> None:
    path = write("rows.jsonl", lines(*[TEXT] * 88, *[{"text": 3}] * 12))
    sentence = reason(path)
    assert f"{path}:98: " in sentence
    assert f"{path}:99: " not in sentence
    assert "… and 2 more" in sentence
    assert "12 of 100 rows" in sentence


def test_more_than_one_bad_row_in_a_hundred_is_refused_even_when_they_are_skipped(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    one = str(write("one.jsonl", lines(*[TEXT] * 99, {"text": ""})))
    assert len(read(one, skip_bad_rows=True)) == 99
    assert "1 of 100 rows skipped" in capsys.readouterr().err
    two = str(write("two.jsonl", lines(*[TEXT] * 98, *[{"text": ""}] * 2)))
    assert "--max-bad-share" in reason(two, skip_bad_rows=True)
    assert len(read(two, skip_bad_rows=True, max_bad_share=0.02)) == 98


def test_a_bad_first_row_does_not_hide_the_format(write: Write) -> None:
    path = write("rows.jsonl", "oops\n" + lines(MESSAGES, MESSAGES))
    assert reason(path).startswith(f"{path}:1: is not JSON")
    assert "no row of" in reason(write("all.jsonl", "oops\noops\n"), skip_bad_rows=True, max_bad_share=1)


# ---- names of data


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("primer", ("primer", "primer", "", "", None, None)),
        ("primer:documents#10@0.5", ("primer", "primer", "", "documents", 10, 0.5)),
        ("gpt-data", ("hub", "gpt-data", "", "", None, None)),
        ("owner/name", ("hub", "owner/name", "", "", None, None)),
        ("owner/name/config:test", ("hub", "owner/name", "config", "test", None, None)),
        (
            "HuggingFaceH4/ultrachat_200k:train_sft#5,000@2",
            ("hub", "HuggingFaceH4/ultrachat_200k", "", "train_sft", 5000, 2),
        ),
    ],
)
def test_a_name_is_taken_apart(spec: str, expected: tuple[object, ...]) -> None:
    found = parse(spec)
    assert (found.place, found.name, found.config, found.split, found.limit, found.weight) == expected


@pytest.mark.parametrize("name", ["a#3.jsonl", "b:train.jsonl", "c@2", "d#3", "primer"])
def test_a_path_that_exists_is_taken_literally_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(lines(TEXT))
    assert parse(name).place == "local"
    found = parse(f"{name}#7@3")
    assert (found.name, found.limit, found.weight) == (name, 7, 3.0)


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("chatz.jsonl", "did you mean chats.jsonl?"),
        ("nowhere/chats.jsonl", "there is no folder nowhere"),
        ("./chatz", "did you mean chats.jsonl?"),
        ("chats.jsonl#0", "must be a number of records above 0, got '0'"),
        ("chats.jsonl#many", "got 'many'"),
        ("chats.jsonl@-1", "the weight after '@' must be a number above 0, and 1,000,000 at most, got '-1'"),
        ("chats.jsonl:train", "has no splits"),
        ("owner/name:", "names no split"),
        ("https://example.org/chats.jsonl", "is an address"),
        ("", "is not named"),
        ("a/b/c/d", "does not exist"),
    ],
)
def test_a_wrong_name_is_told_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("chats.jsonl").write_text(lines(TEXT))
    with pytest.raises(DataError) as caught:
        parse(spec)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_is_read_in_sorted_order_and_what_is_left_out_is_named(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("d/b.txt", "second")
    write("d/a.md", "first")
    write("d/c/rows.jsonl", lines({"text": "third"}))
    write("d/picture.png", b"\x89PNG")
    dataset = read(str(tmp_path / "d"))
    assert [record.text for record in dataset.records if isinstance(record, Document)] == ["first", "second", "third"]
    assert "picture.png" in capsys.readouterr().err
    assert "no file in this folder can be read" in reason(write("e/x.png", b"").parent)


def test_a_limit_takes_the_first_records(write: Write) -> None:
    path = write("rows.jsonl", lines(*({"text": f"number {n}"} for n in range(30))))
    dataset = read(f"{path}#12@0.25")
    assert dataset.records == [Document(f"number {n}") for n in range(12)]
    assert dataset.weight == 0.25


def test_the_primer_is_data_like_any_other() -> None:
    conversations = read("primer#20")
    assert len(conversations) == 20
    assert all(isinstance(record, Conversation) for record in conversations.records)
    assert all(isinstance(record, Document) for record in read("primer#20", kind="documents").records)
    assert all(isinstance(record, Preference) for record in read("primer:preferences#5").records)
    with pytest.raises(ConfigError, match="did you mean 'documents'"):
        read("primer:document")


def test_the_fingerprint_is_of_what_is_said_and_not_of_where_it_stands(write: Write) -> None:
    first = read(str(write("a.jsonl", lines(MESSAGES, MESSAGES))))
    same = read(str(write("b.json", json.dumps([SHAREGPT, SHAREGPT]))))
    assert first.fingerprint == same.fingerprint
    said = {fingerprint([record]) for record in (Document("ab"), Document("a"), conversation("a", "b"))}
    assert len(said) == 3
    learned = Conversation((Message("user", "a", learn=True), Message("assistant", "b")))
    assert fingerprint([learned]) not in said


def test_every_record_knows_its_file_its_line_and_the_file_s_sha256(write: Write) -> None:
    path = write("a.jsonl", "\n" + lines(MESSAGES))
    found = read(str(path)).records[0].source
    assert str(found) == f"{path}:2"
    assert len(found.fingerprint) == 64


# ---- hub


def test_the_split_is_the_one_asked_for_or_the_one_to_train_on() -> None:
    assert hub.choose_split("d", ["test", "train"], "", "") == "train"
    assert hub.choose_split("d", ["test", "train"], "test", "") == "test"
    four = ["train_sft", "test_sft", "train_gen", "test_gen"]
    assert hub.choose_split("d", four, "", "conversations") == "train_sft"
    both = ["train_prefs", "train_sft", "test_prefs"]
    assert hub.choose_split("d", both, "", "preferences") == "train_prefs"
    assert hub.choose_split("d", ["train_all", "test"], "", "") == "train_all"
    assert hub.choose_split("d", ["everything"], "", "") == "everything"
    for splits, wanted in ((["a", "b"], ""), (["train"], "test")):
        with pytest.raises(DataError):
            hub.choose_split("d", splits, wanted, "")


def test_without_the_extra_a_hub_dataset_is_refused_with_the_way_to_get_it() -> None:
    code = (
        "import sys; sys.modules['datasets'] = None\n"
        "from chatwright.data.source import read\n"
        "try:\n    read('owner/name')\nexcept Exception as error:\n    print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("DataError 'owner/name' is no file here")
    assert "pip install 'chatwright[data]'" in done.stdout


def test_reading_files_imports_neither_torch_nor_datasets(write: Write) -> None:
    path = write("rows.jsonl", lines(MESSAGES))
    code = (
        "import sys; from chatwright.data.source import read\n"
        f"read({str(path)!r}); print([m for m in ('torch', 'datasets', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_parquet_rows_are_read_by_number(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="the optional extra `data` is not installed")
    from pyarrow import parquet

    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.Table.from_pylist([MESSAGES, MESSAGES]), path)
    dataset = read(str(path))
    assert dataset.records == [conversation("Hi", "Hello!")] * 2
    assert [record.source.line for record in dataset.records] == [1, 2]
    path.write_bytes(b"PAR1 not really")
    assert reason(path).startswith(f"{path}:1: is not Parquet")


# ---- splits


def numbered(count: int) -> list[Record]:
    return [conversation(f"Question {n}?", f"Answer {n}.") for n in range(count)]


def test_every_record_is_in_exactly_one_split_and_the_shares_are_met() -> None:
    records = numbered(2000)
    parts = split(records)
    together = [*parts.train, *parts.validation, *parts.test]
    assert sorted(key(record) for record in together) == sorted(key(record) for record in records)
    assert 60 <= len(parts.validation) <= 140
    assert 60 <= len(parts.test) <= 140
    assert parts.train == [record for record in records if record in parts.train]


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1), min_size=40, unique=True))
def test_the_same_prompt_is_in_the_same_split_whatever_stands_beside_it(prompts: list[str]) -> None:
    records: list[Record] = [conversation(prompt, "Yes.") for prompt in prompts if prompt.strip()]
    shuffled = random.Random(1).sample(records, len(records))
    changed: list[Record] = [
        conversation(f"  {prompt.upper().casefold()}\n", "No!") for prompt in prompts if prompt.strip()
    ]
    bigger = [*numbered(100), *shuffled, *changed]

    def places(records: list[Record]) -> dict[str, str]:
        parts = split(records)
        assert not (parts.notes and len(records) > 1000)
        names = {"train": parts.train, "validation": parts.validation, "test": parts.test}
        return {key(record): name for name, part in names.items() for record in part}

    # the first has at least three prompts more, so only splits that would be empty can differ; leave those out
    alone, together = places([*numbered(100), *records]), places(bigger)
    assert all(together[prompt] == place for prompt, place in alone.items())


def test_case_width_and_spacing_do_not_carry_a_prompt_into_another_split() -> None:
    assert key(conversation("What  is\n42?", "a")) == key(conversation(" what is ４２? ", "b"))
    assert key(Document("A b")) == key(Document("a  B"))
    assert overlap(numbered(5), numbered(3)) == ["question 0?", "question 1?", "question 2?"]


@pytest.mark.parametrize("count", [3, 4, 20])
def test_small_data_still_has_all_three_splits_and_it_is_said(count: int) -> None:
    for start in range(10):
        parts = split(numbered(start * 20 + count)[start * 20 :])
        assert all((parts.train, parts.validation, parts.test))
    # six rows of three prompts
    assert len(split([*numbered(3), *numbered(3)]).test) == 2


def test_too_few_prompts_are_all_trained_on_and_it_is_said() -> None:
    parts = split(numbered(2))
    assert len(parts.train) == 2
    assert "too few to split" in parts.notes[0]


def test_a_share_of_nothing_gets_nothing() -> None:
    assert split(numbered(10), (1.0, 0.0, 0.0)).train == numbered(10)
    assert not split(numbered(10), (0.5, 0.5, 0.0)).test
    with pytest.raises(ValueError, match="shares"):
        split(numbered(10), (0.5, 0.2, 0.2))


def test_one_long_document_is_cut_at_paragraphs_and_nothing_is_lost(write: Write) -> None:
    text = "".join(f"Paragraph {n}.\n" + "word " * (n % 40) + "\n\n" for n in range(600))
    parts = split(read(str(write("book.txt", text))).records)
    assert all((parts.train, parts.validation, parts.test))
    pieces = sorted([*parts.train, *parts.validation, *parts.test], key=lambda record: record.source.line)
    assert "".join(record.text for record in pieces if isinstance(record, Document)) == text
    found = text.splitlines()
    for record in pieces:
        assert isinstance(record, Document)
        assert record.text.startswith("Paragraph")
        assert found[record.source.line - 1] == record.text.splitlines()[0]
    assert "pieces" in parts.notes[0]


def test_neighbouring_pieces_of_one_split_are_one_text_again() -> None:
    parts = split(
        [Document("A line of the book.\n\n" * 5 + f"{n}\n\n") for n in range(3)]
        + [Document("".join(f"line {n}\n" for n in range(LONG)))]
    )
    assert max(len(record.text) for record in parts.train if isinstance(record, Document)) > 2 * 2000


def test_a_document_without_any_boundary_is_cut_all_the_same() -> None:
    parts = split([Document("x" * 5000 + " " * 5000 + "y")])
    found = [record for part in (parts.train, parts.validation, parts.test) for record in part]
    assert sum(len(record.text) for record in found if isinstance(record, Document)) == 10_001


def test_real_instructions_and_a_real_book_are_read_and_split(test_data: Path) -> None:
    instructions = read(str(test_data / "instructions.json"))
    assert (len(instructions), instructions.report.format) == (1100, "alpaca")
    assert instructions.records[1].source.line == 7
    book = split(read(str(test_data / "shakespeare.txt")).records)
    assert all((book.train, book.validation, book.test))
    size = {name: sum(len(d.text) for d in getattr(book, name)) for name in ("train", "validation", "test")}
    assert 0.85 < size["train"] / sum(size.values()) < 0.95


def test_recognising_reads_rows_and_not_names() -> None:
    reading = recognise([ALPACA], "anywhere")
    assert (reading.format, reading.columns) == ("alpaca", {name: name for name in ALPACA})
    assert isinstance(source.gather("primer#1"), Dataset)
