"""Own chats: every message is in a conversation or listed, the newest are held out, and nobody else's name is in them."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.data import chats
from chatwright.data.exports.export import ChatMessage, Export
from chatwright.data.formats import messages as messages_format
from chatwright.data.options import ChatOptions
from chatwright.data.rows import BadRow, Row
from chatwright.errors import DataError
from chatwright.text.records import Conversation

MORNING = datetime(2024, 3, 1, 9, 0)
OPEN = ChatOptions(redact=False)  # most laws are easier to read with the names in place


def message(
    line: int, sender: str, text: str, hour: float | None = 0.0, chat: str = "chat", role: str = ""
) -> ChatMessage:
    time = None if hour is None else MORNING + timedelta(hours=hour)
    return ChatMessage(line, chat, time, sender, text, role)  # type: ignore[arg-type]


def chat(
    *said: tuple[str, str] | tuple[str, str, float | None], name: str = "chat", first: int = 1
) -> list[ChatMessage]:
    """Messages from (sender, text) or (sender, text, hour); without an hour a minute passes from one to the next."""
    found = []
    for place, (sender, text, *hour) in enumerate(said):
        found.append(message(first + place, sender, text, hour[0] if hour else place / 60, name))
    return found


def export(messages: Sequence[ChatMessage], **more: Any) -> Export:
    return Export("whatsapp", "chat.txt", tuple(messages), **more)


def made(messages: Sequence[ChatMessage], options: ChatOptions = OPEN, **more: Any) -> tuple[list[Row], list[BadRow]]:
    found, _ = chats.rows(export(messages, **more), options)
    everything = list(found)
    return [one for one in everything if isinstance(one, Row)], [one for one in everything if isinstance(one, BadRow)]


def turns(row: Row) -> list[tuple[str, str]]:
    return [(one["role"], one["content"]) for one in row.value["messages"]]


def report(messages: Sequence[ChatMessage], options: ChatOptions = OPEN, **more: Any) -> chats.ChatReport:
    return chats.rows(export(messages, **more), options)[1]


# ---- the sum


TIMES = st.none() | st.builds(
    lambda hours, zone: (MORNING + timedelta(hours=hours)).replace(tzinfo=zone),
    st.floats(-100, 100),
    st.sampled_from([None, UTC, timezone(timedelta(hours=9))]),
)
PEOPLE = st.sampled_from(["Ben Okafor", "Ana Lind", "Kim Sato", ""])
ROLES = st.sampled_from(["", "", "", "user", "assistant", "system"])
SAID = st.builds(
    lambda chat, time, sender, text, role: ChatMessage(0, chat, time, sender, text, role),
    st.sampled_from(["one", "two"]),
    TIMES,
    PEOPLE,
    st.sampled_from(["yes", "no, Ana", "  ", "", "call 0171 1234567\nplease", "\x00\u200b"]),
    ROLES,
)
UNUSED = st.builds(
    lambda rows, kind: BadRow("chat.txt", 1, "a picture", kind, rows), st.integers(1, 5), st.just("filtered")
)


@given(st.lists(SAID, max_size=30), st.lists(UNUSED, max_size=3), st.booleans(), st.floats(0, 1))
def test_every_message_is_in_a_conversation_or_listed(
    said: list[ChatMessage], unused: list[BadRow], redact: bool, held_out: float
) -> None:
    messages = [ChatMessage(i + 1, m.chat, m.time, m.sender, m.text, m.role) for i, m in enumerate(said)]
    whole = export([message(0, "Ben Okafor", "hello", None, "first"), *messages], unused=tuple(unused))
    options = ChatOptions(me="Ben Okafor", redact=redact, held_out=held_out)
    found, account = chats.rows(whole, options)
    rows = list(found)
    used = sum(row.covers for row in rows if isinstance(row, Row))
    assert used + sum(row.rows for row in rows if isinstance(row, BadRow)) == whole.rows
    assert used == account.used
    for row in rows:
        if isinstance(row, Row) and "\x00" not in str(row.value):
            record = messages_format.parse(row.value, {})
            assert isinstance(record, Conversation)
            assert record.messages[-1].role == "assistant"


@given(st.lists(st.tuples(PEOPLE, TIMES), min_size=1, max_size=20))
def test_what_is_in_a_conversation_is_there_once_and_in_the_order_of_the_file(said: list[tuple[str, Any]]) -> None:
    messages = [ChatMessage(i, "chat", time, sender, f"word{i}.") for i, (sender, time) in enumerate(said)]
    rows, listed = made(
        [*messages, message(99, "Ben Okafor", "word99.", None)], ChatOptions(me="Ben Okafor", redact=False)
    )
    for row in rows:
        text = " ".join(content for _, content in turns(row))
        order = [text.index(f"word{i}.") for i in [*range(len(said)), 99] if f"word{i}." in text]
        assert order == sorted(order)
        assert len(order) == row.covers
    assert sum(row.covers for row in rows) + sum(row.rows for row in listed) == len(said) + 1


# ---- conversations


def test_bursts_of_one_side_are_one_turn_and_a_conversation_begins_with_the_others_and_ends_with_me() -> None:
    rows, listed = made(
        chat(
            ("Ben", "anybody there?"),
            ("Ana", "hi"),
            ("Ana", "how was it?"),
            ("Ben", "great"),
            ("Ben", "you should have come"),
            ("Ana", "next time"),
        ),
        ChatOptions(me="Ben", redact=False),
    )
    assert [turns(row) for row in rows] == [
        [("user", "hi\nhow was it?"), ("assistant", "great\nyou should have come")],
    ]
    assert (rows[0].line, rows[0].covers) == (2, 4)
    assert {(row.line, row.reason, row.kind, row.rows) for row in listed} == {
        (1, "nobody asked anything before it", "filtered", 1),
        (6, "no answer of Ben's follows", "filtered", 1),
    }


def test_a_long_silence_begins_a_new_conversation_and_one_without_my_answer_is_listed() -> None:
    said = [
        ("Ana", "hi", 0.0),
        ("Ben", "hello", 1.0),
        ("Ana", "lunch?", 10.0),
        ("Ana", "?", 11.0),
        ("Ana", "ok", 30.0),
        ("Ben", "yes", 37.9),
    ]
    rows, listed = made(chat(*said), ChatOptions(me="Ben", gap_hours=8, redact=False))
    assert [turns(row)[0][1] for row in rows] == ["hi", "ok"]
    assert [(row.line, row.reason, row.rows) for row in listed] == [(3, "no answer of Ben's", 2)]


@pytest.mark.parametrize("hour", [None, -0.5], ids=["no time", "time running backwards"])
def test_messages_without_a_time_or_with_an_earlier_one_stay_where_the_file_has_them(hour: float | None) -> None:
    rows, _ = made(
        chat(("Ana", "one", 0.0), ("Ana", "two", hour), ("Ben", "three", 0.1)), ChatOptions(me="Ben", redact=False)
    )
    assert turns(rows[0]) == [("user", "one\ntwo"), ("assistant", "three")]


def test_conversations_come_in_the_order_of_time_whatever_the_chats_are() -> None:
    later = chat(("Ana", "later", 50.0), ("Ben", "yes", 50.1), name="a")
    early = chat(("Kim", "early", 1.0), ("Ben", "no", 1.1), name="b", first=3)
    rows, _ = made([*later, *early], ChatOptions(me="Ben", redact=False))
    assert [turns(row)[0][1] for row in rows] == ["early", "later"]


def test_times_with_and_without_a_zone_can_stand_in_one_export() -> None:
    aware = ChatMessage(2, "chat", (MORNING + timedelta(hours=1)).replace(tzinfo=UTC), "Ben", "yes")
    rows, _ = made([message(1, "Ana", "hi"), aware], ChatOptions(me="Ben", redact=False))
    assert rows[0].covers == 2


def test_where_more_than_two_people_talk_a_name_stands_before_what_each_other_says() -> None:
    said = chat(("Ana", "who comes?"), ("Kim", "me"), ("Kim", "and a cake"), ("Ben", "I do"))
    rows, _ = made(said, ChatOptions(me="Ben", redact=False))
    assert turns(rows[0]) == [("user", "Ana: who comes?\nKim: me\nand a cake"), ("assistant", "I do")]
    rows, _ = made(said, ChatOptions(me="Ben"))
    assert turns(rows[0])[0] == ("user", "[name 1]: who comes?\n[name 2]: me\nand a cake")


def test_empty_messages_are_listed() -> None:
    rows, listed = made(chat(("Ana", "hi"), ("Ben", " \n"), ("Ben", "hello")), ChatOptions(me="Ben", redact=False))
    assert rows[0].covers == 2
    assert [(row.line, row.reason) for row in listed] == [(2, "it is empty")]


@pytest.mark.parametrize(
    ("conversations", "held_out", "expected"),
    [
        (1, 0.1, (1, 0, 0)),
        (2, 0.1, (1, 1, 0)),
        (9, 0.1, (8, 1, 0)),
        (20, 0.1, (18, 1, 1)),
        (40, 0.1, (36, 2, 2)),
        (5, 1.0, (1, 2, 2)),
        (5, 0.0, (5, 0, 0)),
    ],
)
def test_the_newest_conversations_are_held_out_the_newest_of_all_as_the_test(
    conversations: int, held_out: float, expected: tuple[int, int, int]
) -> None:
    said = [
        one
        for day in range(conversations)
        for one in (("Ana", f"day {day}", 24.0 * day), ("Ben", "yes", 24.0 * day + 1))
    ]
    rows, _ = made(chat(*said), ChatOptions(me="Ben", held_out=held_out, redact=False))
    splits = [row.split for row in rows]
    assert tuple(splits.count(name) for name in ("train", "validation", "test")) == expected
    assert splits == sorted(splits, key=["train", "validation", "test"].index)
    assert report(chat(*said), ChatOptions(me="Ben", held_out=held_out)).conversations == conversations


# ---- who I am


TWO = chat(("Ana Lind", "hi"), ("Ben Okafor", "hello"), ("Ana Lind", "bye"))


@pytest.mark.parametrize("me", ["Ben Okafor", "ben okafor", "Ben", "BEN", "Okafor", "BÉN  OKAFOR"])
def test_my_name_may_be_given_whole_or_in_part_in_any_case(me: str) -> None:
    assert report(TWO, ChatOptions(me=me)).me == "Ben Okafor"


def test_a_first_name_goes_before_the_same_last_name() -> None:
    said = chat(("Ben Okafor", "hi"), ("Ana Ben", "hello"))
    assert report(said, ChatOptions(me="ben")).me == "Ben Okafor"


def test_a_name_that_is_nobody_s_is_answered_with_everybody_s() -> None:
    with pytest.raises(
        DataError,
        match=r"--me is 'Tim', a name that nobody in it has; give one of 'Ana Lind' \(2 messages\), 'Ben Okafor'",
    ):
        report(TWO, ChatOptions(me="Tim"))
    with pytest.raises(DataError, match="--me is 'Kim', who wrote nothing in it"):
        report(TWO, ChatOptions(me="Kim"), names=("Kim Sato",))


def test_a_name_that_may_be_two_people_s_is_refused() -> None:
    with pytest.raises(DataError, match=r"may be 'Ana Lind' \(1 message\), 'Ana Maier'"):
        report(chat(("Ana Lind", "hi"), ("Ana Maier", "hello")), ChatOptions(me="Ana"))


def test_the_owner_of_the_export_is_me() -> None:
    found = report(TWO, owner="Ana Lind")
    assert (found.me, found.how) == ("Ana Lind", "whose export it is")
    assert "guessed" in report([*TWO, message(4, "Ben Okafor", "bye")], owner="Somebody Else").how


def test_i_am_guessed_to_be_the_one_in_most_chats_and_it_is_said() -> None:
    said = [*TWO, *chat(("Kim Sato", "hi"), ("Ana Lind", "hello"), name="other")]
    found = report(said)
    assert found.me == "Ana Lind"
    assert "guessed" in found.how
    assert any("Ana Lind" in line and "--me" in line for line in found.lines())


def test_i_am_guessed_to_be_the_one_who_answers_in_a_chat_of_two_and_a_tie_is_a_question() -> None:
    assert report(chat(("Ana", "1"), ("Ben", "2"), ("Ana", "3"), ("Ben", "4"))).me == "Ben"
    with pytest.raises(DataError, match="answer equally often; say it with --me"):
        report(chat(("Ana", "1"), ("Ben", "2"), ("Ana", "3")))


def test_talks_with_an_ai_need_no_name_and_are_not_cut_at_silences() -> None:
    said = [
        message(1, "", "Be brief.", 0, role="system"),
        message(2, "", "hi", 0, role="user"),
        message(3, "", "Hello!", 0, role="assistant"),
        message(4, "", "and now?", 50, role="user"),
        message(5, "", "Be long.", 50, role="system"),
        message(6, "", "Yes.", 50, role="assistant"),
        message(7, "", "thanks", 50, role="user"),
    ]
    rows, listed = made(said)
    assert turns(rows[0]) == [
        ("system", "Be brief."),
        ("user", "hi"),
        ("assistant", "Hello!"),
        ("user", "and now?"),
        ("assistant", "Yes."),
    ]
    assert (rows[0].covers, rows[0].line) == (5, 1)
    assert [row.reason for row in listed] == [
        "a system message stands inside the talk",
        "no answer of the assistant's follows",
    ]
    assert report(said).others == ()


def test_an_export_with_nothing_to_use_is_all_listed() -> None:
    unused = (BadRow("chat.txt", 1, "a picture", "filtered", 3),)
    rows, listed = made([], unused=unused)
    assert (rows, listed) == ([], list(unused))


# ---- what is hidden


PRIVATE = [
    *chat(
        ("Ana Lind", "morning ben, ring 0171 1234567"),
        ("Ben Okafor", "hi ANA, where is Kim?"),
        ("Ana Lind", "no idea"),
        name="one",
    ),
    *chat(
        ("Kim Sato", "ana wrote to kim@sato.example", 30.0),
        ("Ben Okafor", "Kim, Ana's right", 30.1),
        name="two",
        first=4,
    ),
]


def test_names_and_numbers_are_hidden_unless_it_is_switched_off_and_one_person_is_one_number_everywhere() -> None:
    rows, _ = made(PRIVATE, ChatOptions())
    assert [turns(row) for row in rows] == [
        [("user", "morning [me], ring [phone]"), ("assistant", "hi [name 1], where is [name 2]?")],
        [("user", "[name 1] wrote to [email]"), ("assistant", "[name 2], [name 1]'s right")],
    ]
    plain, _ = made(PRIVATE)
    assert "0171 1234567" in str(plain)


def test_the_report_begins_with_what_was_not_looked_for_and_names_nobody_but_me() -> None:
    found = report(PRIVATE, ChatOptions(me="Ben"))
    said = "\n".join(found.lines()) + json.dumps(found.as_dict()) + repr(found)
    assert "--redact.ner" in found.lines()[0]
    assert "names inside free text" in found.lines()[0]
    assert "Ben Okafor" in said
    for secret in ("Ana", "Lind", "Kim", "Sato", "1234567", "sato.example"):
        assert secret.casefold() not in said.casefold()
    assert found.others == ("Ana Lind", "Kim Sato")
    assert "2 others wrote in these chats; ask them" in found.lines()[-1]


def test_reasons_name_nobody_where_names_are_hidden() -> None:
    _, listed = made(PRIVATE, ChatOptions(me="Ben"))
    assert {row.reason for row in listed} == {"no answer of [me]'s follows"}


def test_without_hiding_the_report_says_so_first() -> None:
    assert report(PRIVATE, ChatOptions(me="Ben", redact=False)).lines()[0].startswith("nothing was hidden")


def test_an_export_that_calls_me_me_says_that_my_name_was_not_looked_for() -> None:
    said = chat(("Ana", "hi Ben, tell me"), ("Me", "hello"))
    rows, _ = made(said, ChatOptions(), owner="Me")
    assert turns(rows[0]) == [("user", "hi Ben, tell me"), ("assistant", "hello")]
    assert any("your own name is not in the export" in line for line in report(said, ChatOptions(), owner="Me").lines())
