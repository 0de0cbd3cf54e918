"""Exports of Slack, Discord, ChatGPT and Claude: what is a message, who wrote it, and that nothing is lost on the way."""

import csv
import io
import json
import zipfile
from collections.abc import Callable
from datetime import datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatwright.data.exports import _threads
from chatwright.data.exports._outline import outline
from chatwright.data.exports.export import Export
from chatwright.errors import DataError

ALL_SAMPLES = Path(__file__).parent / "samples"
SAMPLES = ALL_SAMPLES / "exports"
PROGRAMS = ("slack", "discord", "chatgpt", "claude")
START = 1 << 16
QUICK = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

WORDS = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ue200\ue201【】", include_characters="\n&<>|;"),
    min_size=1,
).filter(str.strip)
NAMES = ("Ana", "Bo", "Çağla", "Dé")
BEGIN = datetime(2023, 1, 2, 10)
# (who, text) of each message, and for each chat a list of them
CHATS = st.lists(st.lists(st.tuples(st.sampled_from(NAMES), WORDS), min_size=1, max_size=6), min_size=1, max_size=3)


def read(program: str, path: Path) -> Export:
    return import_module(f"chatwright.data.exports.{program}").read(path)


def recognised(path: Path) -> list[str]:
    start = b"" if path.is_dir() else path.read_bytes()[:START]
    return [name for name in PROGRAMS if import_module(f"chatwright.data.exports.{name}").recognises(path, start)]


def zipped(path: Path, files: dict[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def folder(name: str) -> dict[str, str | bytes]:
    top = SAMPLES / name
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in sorted(top.rglob("*")) if path.is_file()}


def said(export: Export) -> list[tuple[str, str, str]]:
    return [(message.chat, message.sender or message.role, message.text) for message in export.messages]


def listed(export: Export) -> list[tuple[str, int, str, str]]:
    return [(Path(row.file).name, row.line, row.kind, row.reason) for row in export.unused]


@pytest.fixture
def slack(tmp_path: Path) -> Path:
    return zipped(tmp_path / "slack.zip", folder("slack"))


# ---- what each sample says


def test_slack_shows_names_for_ids_and_words_for_markup(slack: Path) -> None:
    export = read("slack", slack)
    talk = [line for line in said(export) if line[0] in ("general", "D01", "secret-plans")]
    assert talk == [
        ("D01", "Mara (@mara)", "Lunch?"),
        ("D01", "Tobi Okafor", "Gladly, at *one*"),
        ("general", "Mara (@mara)", "Morning @Tobi Okafor, did you & @Mara see the plan? 2 < 3"),
        ("general", "Mara (@mara)", "Not in the thread"),
        ("general", "Weatherly", "Rain from noon on"),
        ("general", "Rhea", "Hello from the other company"),
        ("secret-plans", "Tobi Okafor", "Cake for @Mara on Friday"),
    ]
    assert export.messages[0].time == datetime(2023, 1, 2, 10, 6, 40, 100)
    assert [message.line for message in export.messages] == list(range(1, 12))


def test_a_slack_thread_is_a_chat_of_its_own_with_its_first_message_in_front(slack: Path) -> None:
    threads = [line for line in said(read("slack", slack)) if "/" in line[0]]
    assert threads == [
        (
            "general/1672653720.000300",
            "Tobi Okafor",
            "Yes @here: it is in #random and #general, at https://example.com/x",
        ),
        ("general/1672653720.000300", "Mara (@mara2)", "Found it, thanks"),
        ("general/1672653720.000300", "Mara (@mara)", "Then we are done"),
        ("general/1672000000.000100", "Tobi Okafor", "The first of this one is gone"),
    ]


def test_slack_lists_joins_files_deletions_and_edits_by_the_file_in_the_archive(slack: Path) -> None:
    export = read("slack", slack)
    assert [(line, reason.split()[1]) for _, line, kind, reason in listed(export) if kind == "filtered"] == [
        (2, "a"),
        (23, "a"),
        (33, "deleted"),
        (40, "of"),
    ]
    assert str(export.unused[0]).startswith(f"{slack}/general/2023-01-02.json:2: is a note")
    assert export.rows == 15


def test_slack_names_everybody_but_the_bots(slack: Path) -> None:
    names = read("slack", slack).names
    assert {"Mara", "Mara Lindqvist", "Tobi", "Okafor", "@tobi.o", "Nils Never-Writes", "@nils", "Rhea Vance"} <= set(
        names
    )
    assert not {"Slackbot", "Weatherly", "@weatherly"} & set(names)


def test_discord_shows_nicknames_and_lists_what_nobody_wrote() -> None:
    export = read("discord", SAMPLES / "discord" / "general.json")
    assert said(export) == [
        ("general", "Inês", "Who is at the beach on Sunday?"),
        ("general", "Bram", "I am, with @Kaya :wave:"),
        ("general", "TideBot", "High tide at noon."),
    ]
    assert [(message.line, message.time) for message in export.messages][:2] == [
        (14, datetime(2023, 2, 1, 8, 1, 0, 123000)),
        (22, datetime(2023, 2, 1, 8, 2)),
    ]
    assert [(line, kind) for _, line, kind, _ in listed(export)] == [
        (7, "filtered"),
        (32, "filtered"),
        (47, "filtered"),
    ]
    assert {"Lou", "@lurker", "kaya_s"} <= set(export.names)
    assert "TideBot" not in export.names


def test_discord_tables_are_read_with_the_line_of_each_row() -> None:
    export = read("discord", SAMPLES / "discord" / "general.csv")
    assert said(export) == [
        ("general", "ines", 'Who is at the beach, "on Sunday"?\nAnd when?'),
        ("general", "bram#4711", "I am"),
    ]
    assert [message.line for message in export.messages] == [3, 5]
    assert [(line, kind) for _, line, kind, _ in listed(export)] == [(2, "filtered"), (6, "filtered")]
    assert {"bram", "@bram", "bram#4711"} <= set(export.names)


@pytest.mark.parametrize(
    ("written", "time"),
    [
        ("02-Feb-23 03:04 PM", datetime(2023, 2, 2, 15, 4)),
        ("2/13/2023 3:04 PM", datetime(2023, 2, 13, 15, 4)),
        ("13.02.2023 15:04", datetime(2023, 2, 13, 15, 4)),
    ],
)
def test_discord_tables_of_older_exporters_have_their_own_dates(tmp_path: Path, written: str, time: datetime) -> None:
    path = tmp_path / "old.csv"
    path.write_text(f'AuthorID,Author,Date,Content,Attachments,Reactions\n"1","a","{written}","Hi","",""\n')
    assert [message.time for message in read("discord", path).messages] == [time]


def test_the_data_package_of_discord_is_refused_with_the_way_out(tmp_path: Path) -> None:
    package = zipped(tmp_path / "package.zip", {"account/user.json": "{}", "messages/c1/messages.json": "[]"})
    table = tmp_path / "messages.csv"
    table.write_text("ID,Timestamp,Contents,Attachments\n1,2023-02-01 08:00:00,Mine,\n")
    for path in (SAMPLES / "discord" / "messages.json", package, table):
        assert recognised(path) == ["discord"]
        with pytest.raises(DataError, match=r"own data package.*DiscordChatExporter"):
            read("discord", path)


def test_chatgpt_keeps_the_branch_that_the_talk_ended_with() -> None:
    export = read("chatgpt", SAMPLES / "chatgpt" / "conversations.json")
    assert said(export) == [
        ("talk-1", "user", "Why are there two tides a day?"),
        ("talk-1", "assistant", "The moon raises two bulges."),
        ("talk-1", "user", "Thanks!"),
        ("talk-1", "assistant", "You are welcome."),
    ]
    assert {message.sender for message in export.messages} == {""}
    assert [reason.split(" ", 2)[1] for *_, reason in listed(export)] == [
        "hidden",
        "the",
        "no",
        "written",
        "written",
        "of",
    ]
    assert export.rows == 10


def test_claude_takes_the_text_parts_and_falls_back_to_the_text() -> None:
    export = read("claude", SAMPLES / "claude" / "conversations.json")
    assert said(export) == [
        ("talk-1", "user", "How long does dough rest?"),
        ("talk-1", "assistant", "An hour.\n\nOr a night in the cold."),
        ("talk-1", "assistant", "From the older exports"),
        ("talk-2", "user", "Second try"),
        ("talk-2", "assistant", "New answer"),
    ]
    assert [(line, kind) for _, line, kind, _ in listed(export)] == [(2, "filtered")] * 2 + [(18, "filtered")] * 2
    assert [reason.split(" ", 2)[1] for *_, reason in listed(export)] == ["a", "the", "of", "of"]
    assert export.rows == 9


@pytest.mark.parametrize(
    ("program", "name", "contacts"),
    [("chatgpt", "Oona Farrow", "oona@example.com"), ("claude", "Piet Harrow", "+15550101")],
)
def test_the_account_names_its_holder_in_a_zip_in_a_folder_and_beside_the_file(
    tmp_path: Path, program: str, name: str, contacts: str
) -> None:
    again = {f"export/{inner}": content for inner, content in folder(program).items()}
    packed = zipped(tmp_path / "a.zip", folder(program)), zipped(tmp_path / "b.zip", {"__MACOSX/a": b"", **again})
    for path in (*packed, SAMPLES / program, SAMPLES / program / "conversations.json"):
        assert recognised(path) == [program]
        export = read(program, path)
        assert (export.owner, export.names[0]) == (name, name)
        assert contacts in export.names
        assert said(export) == said(read(program, SAMPLES / program / "conversations.json"))


# ---- what is taken for an export


def test_each_sample_is_taken_by_its_own_program_and_no_other_file_by_any() -> None:
    own = {
        "chatgpt/conversations.json": "chatgpt",
        "claude/conversations.json": "claude",
        "discord/general.json": "discord",
        "discord/general.csv": "discord",
        "discord/messages.json": "discord",
    }
    for path in sorted(path for path in ALL_SAMPLES.rglob("*") if path.is_file()):
        name = path.relative_to(ALL_SAMPLES).as_posix().removeprefix("exports/")
        expected = ["slack"] if name.startswith("slack/") else [own[name]] if name in own else []
        assert recognised(path) == expected, path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", '[{"conversations": [{"from": "human", "value": "{\\"mapping\\": {}}"}]}]'),
        ("a.json", '[{"messages": [{"role": "user", "content": "\\"chat_messages\\":"}], "uuid": "1"}]'),
        ("a.json", '{"name": "Ana", "type": "personal_chat", "id": 1, "messages": [{"id": 1, "from": "Ana"}]}'),
        ("a.json", '[{"mapping": {"a": "b"}, "text": "x"}]'),
        ("a.json", '[{"title": "unterminated [].mapping \\"mapping\\": {\\"a\\": {\\"message\\": '),
        ("a.csv", "instruction,output\nHi,Hello\n"),
        ("a.csv", "Author,Content\nAna,Hi\n"),
        ("channels.json", "[]"),
        ("2023-01-02.json", '[{"type": "message", "ts": "1672653600.000100"}]'),
        ("_chat.txt", "[02.01.23, 10:00:00] Ana: Hi"),
        ("empty.json", ""),
        ("broken.zip", "PK\x03\x04 and no more"),
        ("a.json", "\x00\x01\x02"),
    ],
)
def test_other_data_is_left_alone(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    assert recognised(path) == []


def test_an_archive_is_known_by_the_names_in_it(tmp_path: Path, slack: Path) -> None:
    assert recognised(slack) == ["slack"]
    assert recognised(SAMPLES / "slack") == ["slack"]
    cut = {"conversations-000.json": "[]", "conversations-001.json": "[]", "chat.html": "", "user.json": "{}"}
    assert recognised(zipped(tmp_path / "large.zip", cut)) == ["chatgpt"]
    assert recognised(zipped(tmp_path / "any.zip", {"data.jsonl": "", "conversations.json": "[]"})) == []


def test_a_file_of_an_unpacked_workspace_is_refused_with_the_way_out(tmp_path: Path) -> None:
    other = tmp_path / "general"
    for name in ("users.json", "channels.json"):
        (tmp_path / name).write_text("[]")
    other.mkdir()
    (other / "2023-01-02.json").write_text('[{"messages": []}]')
    assert recognised(other / "2023-01-02.json") == []
    with pytest.raises(DataError, match=r"2023-01-02\.json: is no whole export.*pack a folder of one into a zip"):
        read("slack", SAMPLES / "slack" / "general" / "2023-01-02.json")
    assert said(read("slack", SAMPLES / "slack"))


def test_an_outline_holds_the_keys_up_to_where_the_text_ends() -> None:
    assert outline(b'\xef\xbb\xbf [{"a": {"b": [1, {"c": "d\\": {"}]}, "e": "f') == {
        "[]",
        "[].a",
        "[].a.b",
        "[].a.b.[]",
        "[].a.b.[].c",
        "[].e",
    }


# ---- written in each style and read back


def slack_files(chats: list[list[tuple[str, str]]]) -> dict[str, str | bytes]:
    users = [
        {"id": f"U{number}", "name": name.lower(), "profile": {"display_name": name}}
        for number, name in enumerate(NAMES)
    ]
    files: dict[str, str | bytes] = {"users.json": json.dumps(users), "channels.json": "[]"}
    for number, chat in enumerate(chats):
        for day in (0, 1):  # two days of it
            rows = [
                {
                    "type": "message",
                    "user": f"U{NAMES.index(who)}",
                    "ts": f"{1672653600 + 86400 * day + place}.000{number}00",
                    "text": text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"),
                }
                for place, (who, text) in enumerate(chat)
                if (place >= len(chat) // 2) == bool(day)
            ]
            files[f"c{number}/2023-01-0{2 + day}.json"] = json.dumps(rows, indent=4)
    return files


def discord_document(chats: list[list[tuple[str, str]]]) -> dict[str, Any]:
    users = {name: {"id": str(number), "name": name.lower(), "nickname": name} for number, name in enumerate(NAMES)}
    rows = [
        {
            "id": str(place),
            "type": "Default",
            "timestamp": f"{BEGIN + timedelta(minutes=place)}+00:00",
            "content": text,
            "author": users[who],
        }
        for place, (who, text) in enumerate(line for chat in chats for line in chat)
    ]
    return {"guild": {"id": "1"}, "channel": {"id": "2", "name": "all"}, "messages": rows, "messageCount": len(rows)}


def discord_table(chats: list[list[tuple[str, str]]]) -> str:
    table = io.StringIO()
    writer = csv.writer(table, quoting=csv.QUOTE_ALL)
    writer.writerow(["AuthorID", "Author", "Date", "Content", "Attachments", "Reactions"])
    for place, (who, text) in enumerate(line for chat in chats for line in chat):
        writer.writerow(
            [NAMES.index(who), who, f"{(BEGIN + timedelta(minutes=place)).isoformat()}.0000000+00:00", text, "", ""]
        )
    return table.getvalue()


def chatgpt_talks(chats: list[list[tuple[str, str]]]) -> list[dict[str, Any]]:
    talks = []
    for number, chat in enumerate(chats):
        mapping: dict[str, Any] = {"r": {"id": "r", "message": None, "parent": None, "children": []}}
        above = "r"
        for place, (who, text) in enumerate(chat):
            content = {"content_type": "text", "parts": [text]}
            message = {
                "author": {"role": role(who)},
                "content": content,
                "create_time": 1672653600.0 + place,
                "weight": 1.0,
            }
            mapping[f"n{place}"] = {"id": f"n{place}", "message": message, "parent": above, "children": []}
            mapping[above]["children"].append(f"n{place}")
            above = f"n{place}"
        talks.append(
            {"id": f"t{number}", "title": "T", "mapping": dict(reversed(mapping.items())), "current_node": above}
        )
    return talks


def claude_talks(chats: list[list[tuple[str, str]]]) -> list[dict[str, Any]]:
    def message(place: int, who: str, text: str) -> dict[str, Any]:
        sender = "human" if role(who) == "user" else "assistant"
        time = f"{(BEGIN + timedelta(minutes=place)).isoformat()}Z"
        return {
            "uuid": f"m{place}",
            "sender": sender,
            "created_at": time,
            "text": text,
            "content": [{"type": "text", "text": text}],
        }

    return [
        {"uuid": f"t{number}", "name": "T", "chat_messages": [message(place, *line) for place, line in enumerate(chat)]}
        for number, chat in enumerate(chats)
    ]


def role(who: str) -> str:
    return "user" if who in NAMES[:2] else "assistant"


@given(CHATS)
@QUICK
def test_a_workspace_that_was_written_is_read_back(tmp_path: Path, chats: list[list[tuple[str, str]]]) -> None:
    export = read("slack", zipped(tmp_path / "slack.zip", slack_files(chats)))
    assert said(export) == [(f"c{number}", who, text) for number, chat in enumerate(chats) for who, text in chat]
    assert not export.unused


@given(CHATS, st.booleans())
@QUICK
def test_a_channel_that_was_written_is_read_back(
    tmp_path: Path, chats: list[list[tuple[str, str]]], as_table: bool
) -> None:
    path = tmp_path / f"all.{'csv' if as_table else 'json'}"
    content = discord_table(chats) if as_table else json.dumps(discord_document(chats), indent=2, ensure_ascii=False)
    path.write_bytes(b"\xef\xbb\xbf" * as_table + content.encode())
    export = read("discord", path)
    assert recognised(path) == ["discord"]
    assert said(export) == [("all", who, text) for chat in chats for who, text in chat]
    assert [message.time for message in export.messages] == [
        BEGIN + timedelta(minutes=n) for n in range(len(export.messages))
    ]


@given(CHATS, st.sampled_from([None, 1]))
@QUICK
def test_talks_that_were_written_are_read_back(
    tmp_path: Path, chats: list[list[tuple[str, str]]], indent: int | None
) -> None:
    for program, talks in (("chatgpt", chatgpt_talks(chats)), ("claude", claude_talks(chats))):
        path = tmp_path / "any name.json"
        path.write_text(json.dumps(talks, indent=indent), encoding="utf-8")
        assert recognised(path) == [program]
        export = read(program, path)
        assert said(export) == [
            (f"t{number}", role(who), text) for number, chat in enumerate(chats) for who, text in chat
        ]
        assert not export.unused


# ---- damage

VALUES = st.sampled_from(
    [None, True, 0, -1, 3.5, 10**400, float("nan"), float("inf"), "", " ", "x", "1e999", "U0", "n1", "m0", "2023-02-31T00:00:00Z",
     "0001-01-01T00:00:00+14:00", "99999999999.0", "\ud83d", "a\0b", "\n", [], {}, [[]], [None], {"a": 1}, ["x"], "tool"]
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, inner in items for place in places(inner, (*path, key)))]


def damaged(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """The value with another one in a place, or without it."""
    if not path:
        return new
    copy = value.copy()
    if len(path) == 1 and new == "gone":
        del copy[path[0]]
    else:
        copy[path[0]] = damaged(value[path[0]], path[1:], new)
    return copy


def chatgpt_count(talks: Any) -> int:
    def of(mapping: Any) -> int:
        if not isinstance(mapping, dict):
            return 1
        return sum(not isinstance(node, dict) or node.get("message") is not None for node in mapping.values())

    return sum(of(talk.get("mapping") if isinstance(talk, dict) else None) for talk in talks)


def claude_count(talks: Any) -> int:
    found = [talk.get("chat_messages") if isinstance(talk, dict) else None for talk in talks]
    return sum(len(messages) if isinstance(messages, list) else 1 for messages in found)


COUNTS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], int]]] = {
    "discord": (discord_document, lambda channel: len(channel["messages"])),
    "chatgpt": (chatgpt_talks, chatgpt_count),
    "claude": (claude_talks, claude_count),
}


def unharmed(program: str, path: Path) -> Export | None:
    """What was read, or nothing where the whole file is refused; either says what is wrong in one line that can be printed."""
    recognised(path)
    export: Export | None
    try:
        export = read(program, path)
    except DataError as error:
        sentence = str(error)
        export = None
    if export is None:
        assert "\n" not in sentence.encode().decode()
        return None
    for text in (*export.names, *map(str, export.unused), *(part for line in said(export) for part in line)):
        assert "\0" not in text
        text.encode()
    assert all(reason for *_, reason in listed(export))
    return export


@pytest.mark.parametrize("program", sorted(COUNTS))
@given(chats=CHATS, data=st.data())
@QUICK
def test_whatever_stands_in_the_wrong_place_no_message_is_lost(
    tmp_path: Path, program: str, chats: list[list[tuple[str, str]]], data: st.DataObject
) -> None:
    write, count = COUNTS[program]
    value = write(chats)
    for _ in range(data.draw(st.integers(1, 3))):
        value = damaged(value, data.draw(st.sampled_from(places(value))), data.draw(st.just("gone") | VALUES))
    path = tmp_path / "export.json"
    path.write_text(json.dumps(value, indent=data.draw(st.sampled_from([None, 1]))), encoding="utf-8")
    export = unharmed(program, path)
    try:
        expected = count(value)
    except (TypeError, KeyError, AttributeError):  # not even the frame is left
        expected = 0
    assert export is None or export.rows == expected


@given(chats=CHATS, data=st.data())
@QUICK
def test_whatever_stands_in_the_wrong_place_of_a_workspace_no_message_is_lost(
    tmp_path: Path, chats: list[list[tuple[str, str]]], data: st.DataObject
) -> None:
    files = slack_files(chats)
    rows = 0
    for name in files:
        value = json.loads(files[name])
        if data.draw(st.booleans()):
            value = damaged(value, data.draw(st.sampled_from(places(value))), data.draw(st.just("gone") | VALUES))
        if data.draw(st.booleans()) and isinstance(value, list) and value and isinstance(value[0], dict):
            times = [row.get("ts") for row in value if isinstance(row, dict)]
            value = [{**value[0], "thread_ts": data.draw(VALUES | st.sampled_from(times))}, *value[1:]]
        files[name] = json.dumps(value, indent=data.draw(st.sampled_from([None, 1])))
        rows += len(value) if "/" in name and isinstance(value, list) else 0
    export = unharmed("slack", zipped(tmp_path / "slack.zip", files))
    assert export is None or export.rows == rows


@pytest.mark.parametrize(
    "name", ["discord/general.json", "discord/general.csv", "chatgpt/conversations.json", "claude/conversations.json"]
)
@given(data=st.data())
@QUICK
def test_damaged_bytes_are_a_sentence_and_never_a_stack(tmp_path: Path, name: str, data: st.DataObject) -> None:
    content = bytearray((SAMPLES / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        begin = data.draw(st.integers(0, len(content)))
        content[begin : begin + data.draw(st.sampled_from([0, 1, 2, 50, 5000]))] = data.draw(
            st.binary(max_size=3) | st.sampled_from([b"\xff", b'"', b"{", b"]", b"\\ud800", b"\0"])
        )
    path = tmp_path / Path(name).name
    path.write_bytes(content)
    unharmed(name.partition("/")[0], path)


@given(data=st.data())
@QUICK
def test_a_damaged_archive_is_a_sentence_and_never_a_stack(tmp_path: Path, data: st.DataObject) -> None:
    program = data.draw(st.sampled_from(["slack", "chatgpt", "claude", "discord"]))
    files = folder("slack" if program == "discord" else program)
    content = bytearray(zipped(tmp_path / "whole.zip", files).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        begin = data.draw(st.integers(0, len(content)))
        content[begin : begin + data.draw(st.sampled_from([0, 1, 2, 500]))] = data.draw(st.binary(max_size=3))
    path = tmp_path / "damaged.zip"
    path.write_bytes(content)
    unharmed(program, path)


def test_broken_json_is_named_by_the_member_and_the_line(tmp_path: Path) -> None:
    files = folder("slack") | {"general/2023-01-03.json": '[\n  {"ts": "1672740000.000100"},\n  {"ts": \n]'}
    path = zipped(tmp_path / "slack.zip", files)
    with pytest.raises(DataError, match=r"slack\.zip/general/2023-01-03\.json:4: is not JSON"):
        read("slack", path)


@pytest.mark.parametrize("name", ["../conversations.json", "/conversations.json", "a/../../conversations.json"])
def test_an_archive_that_climbs_out_is_refused(tmp_path: Path, name: str) -> None:
    files = folder("chatgpt") | {name: "[]"}
    with pytest.raises(DataError, match="is refused"):
        read("chatgpt", zipped(tmp_path / "chatgpt.zip", files))


def test_a_bomb_in_an_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "claude.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("users.json", "[]")
        archive.writestr("conversations.json", b"[" + b" " * (12 << 20) + b"]")
    with pytest.raises(DataError, match="zip bomb"):
        read("claude", path)


def test_a_missing_file_and_an_empty_one_are_a_sentence(tmp_path: Path) -> None:
    for program in PROGRAMS:
        with pytest.raises(DataError):
            read(program, tmp_path / "none.json")
    empty = tmp_path / "empty.json"
    empty.write_text("")
    for program in PROGRAMS:
        with pytest.raises(DataError):
            read(program, empty)


def test_a_document_of_another_shape_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "conversations.json"
    path.write_text('{\n "title": "x", "messages": "y"}')
    for program in ("chatgpt", "claude"):
        with pytest.raises(DataError, match=r"conversations\.json:2: is no list"):
            read(program, path)
    with pytest.raises(DataError, match=r"conversations\.json:2: is no channel"):
        read("discord", path)


def test_an_empty_export_has_no_messages(tmp_path: Path) -> None:
    path = tmp_path / "conversations.json"
    path.write_text("[]")
    assert read("chatgpt", path).rows == read("claude", path).rows == 0


def test_nobody_stays_unhidden_because_the_list_of_members_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"users\.json:1: is no member"):
        read("slack", zipped(tmp_path / "slack.zip", folder("slack") | {"users.json": '[{"name": "mara"}]'}))
    with pytest.raises(DataError, match=r"user\.json:1: is not JSON"):
        read("chatgpt", zipped(tmp_path / "chatgpt.zip", folder("chatgpt") | {"user.json": '{"name": '}))


# ---- threads and trees


def test_a_chain_of_answers_has_one_beginning_or_loops() -> None:
    before = {"a": "", "b": "a", "c": "b", "x": "gone", "y": "x", "p": "q", "q": "p", "r": "q", "s": "s"}
    assert _threads.beginnings(before) == {
        **dict.fromkeys("abc", "a"),
        **dict.fromkeys("xy", "gone"),
        **dict.fromkeys("pqrs"),
    }


def test_a_long_chain_of_answers_takes_no_longer_than_its_length() -> None:
    before = {str(number): str(number - 1) for number in range(1, 200_000)}
    assert set(_threads.beginnings(before).values()) == {"0"}


def test_a_slack_thread_that_loops_is_listed(tmp_path: Path) -> None:
    rows = [
        {"user": "U0", "ts": "1672653600.000100", "thread_ts": "1672653601.000100", "text": "a"},
        {"user": "U0", "ts": "1672653601.000100", "thread_ts": "1672653600.000100", "text": "b"},
        {"user": "U0", "ts": "1672653602.000100", "text": "c"},
    ]
    files = slack_files([[("Ana", "Hi")]]) | {"c9/2023-01-02.json": json.dumps(rows)}
    export = read("slack", zipped(tmp_path / "slack.zip", files))
    assert [text for *_, text in said(export)] == ["Hi", "c"]
    assert [(line, kind) for _, line, kind, _ in listed(export)] == [(1, "bad"), (2, "bad")]
    assert "loops" in export.unused[0].reason


def test_a_slack_message_that_is_there_twice_counts_once_and_another_of_its_time_is_bad(tmp_path: Path) -> None:
    row = {"user": "U0", "ts": "1672653600.000100", "text": "a"}
    files = slack_files([[("Ana", "Hi")]]) | {"c9/2023-01-02.json": json.dumps([row, row, row | {"text": "b"}])}
    export = read("slack", zipped(tmp_path / "slack.zip", files))
    assert [text for *_, text in said(export)] == ["Hi", "a"]
    assert [(line, kind) for _, line, kind, _ in listed(export)] == [(2, "filtered"), (3, "bad")]


def test_a_discord_id_that_is_there_twice_is_listed(tmp_path: Path) -> None:
    channel = discord_document([[("Ana", "one"), ("Bo", "two"), ("Ana", "three")]])
    channel["messages"].append(channel["messages"][0])
    channel["messages"][2]["id"] = channel["messages"][1]["id"]
    path = tmp_path / "channel.json"
    path.write_text(json.dumps(channel))
    export = read("discord", path)
    assert [text for *_, text in said(export)] == ["one", "two"]
    assert [(line, kind) for _, line, kind, _ in listed(export)] == [(3, "bad"), (4, "filtered")]


def chatgpt_of(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> Export:
    """One talk of five messages, each answering the one above, after a change."""
    talk = chatgpt_talks([[("Ana", "0"), ("Dé", "1"), ("Ana", "2"), ("Dé", "3"), ("Ana", "4")]])[0]
    talk["mapping"] = dict(reversed(talk["mapping"].items()))
    change(talk)
    path = tmp_path / "conversations.json"
    path.write_text(json.dumps([talk]))
    return read("chatgpt", path)


def test_a_talk_without_its_last_message_ends_with_its_last_leaf(tmp_path: Path) -> None:
    for gone in ("elsewhere", None, 3, ["n4"]):
        export = chatgpt_of(tmp_path, lambda talk, gone=gone: talk.update(current_node=gone))
        assert [text for *_, text in said(export)] == list("01234")


def test_a_talk_that_loops_is_listed_and_keeps_what_does_not(tmp_path: Path) -> None:
    export = chatgpt_of(tmp_path, lambda talk: talk["mapping"]["n3"].update(parent="n4"))
    assert [text for *_, text in said(export)] == list("012")
    assert [(line, kind) for _, line, kind, _ in listed(export)] == [(4, "bad"), (5, "bad")]


def test_what_hangs_on_a_missing_message_is_bad_and_not_another_branch(tmp_path: Path) -> None:
    export = chatgpt_of(tmp_path, lambda talk: talk["mapping"]["n3"].update(parent="gone"))
    assert [text for *_, text in said(export)] == ["3", "4"]
    assert {(kind, reason) for *_, kind, reason in listed(export)} == {
        ("bad", "cannot be put in its place: a message before it is missing")
    }


def test_a_node_that_does_not_name_its_parent_is_found_by_the_children(tmp_path: Path) -> None:
    export = chatgpt_of(tmp_path, lambda talk: talk["mapping"]["n3"].pop("parent"))
    assert [text for *_, text in said(export)] == list("01234")


def test_a_message_without_a_name_is_nobodys_parent(tmp_path: Path) -> None:
    def nameless(talk: dict[str, Any]) -> None:
        talk["mapping"][""] = talk["mapping"]["n0"] | {"parent": "n4"}
        talk["mapping"]["n0"]["parent"] = ""

    export = chatgpt_of(tmp_path, nameless)
    assert [text for *_, text in said(export)] == list("01234")
    assert export.rows == 6


def test_talks_of_one_id_stay_two_talks(tmp_path: Path) -> None:
    path = tmp_path / "conversations.json"
    path.write_text(json.dumps(chatgpt_talks([[("Ana", "Hi")]]) * 2))
    assert [chat for chat, *_ in said(read("chatgpt", path))] == ["t0", "t0 (2)"]


def test_a_message_of_claude_with_the_uuid_of_another_is_bad(tmp_path: Path) -> None:
    talks = claude_talks([[("Ana", "a"), ("Dé", "b"), ("Ana", "c")]])
    talks[0]["chat_messages"][1]["uuid"] = "m0"
    path = tmp_path / "conversations.json"
    path.write_text(json.dumps(talks))
    export = read("claude", path)
    assert [text for *_, text in said(export)] == ["a", "c"]
    assert [(line, kind) for _, line, kind, _ in listed(export)] == [(2, "bad")]


@pytest.mark.parametrize(
    ("ids", "kept"),
    [
        (["", "m1", "m2"], "abc"),
        (["m0", ["x"], "m2"], "ac"),
        ([None, "m1", None], "abc"),
        (["message 2", 3, "m2"], "ac"),
    ],
)
def test_a_message_of_claude_may_call_itself_anything(tmp_path: Path, ids: list[Any], kept: str) -> None:
    talks = claude_talks([[("Ana", "a"), ("Dé", "b"), ("Ana", "c")]])
    for message, id in zip(talks[0]["chat_messages"], ids, strict=True):
        message["uuid"] = id
    talks[0]["current_leaf_message_uuid"] = ["x"]
    path = tmp_path / "conversations.json"
    path.write_text(json.dumps(talks))
    export = read("claude", path)
    assert export.rows == 3
    assert "".join(text for *_, text in said(export)) == kept
