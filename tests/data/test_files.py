"""Files: every row is read or listed with its line, however it is packed, cut or broken, in bounded memory."""

import csv
import gzip
import io
import json
import pickle
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chatwright.data import files
from chatwright.data.files import document, json_lines, json_text, parquet, piece, table
from chatwright.data.rows import BadRow, Row
from chatwright.errors import DataError

zstandard = pytest.importorskip("zstandard", reason="the optional extra `data` is not installed")
pyarrow = pytest.importorskip("pyarrow", reason="the optional extra `data` is not installed")

ROWS = [{"instruction": f"Question {n}?", "output": f"Answer – {n}."} for n in range(25)]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}
Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Puts a file into an empty folder, packed as its name says."""

    def put(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        encoded = content if isinstance(content, bytes) else content.encode()
        path.write_bytes(PACKERS.get(path.suffix, bytes)(encoded))
        return path

    return put


def table_of(rows: list[dict[str, str]], delimiter: str = ",") -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


CONTENTS = {
    ".jsonl": LINES,
    ".ndjson": LINES,
    ".json": json.dumps(ROWS, indent=1),
    ".csv": table_of(ROWS),
    ".tsv": table_of(ROWS, "\t"),
}


def values(path: Path, longest: int = files.LONGEST) -> list[dict[str, Any]]:
    return [row.value for row in files.read(path, longest) if isinstance(row, Row)]


def listed(path: Path, longest: int = files.LONGEST) -> list[tuple[int, str]]:
    return [(row.line, row.reason) for row in files.read(path, longest) if isinstance(row, BadRow)]


@contextmanager
def in_steps(size: int) -> Iterator[None]:
    """Reads `size` bytes at a time, so that a small file has the seams of a large one."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (piece, json_lines, json_text, document, parquet):
            patch.setattr(module, "BYTES", size)
        patch.setattr(table, "_BUFFER", size)
        yield


# ---- kinds


@pytest.mark.parametrize("packing", PACKERS)
@pytest.mark.parametrize("kind", CONTENTS)
def test_every_kind_gives_the_same_rows_packed_or_not(write: Write, kind: str, packing: str) -> None:
    path = write(f"rows{kind}{packing}", CONTENTS[kind])
    assert values(path) == ROWS
    assert listed(path) == []


@pytest.mark.parametrize("packing", PACKERS)
@pytest.mark.parametrize("kind", [*CONTENTS, ".md"])
def test_pieces_read_by_another_process_are_the_rows_of_the_file(write: Write, kind: str, packing: str) -> None:
    path = write(f"rows{kind}{packing}", CONTENTS.get(kind, LINES))
    with in_steps(100):
        found = list(files.pieces(path))
        sent = [row for one in pickle.loads(pickle.dumps(found)) for row in one.rows()]
    assert sent == list(files.read(path))
    assert sum(one.size for one in found) == path.stat().st_size
    if kind != ".md":
        assert len(found) > 1 or packing


def test_a_piece_holds_a_thousand_rows_at_most_where_they_are_decoded(write: Write) -> None:
    for path in (write("rows.json", "[" + "{}," * 2499 + "{}]"), write("rows.csv", "a\n" + "1\n" * 2500)):
        assert [len(list(one.rows())) for one in files.pieces(path)] == [1000, 1000, 500]


@pytest.mark.parametrize("packing", PACKERS)
@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.MD", "a.markdown"])
def test_a_text_is_one_row_and_known_as_one_through_its_packing(write: Write, name: str, packing: str) -> None:
    path = write(name + packing, "one\r\n\r\ntwo\n")
    assert list(files.read(path)) == [Row(1, {"text": "one\n\ntwo\n"})]
    assert files.is_text(path)
    assert not files.is_text(Path("a.jsonl.gz"))


def test_a_folder_is_listed_with_what_can_be_read_and_what_cannot(write: Write, tmp_path: Path) -> None:
    known = [write(f"d/{name}", "x") for name in ("a.jsonl.gz", "b.csv.zst", "c/d.markdown", "e.parquet")]
    unknown = [write(f"d/{name}", "x") for name in ("f.gz", "f.parquet.gz", "g.png", "h.tar.gz")]
    write("d/.hidden/rows.jsonl", "x")
    assert files.list_folder(tmp_path / "d") == (known, unknown)
    for path in unknown:
        with pytest.raises(DataError, match=f"the kind of file '{path.suffix}' is not known; known are .jsonl, .*"):
            files.read(path)


def test_a_file_that_is_not_there_is_refused_when_it_is_asked_for(tmp_path: Path) -> None:
    for name in ("rows.jsonl", "rows.csv.gz", "rows.parquet", "rows.json.zst"):
        with pytest.raises(DataError, match=r"cannot be read \(No such file or directory\); check the path"):
            files.pieces(tmp_path / name)
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(DataError, match=r"cannot be read \(Is a directory\)"):
        files.pieces(tmp_path / "folder.jsonl")


@pytest.mark.parametrize("module", ["zstandard", "pyarrow"])
def test_without_the_extra_a_file_is_refused_with_the_way_to_get_it(write: Write, module: str) -> None:
    path = write("rows.jsonl.zst", LINES) if module == "zstandard" else write("rows.parquet", "PAR1")
    code = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from pathlib import Path; from chatwright.data import files\n"
        f"try:\n    list(files.read(Path({str(path)!r})))\nexcept files.DataError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.endswith(f"needs {module}; pip install 'chatwright[data]'\n")


# ---- nothing depends on where the file is cut, and nothing is lost

SPACE = st.text(" \t\r\n", max_size=3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def same_in_steps(
    content: bytes, name: str, size: int, folder: Path, longest: int = files.LONGEST
) -> list[Row | BadRow]:
    path = folder / name
    path.write_bytes(content)
    whole = list(files.read(path, longest))
    with in_steps(size):
        assert list(map(repr, files.read(path, longest))) == list(map(repr, whole))
    return whole


@settings(deadline=None)
@given(st.lists(st.tuples(SPACE, JSON, SPACE), max_size=6), st.booleans(), st.integers(3, 40))
def test_an_array_gives_each_of_its_elements_wherever_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory, elements: list[tuple[str, Any, str]], ascii_only: bool, size: int
) -> None:
    texts = [before + json.dumps(value, ensure_ascii=ascii_only) + after for before, value, after in elements]
    content = f"[{','.join(texts)}]"
    rows = same_in_steps(content.encode(), "rows.json", size, tmp_path_factory.getbasetemp())
    assert len(rows) == len(elements)
    begin = 1
    for row, text, (before, value, _) in zip(rows, texts, elements, strict=True):
        assert row.line == content.count("\n", 0, begin + len(before)) + 1
        assert not isinstance(row, Row) or repr(row.value) == repr(value)
        assert isinstance(row, Row) == isinstance(value, dict)
        begin += len(text) + 1


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                b"",
                b" ",
                b"\r",
                b'{"a": 1}',
                '{"a": "–"}'.encode(),
                b'{"a": "\xe9"}',
                b"{",
                b"[1]",
                b'{"a": 1, "a": 2}',
                b"x" * 60,
            ]
        )
    ),
    st.booleans(),
    st.integers(5, 80),
)
def test_every_line_that_is_not_empty_is_a_row_or_listed(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], last: bool, size: int
) -> None:
    content = b"\n".join(lines) + (b"\n" if last else b"")
    rows = same_in_steps(content, "rows.jsonl", size, tmp_path_factory.getbasetemp(), longest=50)
    expected = [number for number, line in enumerate(lines, start=1) if line.strip()]
    assert [row.line for row in rows] == (expected or ([1] if rows else []))
    good = (b'{"a": 1}', '{"a": "–"}'.encode())
    assert sum(isinstance(row, Row) for row in rows) == sum(line in good for line in lines)
    assert [row.line for row in rows if "longer than 50 bytes" in str(row)] == [
        number for number, line in enumerate(lines, start=1) if len(line) > 50
    ]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.text(), st.text()), max_size=5),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.integers(5, 40),
)
def test_every_record_of_a_table_is_a_row(
    tmp_path_factory: pytest.TempPathFactory, records: list[tuple[str, str]], end: str, size: int
) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *records])
    rows = same_in_steps(text.getvalue().encode(errors="replace"), "rows.csv", size, tmp_path_factory.getbasetemp())
    assert [tuple(row.value.values()) for row in rows if isinstance(row, Row)] == [
        tuple(cell.encode(errors="replace").decode() for cell in record) for record in records
    ]
    assert not [row for row in rows if isinstance(row, BadRow)]


@settings(deadline=None)
@example(text="abc\r\nabcdef\r\n", longest=5, size=40)
@given(st.text(st.sampled_from("ab é🙂\n\r"), min_size=1), st.integers(4, 40), st.integers(5, 40))
def test_the_parts_of_a_long_text_joined_are_the_whole(
    tmp_path_factory: pytest.TempPathFactory, text: str, longest: int, size: int
) -> None:
    rows = same_in_steps(text.encode(), "long.txt", size, tmp_path_factory.getbasetemp(), longest)
    if text.strip():
        assert "".join(row.value["text"] for row in rows if isinstance(row, Row)) == text.replace("\r\n", "\n")
        begins = 0
        for row in rows:
            assert isinstance(row, Row)
            assert row.line == text.replace("\r\n", "\n").count("\n", 0, begins) + 1
            begins += len(row.value["text"])


def test_a_long_text_is_cut_at_paragraphs(write: Write) -> None:
    text = "".join(f"Paragraph {n} is a line.\nAnd another.\r\n\r\n" for n in range(400))
    rows = list(files.read(write("book.txt.gz", text), longest=8000))
    assert len(rows) > 10
    for row in rows:
        assert isinstance(row, Row)
        assert row.value["text"].startswith("Paragraph")
        assert row.value["text"].endswith("\n\n")
        assert len(row.value["text"]) <= 1000
    assert len(list(files.read(write("short.txt.gz", text), longest=len(text)))) == 1


# ---- what is wrong with a row


@pytest.mark.parametrize("packing", PACKERS)
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", b'{"text": "one"}\n{"text": "caf\xe9"}\n{"text": "three"}\n'),
        ("a.json", b'[{"text": "one"},\n{"text": "caf\xe9"},\n{"text": "three"}]'),
        ("b.json", b'{"text": "one"}\n{"text": "caf\xe9"}\n{"text": "three"}\n'),
        (
            "a.csv",
            b'text\n"one"\n\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xe9\nthree\n',
        ),
    ],
)
def test_one_line_in_another_encoding_is_listed_and_the_others_are_read(
    write: Write, name: str, content: bytes, packing: str
) -> None:
    path = write(name + packing, content)
    assert values(path) == [{"text": "one"}, {"text": "three"}]
    line = 3 if name == "a.csv" else 2
    assert listed(path) == [(line, "byte 0xe9 at column 14 is not UTF-8; save the file as UTF-8")]


def test_a_byte_of_another_encoding_outside_of_a_text_is_said_to_be_one(write: Write) -> None:
    assert listed(write("a.json", b'[{"a": 1},\n  \xe9]')) == [
        (2, "byte 0xe9 at column 3 is not UTF-8; save the file as UTF-8; nothing after it can be read")
    ]
    assert listed(write("header.csv", b"a,caf\xe9\n1,2\n"))[0][1].startswith("byte 0xe9 at column 6 is not UTF-8")
    assert listed(write("cut.json", b'[{"a": 1}, "\xc3'))[0][1].startswith("is not JSON: Unterminated string")


@pytest.mark.parametrize("packing", PACKERS)
@pytest.mark.parametrize(
    ("name", "content", "line", "reason"),
    [
        ("empty.jsonl", "", 1, "the file is empty"),
        ("empty.json", " \n ", 1, "the file is empty"),
        ("empty.csv", b"\xef\xbb\xbf", 1, "the file is empty"),
        ("empty.md", "\n", 1, "the file is empty"),
        ("utf16.txt", "Hello".encode("utf-16"), 1, "byte 0xff at column 1 begins UTF-16; save the file as UTF-8"),
        (
            "utf16.csv",
            "\ufeffa,b".encode("utf-16-be"),
            1,
            "byte 0xfe at column 1 begins UTF-16; save the file as UTF-8",
        ),
        (
            "latin.txt",
            "one\ntwö caf".encode() + b"\xe9\n",
            2,
            "byte 0xe9 at column 8 is not UTF-8; save the file as UTF-8",
        ),
        ("word.json", '\n"hello"', 2, "'\"hello\"' begins no JSON array or object"),
        ("object.json", '{"text": \n}', 2, "is not JSON: Expecting value at column 1; nothing after it can be read"),
        ("deep.json", "[\n" + "[" * 200_000, 2, "is nested too deeply; nothing after it can be read"),
        ("twice.csv", "a,a\n1,2\n", 1, "two columns have the same name in a, a; nothing after it can be read"),
        ("quote.csv", 'a\n"b', 2, "is not CSV: unexpected end of data; nothing after it can be read"),
    ],
)
def test_a_bad_file_is_listed_by_its_line(
    write: Write, name: str, content: str | bytes, line: int, reason: str, packing: str
) -> None:
    path = write(name + packing, content)
    assert [str(row) for row in files.read(path)] == [f"{path}:{line}: {reason}"]


@pytest.mark.parametrize(
    ("tail", "line", "why"),
    [
        (
            ",\n{broken",
            2,
            "is not JSON: Expecting property name enclosed in double quotes at column 2; nothing after it",
        ),
        (',\n{"instruction":\n!', 3, "is not JSON: Expecting value at column 1; nothing after it can be read"),
        ("\n{}", 2, "',' or ']' is missing; nothing after it can be read"),
        ("]\n\nmore", 3, "'more' follows the end of the array; nothing after it can be read"),
        (', {"a": "open', 1, "Unterminated string starting at column 20; nothing after it can be read"),
        (",", 1, "Expecting value at column 13; nothing after it can be read"),
        ("", 1, "',' or ']' is missing"),
    ],
)
def test_an_array_that_breaks_off_keeps_what_came_before(write: Write, tail: str, line: int, why: str) -> None:
    path = write("rows.json", f'[{{"a": "b"}}{tail}')
    for size in (1 << 20, 5, 11):
        with in_steps(size):
            assert values(path) == [{"a": "b"}]
            ((at, reason),) = listed(path)
            assert at == line
            assert why in reason


def test_a_mistake_early_in_a_large_array_is_found_where_it_is(write: Write) -> None:
    path = write("rows.json", '[{"a" 1},' + '{"text": "word word"},' * 100_000 + "{}]")
    found = [(1, "is not JSON: Expecting ':' delimiter at column 7; nothing after it can be read")]
    assert listed(path, longest=1 << 20) == listed(path) == found


def test_an_element_that_is_refused_for_what_it_says_is_listed_alone(write: Write) -> None:
    elements = ['{"a": 1}', '{"b": {"a": 1, "a": "]}"}}', "7", f'{{"a": {"1" * 5000}}}', '{"a": 2}']
    path = write("rows.json", "[" + ",\n".join(elements) + "]")
    assert values(path) == [{"a": 1}, {"a": 2}]
    reasons = listed(path)
    assert [line for line, _ in reasons] == [2, 3, 4]
    assert reasons[0][1] == "is not usable JSON: the key 'a' is there twice"
    assert reasons[1][1] == "is 7; a row must be an object, {...}"
    assert reasons[2][1].startswith("is not usable JSON: Exceeds the limit")


def test_objects_may_follow_each_other_on_a_line_each_or_as_they_like(write: Write) -> None:
    pretty = "\n".join(json.dumps(row, indent=2) for row in ROWS)
    assert values(write("pretty.json", pretty)) == ROWS
    assert values(write("lines.json", "\n" + LINES)) == ROWS
    assert [row.line for row in files.read(write("lines.json", "\n" + LINES))][:2] == [2, 3]
    assert values(write("one.json", json.dumps(ROWS[0], indent=2))) == ROWS[:1]
    broken = write("broken.json", '{"a": 1}\n{"a"\n{"a": 2}\n')  # by lines, a bad one hides no other
    assert values(broken) == [{"a": 1}, {"a": 2}]
    assert listed(write("tail.json", '{"a":\n1}\n more')) == [
        (3, "is not JSON: 'more' follows the end of an object; nothing after it can be read")
    ]


def test_cells_over_several_lines_keep_the_line_that_the_row_begins_in(write: Write) -> None:
    path = write("rows.csv", 'a,b\n"two\nlines",Yes.\nshort\n\n"a, b",\0\n')
    assert [(row.line, row.value) for row in files.read(path) if isinstance(row, Row)] == [
        (2, {"a": "two\nlines", "b": "Yes."}),
        (6, {"a": "a, b", "b": "\0"}),
    ]
    assert listed(path) == [(4, "has 1 cells; the header has 2")]


def test_line_separators_inside_a_text_end_no_row(write: Write) -> None:
    text = "one\u2028two\x85three\x0bfour"
    assert values(write("a.jsonl", json.dumps({"text": text}, ensure_ascii=False).replace("\\u000b", "\x20"))) == [
        {"text": text.replace("\x0b", " ")}
    ]
    assert values(write("a.csv", f"text\n{text}\n")) == [{"text": text}]


@pytest.mark.parametrize("packing", PACKERS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_byte_order_marks_line_ends_and_a_missing_last_one_change_nothing(
    write: Write, end: str, mark: bytes, packing: str
) -> None:
    for last in (end, ""):
        rows = end.join(['{"a": "b"}', '{"a": "c"}']) + last
        assert values(write(f"a.jsonl{packing}", mark + rows.encode())) == [{"a": "b"}, {"a": "c"}]
        assert values(write(f"a.json{packing}", mark + b'[{"a": "b"}]')) == [{"a": "b"}]
        assert values(write(f"a.csv{packing}", mark + f"a{end}b{end}c{last}".encode())) == [{"a": "b"}, {"a": "c"}]
        assert values(write(f"a.txt{packing}", mark + f"b{end}c{last}".encode())) == [
            {"text": "b\nc" + ("\n" if last else "")}
        ]
    assert listed(write("columns.jsonl", mark + b"{]"))[0][1].endswith("at column 2")


# ---- what is too long


@pytest.mark.parametrize("packing", PACKERS)
def test_a_line_that_is_too_long_is_listed_and_the_next_is_read(write: Write, packing: str) -> None:
    long = json.dumps({"text": "word " * 1000})
    path = write(f"rows.jsonl{packing}", f'{{"a": 1}}\n{long}\n{{"a": 2}}\n{long}')
    for size in (1 << 20, 100, 997):
        with in_steps(size):
            assert values(path, longest=2000) == [{"a": 1}, {"a": 2}]
            reason = "the line is longer than 2,000 bytes; cut it into rows of its parts, or leave it out"
            assert listed(path, longest=2000) == [(2, reason), (4, reason)]
    assert len(values(path, longest=len(long))) == 4
    assert len(values(path, longest=len(long) - 1)) == 2
    table_path = write(f"rows.csv{packing}", f"a,b\n1,2\n{'word ' * 1000},x\r\n3,4\n5,{'word ' * 1000}")
    assert values(table_path, longest=2000) == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]
    assert [row.line for row in files.read(table_path, longest=2000)] == [2, 3, 4, 5]
    assert listed(table_path, longest=2000) == [(3, reason), (5, reason)]


def test_a_row_that_does_not_end_stops_the_reading_before_it_fills_the_memory(write: Write) -> None:
    open_quote = write("rows.csv", 'a,b\n1,2\n"open,2\n' + "3,4\n" * 1000)
    assert values(open_quote, longest=1000) == [{"a": "1", "b": "2"}]
    assert listed(open_quote, longest=1000) == [
        (3, "the row is longer than 1,000 bytes; is a quote left open? Nothing after it can be read")
    ]
    for end in ("", '"]'):
        element = write("rows.json", '[{"a": 1},\n{"a": "' + "word " * 1000 + end)
        for size in (1 << 10, 100):
            with in_steps(size):
                assert values(element, longest=1000) == [{"a": 1}]
                assert listed(element, longest=1000) == [
                    (2, "the element is longer than 1,000 bytes; is a quote left open? Nothing after it can be read")
                ]
    assert listed(write("head.csv", "a" * 2000 + "\n1\n"), longest=1000)[0][1].startswith("the line is longer than")


def measured(code: str, *arguments: object) -> dict[str, Any]:
    """What a child process finds out about reading, as JSON."""
    start = (
        "import json, resource, sys; from pathlib import Path; from chatwright.data import files\n"
        # not ru_maxrss: that begins with what the parent used
        "def used(): return int(Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0]) / 1024\n"
        "pages = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
    )
    command = [sys.executable, "-c", start + code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/statm")
GROWTH = """
list(files.read(Path(sys.argv[1])))
before, rows, bad = used(), 0, 0
for row in files.read(Path(sys.argv[2])):
    bad += isinstance(row, files.BadRow)
    rows += not isinstance(row, files.BadRow)
print(json.dumps({"grown": used() - before, "rows": rows, "bad": bad}))
"""


def large(folder: Path, kind: str, megabytes: int) -> tuple[Path, Path, int]:
    """A small and a large file of rows of 4 KB, and the number of rows in the large one."""
    generator = random.Random(0)
    text = " ".join(str(generator.random()) for _ in range(215))[:4000]
    count = megabytes * 256
    small, big = folder / f"small{kind}", folder / f"big{kind}"
    for path, rows in ((small, 3), (big, count)):
        if kind == ".parquet":
            from pyarrow import parquet as written

            columns = {"n": range(rows), "text": [f"{n} {text}" for n in range(rows)]}
            written.write_table(pyarrow.table(columns), path, use_dictionary=False, compression="none")
            continue
        if kind.startswith(".csv"):
            begin, between, end = "n,text\n", "\n", "\n"
        elif kind == ".json":
            begin, between, end = "[", ",", "]"
        else:
            begin, between, end = "", "\n", "\n"
        opened = {".gz": gzip.open, ".zst": zstandard.open}.get(path.suffix, open)
        with opened(path, "wb") as file:
            file.write(begin.encode())
            for n in range(rows):
                row = f"{n},{text}" if kind.startswith(".csv") else json.dumps({"n": n, "text": text})
                file.write((row + (between if n < rows - 1 else end)).encode())
    return small, big, count


@needs_linux
@pytest.mark.parametrize(
    ("kind", "megabytes", "most"),
    [(".jsonl", 48, 24), (".json", 48, 24), (".csv.zst", 48, 24), (".parquet", 96, 80)],  # Arrow keeps up to 55 MB
)
def test_memory_does_not_grow_with_the_file(tmp_path: Path, kind: str, megabytes: int, most: int) -> None:
    small, big, count = large(tmp_path, kind, megabytes)
    found = measured(GROWTH, small, big)
    assert (found["rows"], found["bad"]) == (count, 0)
    assert found["grown"] < most


@needs_linux
@pytest.mark.long
@pytest.mark.parametrize("kind", [".jsonl", ".jsonl.gz", ".json", ".json.zst", ".csv", ".csv.gz", ".parquet", ".txt"])
def test_memory_does_not_grow_with_two_hundred_megabytes(tmp_path: Path, kind: str) -> None:
    small, big, count = large(tmp_path, kind, megabytes=200)
    found = measured(GROWTH, small, big)
    assert found["rows"] == count or kind == ".txt"
    assert found["bad"] == 0
    assert found["grown"] < 100


BOMB = """
resource.setrlimit(resource.RLIMIT_AS, (pages + (400 << 20),) * 2)
found = [[row.line, getattr(row, "reason", "")] for row in files.read(Path(sys.argv[1]))]
print(json.dumps({"size": Path(sys.argv[1]).stat().st_size, "found": found}))
"""


@needs_linux
@pytest.mark.parametrize("kind", [".jsonl", ".json", ".csv"])
def test_a_gigabyte_in_a_hundred_kilobytes_is_read_in_bounded_memory(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"bomb{kind}.zst"
    pack = zstandard.ZstdCompressor().compress
    begin, unit, end = {
        ".jsonl": ('{"a": "', "x", "\n{}"),
        ".json": ('[{}, "', "x", '"]'),
        ".csv": ("a\n", '"', "\n2"),
    }[kind]
    frame = zstandard.ZstdCompressor().compressobj()  # one frame: 1 KB of it unpacks to 32 MB
    long = (
        b"".join([frame.compress(unit.encode() * (16 << 20)) for _ in range(64 if kind == ".jsonl" else 32)])
        + frame.flush()
    )
    path.write_bytes(pack(begin.encode()) + long + pack(end.encode()))
    found = measured(BOMB, path)
    assert found["size"] < 100_000
    lines, said = zip(*found["found"], strict=True)
    assert any("is longer than 64 MB" in str(reason) for reason in said)
    assert len(lines) == 2


@needs_linux
def test_half_a_gigabyte_of_zeros_under_gzip_is_one_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "bomb.jsonl.gz"
    path.write_bytes(gzip.compress(bytes(16 << 20)) * 32 + gzip.compress(b'\n{"a": 1}'))
    found = measured(BOMB, path)
    assert found["size"] < 1 << 20
    assert [line for line, _ in found["found"]] == [1, 2]
    assert "the line is longer than 64 MB" in found["found"][0][1]


# ---- compressed files that are damaged


@pytest.mark.parametrize("packing", [".gz", ".zst"])
@pytest.mark.parametrize("kind", [*CONTENTS, ".txt"])
def test_a_compressed_file_that_ends_early_is_refused_by_its_line(write: Write, kind: str, packing: str) -> None:
    path = write(f"rows{kind}{packing}", json.dumps(ROWS * 20) if kind == ".json" else CONTENTS.get(kind, LINES) * 20)
    whole = path.read_bytes()
    for cut in (5, len(whole) // 3, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError) as caught:
            list(files.read(path))
        assert str(caught.value).endswith(": the compressed file ends early; copy or download it again")
        assert str(caught.value).startswith(f"{path}:")
    path.write_bytes(PACKERS[packing](LINES.encode()) + PACKERS[packing](LINES.encode())[:-1])
    with pytest.raises(DataError, match=r":(26|51): the compressed file ends early"):
        list(files.read(path))


@pytest.mark.parametrize("packing", [".gz", ".zst"])
def test_a_compressed_file_that_is_damaged_is_refused(write: Write, packing: str) -> None:
    path = write(f"rows.jsonl{packing}", LINES * 20)
    whole = path.read_bytes()
    for place in (0, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with pytest.raises(
            DataError, match=r"rows.jsonl.*:\d+: the compressed file is damaged \(.+\); copy or download"
        ):
            list(files.read(path))
    path.write_bytes(whole + b"what follows")
    with pytest.raises(DataError, match="the compressed file is damaged"):
        list(files.read(path))
    path.write_bytes(b"")
    assert listed(path) == [(1, "the file is empty")]


@pytest.mark.parametrize("broken", [b'[{"a": 1}] x', b'x[{"a": 1}]'])
def test_damage_that_breaks_the_json_too_is_said_to_be_damage(write: Write, broken: bytes) -> None:
    path = write("rows.json.gz", b"")
    path.write_bytes(gzip.compress(broken)[:-8] + gzip.compress(b"other")[-8:])  # with the checksum of another text
    with pytest.raises(DataError, match="the compressed file is damaged"):
        list(files.read(path))
    path.write_bytes(gzip.compress(broken))
    assert len(listed(path)) == 1


def test_a_compressed_file_may_consist_of_several(write: Write) -> None:
    for packing in (".gz", ".zst"):
        path = write(f"rows.jsonl{packing}", b"")
        path.write_bytes(PACKERS[packing](LINES[:100].encode()) + PACKERS[packing](LINES[100:].encode()))
        assert values(path) == ROWS


# ---- Parquet


def write_parquet(path: Path, columns: dict[str, Any], rows_of_a_group: int = 1000) -> Path:
    from pyarrow import parquet as written

    content = columns if isinstance(columns, pyarrow.Table) else pyarrow.table(columns)
    written.write_table(content, path, row_group_size=rows_of_a_group)
    return path


def test_parquet_files_of_one_folder_may_have_schemas_of_their_own(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", {"text": ["one", "two"]})
    write_parquet(tmp_path / "b.parquet", {"text": [1], "more": [[{"role": "user"}]]})
    known, _ = files.list_folder(tmp_path)
    found = [[(row.line, row.value) for row in files.read(path) if isinstance(row, Row)] for path in known]
    assert found == [[(1, {"text": "one"}), (2, {"text": "two"})], [(1, {"text": 1, "more": [{"role": "user"}]})]]


def test_small_row_groups_are_read_by_whoever_gets_them_and_large_ones_in_batches(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "rows.parquet", {"n": range(2500)}, 1000)
    found = list(files.pieces(path))
    assert [type(one) for one in found] == [parquet.RowGroup] * 3
    assert len(pickle.dumps(found)) < 1000
    expected = [Row(n + 1, {"n": n}) for n in range(2500)]
    assert [row for one in found for row in one.rows()] == expected
    assert sum(one.size for one in found) == pytest.approx(path.stat().st_size, abs=3)
    write_parquet(path, {"n": range(25_000)}, 25_000)
    found = pickle.loads(pickle.dumps(list(files.pieces(path))))
    assert [type(one) for one in found] == [parquet.Batch] * 25
    assert [row for one in found for row in one.rows()] == [Row(n + 1, {"n": n}) for n in range(25_000)]


def test_a_value_that_python_does_not_have_makes_its_row_bad_and_no_other(tmp_path: Path) -> None:
    text = pyarrow.Array.from_buffers(
        pyarrow.string(),
        3,
        [None, pyarrow.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0"), pyarrow.py_buffer(b"a\xe9c")],
    )
    path = write_parquet(tmp_path / "text.parquet", {"text": text})
    assert [(row.line, row.value) for row in files.read(path) if isinstance(row, Row)] == [
        (1, {"text": "a"}),
        (3, {"text": "c"}),
    ]
    assert listed(path)[0][0] == 2
    assert "holds a value that cannot be read ('utf-8' codec can't decode" in listed(path)[0][1]
    dates = pyarrow.array([0, 10**17, 1], pyarrow.timestamp("s"))  # the year three billion
    path = write_parquet(
        tmp_path / "dates.parquet",
        {"text": ["a", "b", "c"], "time": dates.cast(pyarrow.int64()).view(pyarrow.timestamp("ms"))},
    )
    assert [line for line, _ in listed(path)] == [2]


def test_a_broken_parquet_file_is_told_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    for content in (b"PAR1 not really", b"x", b"PAR1" * 4):
        path.write_bytes(content)
        ((line, reason),) = listed(path)
        assert line == 1
        assert reason.startswith("is not Parquet (")
        assert "\n" not in reason
    whole = write_parquet(path, {"name": [1]}).read_bytes()
    path.write_bytes(whole.replace(b"name", b"\xe2ame"))
    assert listed(path)[0][1].startswith("is not Parquet ('utf-8' codec can't decode")
    write_parquet(path, pyarrow.table([[1], [2]], names=["a", "a"]))
    assert listed(path) == [(1, "two columns have the same name in a, a")]


def test_a_damaged_row_group_is_listed_with_all_its_rows_and_the_others_are_read(tmp_path: Path) -> None:
    from pyarrow import parquet as written

    path = write_parquet(tmp_path / "rows.parquet", {"n": [str(n) for n in range(3000)]}, 1000)
    column = written.ParquetFile(path).metadata.row_group(1).column(0)
    content = bytearray(path.read_bytes())
    start = column.dictionary_page_offset
    content[start : start + 40] = b"\xff" * 40
    path.write_bytes(content)
    rows = list(files.read(path))
    (bad,) = [row for row in rows if isinstance(row, BadRow)]
    assert (bad.line, bad.rows) == (1001, 1000)
    assert "1,000 rows of row group 2 are lost" in bad.reason
    assert sum(row.covers for row in rows if isinstance(row, Row)) == 2000
