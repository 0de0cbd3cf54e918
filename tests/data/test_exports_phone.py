"""Exports of WhatsApp, Telegram, Signal and iMessage: every message is read as it was written, or listed with its reason."""

import csv
import io
import json
import re
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chatwright.data.exports import imessage, signal, telegram, whatsapp
from chatwright.data.exports._found import DELETED, FORWARDED, MEDIA, NOTE
from chatwright.data.exports.export import Export
from chatwright.errors import DataError

SAMPLES = Path(__file__).parent / "samples"
FOLDER = SAMPLES / "exports"
READERS = {"whatsapp": whatsapp, "telegram": telegram, "signal": signal, "imessage": imessage}
MINE = sorted(path for name in READERS for path in (FOLDER / name).rglob("*") if path.is_file())
LEFT_TO_RIGHT, NARROW = "\u200e", "\u202f"
FAST = settings(deadline=None, max_examples=50)

Said = list[tuple[str, str, datetime | None]]  # sender, text, time


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exports")


def reader_of(path: Path) -> ModuleType:
    return READERS[path.relative_to(FOLDER).parts[0]]


def start(path: Path) -> bytes:
    return path.read_bytes()[: 1 << 16]


def said(export: Export) -> Said:
    return [(message.sender, message.text, message.time) for message in export.messages]


def left_out(export: Export) -> list[tuple[int, str, str]]:
    return [(row.line, row.kind, row.reason) for row in export.unused]


def kinds(export: Export) -> dict[int, str]:
    return {row.line: row.kind for row in export.unused}


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape"))
    return path


def whatsapp_of(folder: Path, content: str | bytes, name: str = "WhatsApp Chat with Ben.txt") -> Export:
    return whatsapp.read(written(folder, name, content))


# --- the samples


def test_an_android_chat_is_read_with_its_notes_media_and_lines() -> None:
    export = whatsapp.read(FOLDER / "whatsapp" / "WhatsApp Chat with Ben Moor.txt")
    assert said(export) == [
        ("Ben Moor", "Did you find the tent?", datetime(2023, 12, 30, 21, 58)),
        ("Ana Lind", "Yes: in the cellar.\nIt smells like\n\nthe last rain 🌧️", datetime(2023, 12, 30, 22, 1)),
        ("Ana Lind", "this is the hole in it", datetime(2023, 12, 30, 22, 2)),
        ("Ben Moor", "I have tape", datetime(2023, 12, 30, 22, 5)),
        ("Ana Lind", "Ask @Cleo Reyes, she knows the way", datetime(2024, 1, 1, 9, 0)),
        ("Ben Moor", "ok", datetime(2024, 1, 1, 9, 1)),
    ]
    assert left_out(export) == [
        (1, "filtered", NOTE),
        (7, "filtered", MEDIA),
        (10, "filtered", DELETED),
        (12, "filtered", NOTE),
        (13, "filtered", MEDIA),
        (14, "filtered", MEDIA),
    ]
    assert [message.line for message in export.messages] == [2, 3, 8, 11, 15, 16]
    assert set(export.names) == {"Ben Moor", "Ana Lind", "Cleo Reyes"}
    assert (export.owner, export.rows, {message.chat for message in export.messages}) == ("Ana Lind", 12, {"Ben Moor"})


def test_an_android_group_names_who_was_added_and_lists_the_day_that_cannot_be() -> None:
    export = whatsapp.read(FOLDER / "whatsapp" / "WhatsApp Chat mit Kochgruppe.txt")
    assert [text for _, text, _ in said(export)] == ["Wer bringt die Zwiebeln?", "Ich: drei Kilo", "Danke!"]
    assert kinds(export) == dict.fromkeys((1, 2, 3, 6, 7, 9), "filtered") | {10: "bad"}
    assert "30.02.24" in left_out(export)[-1][2]
    assert set(export.names) == {"Dora Falk", "Emil Sand", "Finn Ohm", "+49 30 23125 555"}
    assert (export.owner, export.rows) == ("", 10)


def test_an_iphone_chat_is_the_same_alone_and_in_its_zip(folder: Path) -> None:
    path = FOLDER / "whatsapp" / "iphone" / "_chat.txt"
    alone = whatsapp.read(path)
    assert said(alone) == [
        ("Gema Ríos", "¿Sigue en pie lo de mañana?", datetime(2023, 11, 5, 22, 14, 30)),
        ("Hugo Paz", "Claro\na las ocho", datetime(2023, 11, 5, 22, 15, 9)),
        ("Gema Ríos", "Mira el mapa", datetime(2023, 11, 5, 22, 16, 44)),
        ("Gema Ríos", "Ya voy", datetime(2023, 11, 14, 8, 0)),
    ]
    assert kinds(alone) == dict.fromkeys((1, 3, 7, 8, 10), "filtered")
    archive = folder / "WhatsApp Chat - Gema Ríos.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(path, "_chat.txt")
        file.writestr("00000005-PHOTO-2023-11-05-22-16-44.jpg", b"\xff\xd8")
        file.writestr("00000006-notes.txt", "[01/01/2020, 10:00:00] Eve: a text that somebody sent\n")
    assert whatsapp.recognises(archive, start(archive))
    zipped = whatsapp.read(archive)
    assert said(zipped) == said(alone)
    assert (zipped.file, zipped.owner) == (f"{archive}/_chat.txt", "Hugo Paz")
    assert {message.chat for message in zipped.messages} == {"Gema Ríos"}


def test_a_telegram_chat_joins_the_pieces_of_a_text_and_knows_its_owner() -> None:
    export = telegram.read(FOLDER / "telegram" / "result.json")
    assert said(export) == [
        ("Ana Lind", "Did the parcel come?", datetime(2023, 7, 13, 17, 41)),
        ("Ben Moor", "Yes! Track it: https://parcels.example/7 today", datetime(2023, 7, 13, 17, 42)),
        ("Ana Lind", "Line one\nline two", datetime(2023, 7, 13, 17, 43, 20)),
        ("Ben Moor", "here it is", datetime(2023, 7, 13, 17, 45, 20)),
    ]
    reasons = [NOTE, MEDIA, FORWARDED]
    assert [(kind, reason) for _, kind, reason in left_out(export)] == [("filtered", reason) for reason in reasons]
    assert [message.line for message in export.messages] == [18, 28, 62, 85]
    assert (set(export.names), export.owner) == ({"Ben Moor", "Ana Lind", "Harbour News"}, "Ana Lind")


def test_a_telegram_account_has_every_chat_and_the_names_of_its_contacts() -> None:
    export = telegram.read(FOLDER / "telegram" / "account" / "result.json")
    chats = [message.chat for message in export.messages]
    assert chats == ["Ben Moor"] * 4 + ["Kites"] * 4 + ["Saved Messages", "Old Club"]
    assert said(export)[5] == ("Deleted Account 4004", "I am in", datetime(2024, 1, 2, 10, 2))
    assert set(export.names) == {"Ana Lind", "@analind", "Ben Moor", "Jo", "Kim Aster", "Harbour News", "Ida Wolk"}
    assert (export.owner, export.rows) == ("Ana Lind", 14)


def test_the_three_shapes_of_signal_are_read() -> None:
    own = signal.read(FOLDER / "signal" / "main.jsonl")
    assert [(m.line, m.chat, m.sender, m.text) for m in own.messages] == [
        (10, "Benny", "Benny", "Are you there?"),
        (11, "Benny", "Ana Lind", "Nearly\nhome"),
        (16, "Choir", "Cleo", "Rehearsal at six"),
        (17, "Choir", "Ana Lind", "lovely"),
    ]
    assert own.messages[0].time == datetime(2023, 11, 14, 22, 13, 20)
    assert [(line, reason) for line, _, reason in left_out(own)[:-1]] == [
        (12, MEDIA),
        (13, MEDIA),
        (14, DELETED),
        (15, NOTE),
    ]
    assert left_out(own)[-1][:2] == (18, "bad")
    assert {"Ana Lind", "Benny", "Benjamin", "Ben Moor", "bm.77", "+12025550143", "Cleo"} == set(own.names)
    assert own.owner == "Ana Lind"

    exported = signal.read(FOLDER / "signal" / "BenMoor" / "data.json")
    assert said(exported) == [
        ("BenMoor", "Is the key under the mat?", datetime(2023, 5, 29, 15, 4)),
        ("Me", "Under the pot.\nThe blue one", datetime(2023, 5, 29, 15, 10, 30, 250000)),
    ]
    assert [(line, reason) for line, _, reason in left_out(exported)[:-1]] == [(3, MEDIA), (4, NOTE), (5, DELETED)]
    assert left_out(exported)[-1][:2] == (6, "bad")
    assert (exported.owner, {m.chat for m in exported.messages}, exported.names) == ("Me", {"BenMoor"}, ("BenMoor",))

    text = signal.read(FOLDER / "signal" / "Ben Moor (+12025550143).txt")
    assert said(text) == [
        ("Ben Moor", "Do you still have my violin?\n\nIt is the small one", datetime(2025, 9, 18, 12, 44, 56)),
        ("You", "From: my mother, yes", datetime(2025, 9, 18, 12, 50)),
        ("Ben Moor", "Thank you\nso much", datetime(2025, 9, 18, 12, 53)),
    ]
    assert kinds(text) == dict.fromkeys((24, 29), "filtered")
    assert (text.owner, set(text.names), text.rows) == ("You", {"Ben Moor", "+12025550143"}, 5)


def test_the_tables_and_the_text_of_imessage_are_read() -> None:
    imazing = imessage.read(FOLDER / "imessage" / "Messages - Ben Moor.csv")
    assert said(imazing) == [
        ("Ben Moor", 'Morning, are the "new" oars here?', datetime(2024, 2, 10, 9, 0)),
        ("Me", "Not yet.\nFriday", datetime(2024, 2, 10, 9, 2, 10)),
        ("Me", "They came !", datetime(2024, 2, 11, 9, 7)),
    ]
    assert kinds(imazing) == dict.fromkeys((5, 6, 7), "filtered") | {8: "bad"}
    assert (imazing.owner, imazing.names, imazing.rows) == ("Me", ("Ben Moor", "+12025550143"), 7)

    plain = imessage.read(FOLDER / "imessage" / "chat_db.csv")
    assert [(m.chat, m.sender, m.text) for m in plain.messages] == [
        ("4", "+12025550143", "Lunch?"),
        ("4", "Me", "At one"),
        ("5", "ida@example.org", "Call me"),
    ]
    assert kinds(plain) == {4: "bad"}

    text = imessage.read(FOLDER / "imessage" / "+12025550143.txt")
    assert said(text) == [
        ("+12025550143", "Shall I bring the boat?", datetime(2022, 5, 17, 17, 29, 42)),
        ("Me", "Please do.\n\nAnd the rope", datetime(2022, 5, 17, 17, 31, 2)),
        ("+12025550143", "The long one?", datetime(2022, 5, 17, 17, 33)),
        ("Me", "Yes", datetime(2022, 5, 17, 17, 35)),
    ]
    assert kinds(text) == dict.fromkeys((21, 30, 32), "filtered")
    assert (text.owner, text.names, text.rows) == ("Me", ("+12025550143",), 7)


# --- recognising


@pytest.mark.parametrize(
    "path", sorted(path for path in SAMPLES.rglob("*") if path.is_file()), ids=lambda path: path.name
)
def test_a_file_is_taken_by_its_own_program_and_by_no_other(path: Path) -> None:
    own = path.relative_to(SAMPLES).parts[1] if path in MINE else ""
    assert [name for name, module in READERS.items() if module.recognises(path, start(path))] == [own] * bool(own)


def test_books_and_training_data_are_nobodys_chat(test_data: Path) -> None:
    for path in filter(Path.is_file, test_data.iterdir()):
        assert not [name for name, module in READERS.items() if module.recognises(path, start(path))], path.name


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("diary.txt", "12/31/23 went to the sea.\n1/1/24 came home: tired.\n"),
        ("script.txt", "Ana: Where?\nBen: There.\n12/31/23, 9:15 PM - a stage direction without a name\n"),
        ("log.txt", "2023-12-31 21:15:03 - server: up\n2023-12-31 21:15:04 - server: down\n"),
        ("log.txt", "[2023-12-31 21:15:03] app.ERROR: down\n[2023-12-31 21:15:04] app.INFO: up\n"),
        (
            "quote.txt",
            "A chapter on chats.\n\nThey look so:\n12/31/23, 9:15 PM - Ana: hi\nand that is all\nthere is to it.\n",
        ),
        ("mail.txt", "Conversation: about boats\n\nFrom: Ana\nSubject: boats\n\nhello\n"),
        ("notes.txt", "May 17, 2022\nSea\nCalm.\n"),
        ("_chat.txt", ""),
        ("chat.md", "# A chapter\n\n[2023-12-31 21:15:03] Ana: hi\n"),
        ("reviews.csv", "date,name,text\n2024-01-01,Ana,good\n"),
        ("labels.csv", "date,sender,text,label\n2024-01-01,Ana,good,1\n"),
        ("mails.csv", "date,from,subject,body\n2024-01-01,Ana,boats,good\n"),
        ("tweets.csv", "id,date,text,label\n1,2024-01-01,good,1\n"),
        ("alpaca.csv", "instruction,input,output\nsay,hi,ho\n"),
        ("broken.csv", 'date,sender,text\n"2024'),
        ("rows.json", '[{"date": "2024-01-01", "sender": "Ana", "text": "hi"}]'),
        ("rows.jsonl", '{"messages": [{"role": "user", "content": "hi"}]}\n'),
        ("events.json", '{"type": "event", "messages": []}'),
        ("version.jsonl", '{"version": 1}\n'),
        ("deep.jsonl", "[" * 100_000),
        ("picture.zip", "PK\x03\x04 and no zip at all"),
    ],
    ids=lambda value: value if len(value) < 12 else "",
)
def test_what_only_looks_like_a_chat_is_none(folder: Path, name: str, content: str) -> None:
    path = written(folder, name, content)
    assert not [program for program, module in READERS.items() if module.recognises(path, start(path))]


@given(st.binary(max_size=300), st.sampled_from([".txt", ".json", ".jsonl", ".csv", ".tsv", ".zip", ".md", ""]))
@FAST
def test_any_bytes_can_be_asked_about(folder: Path, content: bytes, suffix: str) -> None:
    path = written(folder, f"any{suffix}", content)
    for module in READERS.values():
        assert module.recognises(path, content) in (True, False)


def test_shapes_with_too_little_in_them_are_refused_with_the_one_to_give(folder: Path) -> None:
    markdown = written(
        folder, "chat.md", "[2019-05-29 15:04:00] Me: How is everyone?\n\n[2019-05-29 15:10:00] Aya: Great\n"
    )
    database = written(
        folder, "messages.json", '[\n{"conversationId":"1-2-3","sent_at":1,"type":"incoming","body":"hi"}\n]\n'
    )
    for path, advice in ((markdown, "data.json"), (database, "-f text")):
        assert signal.recognises(path, start(path))
        with pytest.raises(DataError, match=advice):
            signal.read(path)


# --- WhatsApp: dates


def stamp(moment: datetime, style: dict[str, Any]) -> str:
    """A date and time as a phone of some country writes them."""
    year = f"{moment.year}" if style["long"] or style["order"] == "ymd" else f"{moment.year % 100:02}"
    width = 2 if style["padded"] else 1
    numbers = {"y": year, "m": f"{moment.month:0{width}}", "d": f"{moment.day:0{width}}"}
    date = style["mark"].join(numbers[letter] for letter in style["order"])
    hour = (moment.hour % 12 or 12) if style["half"] else moment.hour
    clock = f"{hour:0{width}}:{moment.minute:02}" + (f":{moment.second:02}" if style["bracket"] else "")
    half = style["half"][moment.hour >= 12] if style["half"] else ""
    return f"{date}{style['comma']} {clock}{half}"


def line_of(sender: str, text: str, moment: datetime, style: dict[str, Any]) -> str:
    shown = stamp(moment, style)
    return f"{style['lead']}[{shown}] {sender}: {text}" if style["bracket"] else f"{shown} - {sender}: {text}"


HALVES = [
    None,
    (" AM", " PM"),
    (f"{NARROW}AM", f"{NARROW}PM"),
    (" a. m.", " p. m."),
    ("am", "pm"),
    ("\u00a0a.m.", "\u00a0p.m."),
]
STYLES = st.fixed_dictionaries(
    {
        "bracket": st.booleans(),
        "lead": st.sampled_from(["", LEFT_TO_RIGHT, "\u200f\u200e"]),
        "order": st.sampled_from(["dmy", "mdy", "ymd"]),
        "mark": st.sampled_from("/.-"),
        "padded": st.booleans(),
        "long": st.booleans(),
        "comma": st.sampled_from([",", "", " à", " klo", ", um"]),
        "half": st.sampled_from(HALVES),
    }
)
PLAIN_STYLE = {"bracket": False, "lead": "", "mark": "/", "padded": True, "long": True, "comma": ",", "half": None}
MOMENTS = st.datetimes(datetime(2010, 1, 1), datetime(2025, 1, 1)).map(lambda moment: moment.replace(microsecond=0))
# No invisible marks, no line break but one, nothing that only half of a pair of surrogates could say.
LETTERS = st.characters(
    exclude_categories=["Cs"],
    exclude_characters="\0\r\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff\ufffc",
)
ONE_LINE = st.text(LETTERS, max_size=30)
WORDS = (ONE_LINE | st.lists(ONE_LINE, max_size=4).map("\n".join)).map(str.strip).filter(bool)
TEXTS = WORDS.filter(lambda text: not re.search(r"\n\[?\d", text) and text != "null")
NAMES = st.text(st.characters(categories=["L", "Nd", "So"]) | st.sampled_from(" -'."), min_size=1, max_size=12)
NAMES = NAMES.map(lambda name: " ".join(name.split())).filter(lambda name: bool(name) and name not in ("Me", "You"))
CHATS = st.lists(st.tuples(NAMES, TEXTS, MOMENTS), min_size=1, max_size=8).map(
    lambda chat: [
        (name, text, time) for (name, text, _), time in zip(chat, sorted(time for *_, time in chat), strict=True)
    ]
)
DECIDING = ("Zoe", "the last day", datetime(2025, 3, 28, 12, 30))


@given(CHATS, STYLES, st.sampled_from(["\n", "\r\n"]), st.sampled_from(["", "\ufeff"]))
@FAST
def test_whatsapp_chats_come_back_as_they_were_written(
    folder: Path, chat: Said, style: dict[str, Any], end: str, mark: str
) -> None:
    chat = [
        (name, text, time if style["bracket"] else time.replace(second=0)) for name, text, time in [*chat, DECIDING]
    ]
    content = mark + "".join(line_of(*message, style) + "\n" for message in chat).replace("\n", end)
    path = written(folder, "WhatsApp Chat with Zoe.txt", content)
    assert whatsapp.recognises(path, start(path))
    export = whatsapp.read(path)
    assert (said(export), export.unused) == (chat, ())
    assert set(export.names) == {name for name, _, _ in chat}


@given(st.lists(MOMENTS, min_size=1, max_size=6).map(sorted), st.sampled_from(["dmy", "mdy"]), st.booleans())
@example([datetime(2024, 3, 5), datetime(2024, 4, 5)], "mdy", True)
@FAST
def test_dates_are_right_or_said_to_be_a_guess(folder: Path, times: list[datetime], order: str, long: bool) -> None:
    style = {**PLAIN_STYLE, "order": order, "long": long}
    export = whatsapp_of(folder, "".join(line_of("Ana", "hi", time, style) + "\n" for time in times))
    guesses = [row for row in export.unused if "nothing in the file says" in row.reason]
    assert guesses or [message.time for message in export.messages] == [time.replace(second=0) for time in times]
    assert export.rows == len(times)


@pytest.mark.parametrize(
    ("dates", "first", "is_guess"),
    [
        (["05/03/24, 10:00", "13/03/24, 10:00"], datetime(2024, 3, 5, 10), False),  # no month 13
        (["05/03/24, 10:00", "03/13/24, 10:00"], datetime(2024, 5, 3, 10), False),
        (["12/01/24, 10:00", "01/02/24, 10:00"], datetime(2024, 1, 12, 10), False),  # else it would run backwards
        (["05/03/24, 10:00", "06/03/24, 10:00"], datetime(2024, 3, 5, 10), True),
        (["5/3/24, 10:00 AM", "6/3/24, 10:00 AM"], datetime(2024, 5, 3, 10), True),  # as Americans write
        (["05/03/24, 10:00 am", "06/03/24, 10:00 am"], datetime(2024, 3, 5, 10), True),
        (["2024-03-05 10:00", "2024-03-06 10:00"], datetime(2024, 3, 5, 10), False),
        (["24/03/30, 10:00", "24/03/31, 10:00", "24/04/01, 10:00"], datetime(2024, 3, 30, 10), False),
        (["28.02.24, 10:00", "30.02.24, 10:00", "01.03.24, 10:00"], datetime(2024, 2, 28, 10), False),
        (["31. 12. 2023 21.15", "01. 01. 2024 09.15"], datetime(2023, 12, 31, 21, 15), False),
        (["٣١/١٢/٢٠٢٣, ٢١:١٥", "٠١/٠١/٢٠٢٤, ٠٩:١٥"], datetime(2023, 12, 31, 21, 15), False),
    ],
)
def test_the_whole_file_tells_the_order_of_its_dates(
    folder: Path, dates: list[str], first: datetime, is_guess: bool
) -> None:
    export = whatsapp_of(folder, "".join(f"{date} - Ana: hi\n" for date in dates))
    guesses = [row for row in export.unused if row.rows == 0]
    assert export.messages[0].time == first
    assert bool(guesses) == is_guess
    assert all(row.kind == "filtered" and f"{first:%Y-%m-%d}" in row.reason for row in guesses)
    assert export.rows == len(dates)


@pytest.mark.parametrize(
    "time",
    [
        *("31/02/23, 10:00", "00/12/23, 10:00", "31/12/0001, 10:00", "31/12/9999, 10:00"),
        *("31/12/23, 25:00", "31/12/23, 12:61", "31/12/23, 13:00 PM", "99/99/99, 99:99"),
    ],
)
def test_a_time_that_cannot_be_is_a_bad_row(folder: Path, time: str) -> None:
    lines = ["30/12/23, 10:00 - Ana: before", f"{time} - Ana: never", "31/12/23, 11:00 - Ben: after"]
    export = whatsapp_of(folder, "\n".join(lines))
    assert [text for _, text, _ in said(export)] == ["before", "after"]
    assert kinds(export) == {2: "bad"}


# --- WhatsApp: lines


@pytest.mark.parametrize(
    ("language", "notes", "media", "deleted"),
    [
        (
            "English",
            [
                "Messages and calls are end-to-end encrypted. Tap to learn more.",
                "Missed video call",
                "Waiting for this message",
            ],
            ["<Media omitted>", "image omitted", "GIF omitted", "Contact card omitted", "a.opus (file attached)"],
            ["This message was deleted.", "You deleted this message"],
        ),
        (
            "German",
            ["Nachrichten und Anrufe sind Ende-zu-Ende-verschlüsselt. Tippe für mehr Infos.", "Verpasster Sprachanruf"],
            ["<Medien ausgeschlossen>", "Bild weggelassen", "Kontaktkarte ausgelassen", "a.jpg (Datei angehängt)"],
            ["Diese Nachricht wurde gelöscht.", "Du hast diese Nachricht gelöscht."],
        ),
        (
            "Spanish",
            [
                "Los mensajes y las llamadas están cifrados de extremo a extremo.",
                "Llamada perdida",
                "Videollamada perdida",
            ],
            [
                "<Multimedia omitido>",
                "imagen omitida",
                "video omitido",
                "Tarjeta de contacto omitida",
                "a.jpg (archivo adjunto)",
            ],
            ["Se eliminó este mensaje.", "Eliminaste este mensaje."],
        ),
        (
            "French",
            ["Les messages et les appels sont chiffrés de bout en bout.", "Appel vocal manqué", "Appel vidéo manqué"],
            ["<Médias omis>", "image absente", "vidéo absente", "audio omis", "GIF retiré", "a.jpg (fichier joint)"],
            ["Ce message a été supprimé", "Vous avez supprimé ce message"],
        ),
        (
            "Italian",
            ["I messaggi e le chiamate sono crittografati end-to-end.", "Chiamata vocale persa", "Videochiamata persa"],
            ["<Media omessi>", "immagine omessa", "video omesso", "sticker non incluso", "a.jpg (file allegato)"],
            ["Questo messaggio è stato eliminato", "Hai eliminato questo messaggio"],
        ),
        (
            "Portuguese",
            [
                "As mensagens e as chamadas são protegidas com a criptografia de ponta a ponta.",
                "Chamada de voz perdida",
            ],
            ["<Mídia oculta>", "imagem ocultada", "figurinha omitida", "GIF não revelada", "a.jpg (arquivo anexado)"],
            ["Mensagem apagada", "Você apagou esta mensagem"],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_whatsapp_writes_itself_is_left_out_by_kind(
    folder: Path, language: str, notes: list[str], media: list[str], deleted: list[str]
) -> None:
    reasons = [
        (notes, NOTE),
        (media, MEDIA),
        (deleted, DELETED),
    ]
    for texts, reason in reasons:
        for text in texts:
            for line in (f"31/12/23, 21:15 - Ana: {text}\n", f"[31/12/23, 21:15:03] Ana: {LEFT_TO_RIGHT}{text}\n"):
                export = whatsapp_of(folder, line)
                assert left_out(export) == [(1, "filtered", reason)], (language, text)


@pytest.mark.parametrize(
    "mark",
    [
        "<This message was edited>",
        "<Diese Nachricht wurde bearbeitet.>",
        "<Se editó este mensaje.>",
        "<Ce message a été modifié>",
        "<Questo messaggio è stato modificato>",
        "<Mensagem editada>",
        "<attached: 00000012-PHOTO.jpg>",
        "<Anhang: 00000012-PHOTO.jpg>",
        "<adjunto: 00000012-PHOTO.jpg>",
        "<pièce jointe : 00000012-PHOTO.jpg>",
        "<allegato: 00000012-PHOTO.jpg>",
        "<anexado: 00000012-PHOTO.jpg>",
        "image omitted",
    ],
)
def test_the_words_of_an_edited_message_and_of_a_caption_are_kept(folder: Path, mark: str) -> None:
    export = whatsapp_of(folder, f"[31/12/23, 21:15:03] Ana: two words {LEFT_TO_RIGHT}{mark}\n")
    assert said(export) == [("Ana", "two words", datetime(2023, 12, 31, 21, 15, 3))]


@pytest.mark.parametrize(
    ("note", "names"),
    [
        ("Ana added Ben and Cleo", {"Ana", "Ben", "Cleo"}),
        ("You added Ben, Cleo and Dan Fox", {"Ben", "Cleo", "Dan Fox"}),
        ("Ana left", {"Ana"}),
        ('Ana changed the subject from "News: old" to "News: new"', {"Ana"}),
        ("Ana hat Ben und Cleo hinzugefügt.", {"Ana", "Ben", "Cleo"}),
        ("Ana añadió a Ben", {"Ana", "Ben"}),
        ("Ana a ajouté Ben et Cleo", {"Ana", "Ben", "Cleo"}),
        ("Ana ha aggiunto Ben", {"Ana", "Ben"}),
        ("Ana adicionou Ben", {"Ana", "Ben"}),
        ("Your security code with Ben changed. Tap to learn more.", set()),
        ("Du wurdest hinzugefügt", set()),
    ],
)
def test_a_note_is_left_out_and_the_names_in_it_are_kept(folder: Path, note: str, names: set[str]) -> None:
    export = whatsapp_of(folder, f"31/12/23, 21:15 - {note}\n31/12/23, 21:16 - Zoe: ok\n")
    assert left_out(export) == [(1, "filtered", NOTE)]
    assert set(export.names) == names | {"Zoe"}


def test_the_mark_of_an_iphone_tells_a_note_in_any_language(folder: Path) -> None:
    line = f"[31/12/23, 21:15:03] Ana: {LEFT_TO_RIGHT}Ana heeft de groep gemaakt\n"
    assert left_out(whatsapp_of(folder, line)) == [(1, "filtered", NOTE)]
    assert len(whatsapp_of(folder, line.replace(LEFT_TO_RIGHT, "")).messages) == 1


def test_a_sentence_about_pictures_is_a_sentence(folder: Path) -> None:
    texts = [
        "the image omitted in the book",
        "You deleted this message yesterday, why?",
        "Voice call, later?",
        "null and void",
    ]
    export = whatsapp_of(folder, "".join(f"31/12/23, 21:15 - Ana: {text}\n" for text in texts))
    assert [text for _, text, _ in said(export)] == texts


def test_a_long_run_of_white_space_costs_no_time(folder: Path) -> None:
    text = f"a{' ' * 200_000}b" + "\n" * 200_000 + "c"
    assert said(whatsapp_of(folder, f"31/12/23, 21:15 - Ana: {text}\n")) == [
        ("Ana", text, datetime(2023, 12, 31, 21, 15))
    ]


NUMBERS = st.integers(0, 99).map("{:02}".format)
HEADERS = st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS).map(
    lambda n: f"{n[0]}/{n[1]}/{n[2]}, {n[3]}:{n[4]} - "
)
RESTS = st.sampled_from(
    ["Ana left", "<Media omitted>", "Ana: This message was deleted", "Ana:", "Ana: ", ": ", "", "Ana: ok"]
)
LINES = st.tuples(
    st.booleans(), HEADERS, RESTS | TEXTS.filter(lambda text: "\n" not in text and not re.match(r"\[?\d", text))
)


@given(st.lists(LINES, min_size=1, max_size=20))
@FAST
def test_every_dated_line_of_whatsapp_is_a_message_or_is_listed(
    folder: Path, lines: list[tuple[bool, str, str]]
) -> None:
    content = "\n".join(header + rest if has_date else rest for has_date, header, rest in lines)
    dated = [has_date for has_date, _, _ in lines]
    path = written(folder, "WhatsApp Chat with Ben.txt", content)
    if not any(dated):
        with pytest.raises(DataError, match="no line with a date"):
            whatsapp.read(path)
        return
    before = any(rest.strip() for has_date, _, rest in lines[: dated.index(True)])
    export = whatsapp.read(path)
    assert export.rows == sum(dated) + before
    numbers = [message.line for message in export.messages] + [row.line for row in export.unused if row.rows]
    assert len(set(numbers)) == len(numbers)


def test_text_above_the_first_date_is_listed(folder: Path) -> None:
    export = whatsapp_of(folder, "\nthe end of a message\nthat was cut\n31/12/23, 21:15 - Ana: hi\n")
    assert left_out(export) == [(2, "bad", "belongs to no message: no line with a date stands above it")]


def test_a_byte_that_is_no_utf8_spoils_its_message_alone(folder: Path) -> None:
    export = whatsapp_of(
        folder, b"31/12/23, 21:15 - Ana: caf\xe9\n31/12/23, 21:16 - Ben: tea\n31/12/23, 21:17 - Ana: a\0b\n"
    )
    assert [text for _, text, _ in said(export)] == ["tea"]
    assert left_out(export) == [
        (1, "bad", "holds the byte 0xe9, which is not UTF-8"),
        (3, "bad", "holds a NUL character"),
    ]
    with pytest.raises(DataError, match=r"\.txt:1: .*UTF-16"):
        whatsapp_of(folder, "31/12/23, 21:15 - Ana: hi\n".encode("utf-16"))


def zip_of(path: Path, names: list[str], content: str = "31/12/23, 21:15 - Ana: hi\n") -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, content)
    return path


def test_a_zip_that_is_dangerous_or_no_chat_is_refused_in_a_sentence(folder: Path) -> None:
    climbing = zip_of(folder / "climbing.zip", ["_chat.txt", "../../_chat.txt"])
    assert whatsapp.recognises(climbing, start(climbing))
    with pytest.raises(DataError, match="climbs out"):
        whatsapp.read(climbing)
    two = zip_of(folder / "two.zip", ["WhatsApp Chat with Ben.txt", "WhatsApp Chat with Cleo.txt"])
    with pytest.raises(DataError, match="several chats"):
        whatsapp.read(two)
    for other in (
        zip_of(folder / "other.zip", ["notes.txt"]),
        zip_of(folder / "book.zip", ["_chat.txt"], "Call me Ana.\n"),
    ):
        assert not whatsapp.recognises(other, start(other))
        with pytest.raises(DataError, match="no chat of WhatsApp"):
            whatsapp.read(other)


# --- Telegram


def telegram_chat(messages: list[Any], **more: Any) -> dict[str, Any]:
    return {"name": "Ben", "type": "personal_chat", "id": 2, **more, "messages": messages}


def telegram_message(number: int, sender: str | None, text: Any, time: datetime, **more: Any) -> dict[str, Any]:
    moment = time.replace(tzinfo=UTC)
    ids = {
        "id": number,
        "type": "message",
        "date": f"{time:%Y-%m-%dT%H:%M:%S}",
        "date_unixtime": str(int(moment.timestamp())),
    }
    return {**ids, "from": sender, "from_id": f"user{sum(map(ord, sender or ''))}", "text": text, **more}


def telegram_of(folder: Path, document: Any, indent: int | None = 1) -> Export:
    return telegram.read(written(folder, "result.json", json.dumps(document, indent=indent)))


@given(st.lists(CHATS, min_size=1, max_size=3), st.booleans(), st.sampled_from([None, 1]))
@FAST
def test_telegram_chats_come_back_as_they_were_written(
    folder: Path, chats: list[Said], account: bool, indent: int | None
) -> None:
    documents = []
    for chat in chats if account else chats[:1]:
        pieces = [
            [text[:3], {"type": "bold", "text": text[3:]}] if index % 2 else text
            for index, (_, text, _) in enumerate(chat)
        ]
        messages = [
            telegram_message(index, name, piece, time)
            for index, ((name, _, time), piece) in enumerate(zip(chat, pieces, strict=True))
        ]
        documents.append(telegram_chat(messages, id=len(documents)))
    document = {"about": "", "chats": {"about": "", "list": documents}} if account else documents[0]
    path = written(folder, "result.json", json.dumps(document, indent=indent))
    assert telegram.recognises(path, start(path))
    export = telegram.read(path)
    assert (said(export), export.unused) == ([message for chat in chats[: len(documents)] for message in chat], ())
    assert len({message.chat for message in export.messages}) == len(documents)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS = ["id", "type", "date", "date_unixtime", "from", "from_id", "text", "members", "actor", "forwarded_from", "photo"]
DAMAGED = st.builds(
    lambda key, value: {**telegram_message(1, "Ana", "hi", DECIDING[2]), key: value}, st.sampled_from(KEYS), JSON
)


@given(st.lists(JSON | DAMAGED, max_size=6))
@FAST
def test_every_element_of_a_telegram_chat_is_a_message_or_is_listed(folder: Path, messages: list[Any]) -> None:
    export = telegram_of(folder, telegram_chat([*messages, telegram_message(0, "Ben", "end", DECIDING[2])]))
    assert export.rows == len(messages) + 1
    assert all(message.text.encode() for message in export.messages)


def test_damage_in_a_telegram_chat_is_listed_with_its_reason(folder: Path) -> None:
    good = telegram_message(1, "Ana", "hi", DECIDING[2])
    cases: list[tuple[dict[str, Any], str]] = [
        ({"id": 1}, "has the id 1 of another message"),
        ({"date_unixtime": "99999999999999"}, "no possible time"),
        ({"date_unixtime": "x"}, "no possible time"),
        ({"text": 5}, "has a text that is none"),
        ({"text": [{"type": "bold"}]}, "has a text that is none"),
        ({"from": ["Ana"]}, "has a sender that is no text"),
        ({"text": "\ud83d"}, "half of a surrogate pair"),
        ({"text": "a\0b"}, "NUL"),
    ]
    for change, reason in cases:
        export = telegram_of(folder, telegram_chat([good, {**good, "id": 2, **change}]))
        assert len(export.messages) == 1, change
        assert [(row.kind, reason in row.reason) for row in export.unused] == [("bad", True)], change


def test_answers_that_answer_each_other_do_no_harm(folder: Path) -> None:
    loop = [telegram_message(number, "Ana", "hi", DECIDING[2], reply_to_message_id=3 - number) for number in (1, 2)]
    assert len(telegram_of(folder, telegram_chat(loop)).messages) == 2


def test_older_exports_of_telegram_without_seconds_since_1970_are_read(folder: Path) -> None:
    old = {"id": 1, "type": "message", "date": "2019-05-01T10:00:00", "from": "Ana", "from_id": 77, "text": "hi"}
    export = telegram_of(folder, telegram_chat([old]), indent=None)
    assert said(export) == [("Ana", "hi", datetime(2019, 5, 1, 10))]
    assert (export.owner, export.messages[0].line) == ("Ana", 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"name": "Ben",\n "type": "personal_chat",\n "messages": [\n  {"id": 1,}\n]}',
            r"result\.json:4: is not JSON",
        ),
        ('{"name": "Ben",\n "type": "personal_chat",\n "messages": [\n  {"id": 1}', r"result\.json:4: is not JSON"),
        ('{"name": "Ben" "type": "personal_chat"}', r"result\.json:1: is not JSON"),
        ('{"messages": [1,]}', "stands before the end"),
        ('{"messages": []} 5', "something follows"),
        ('{"messages": [], "messages": []}', "is there twice"),
        ('{"messages": [{"id": 1, "id": 2}]}', "'id' is there twice"),
        ('{"messages": [' + "[" * 100_000, "nested too deeply"),
        ('{"messages": [' + "9" * 5000 + "]}", "is not usable JSON"),
        ('{"messages": 5}', r"result\.json:1: the messages of a chat are no list"),
        ('{"name": "Ben"', r"result\.json:1: is not JSON"),
        ("{}", "holds no chat"),
        ("[]", "holds no chat"),
        ("", r"result\.json:1: is not JSON"),
    ],
    ids=range(14),
)
def test_a_telegram_file_that_cannot_be_read_is_one_sentence_with_its_line(
    folder: Path, content: str, message: str
) -> None:
    path = written(folder, "result.json", content)
    with pytest.raises(DataError, match=message) as raised:
        telegram.read(path)
    assert "\n" not in str(raised.value)


def test_an_empty_chat_is_an_export_without_messages(folder: Path) -> None:
    assert telegram_of(folder, telegram_chat([])).rows == 0


# --- Signal


def frames_of(chat: Said) -> str:
    """Signal's own export of a chat with everybody in it."""
    people = {name: str(index) for index, name in enumerate(dict.fromkeys(name for name, _, _ in chat), start=2)}
    frames: list[dict[str, Any]] = [
        {"version": "1", "backupTimeMs": "0"},
        {"account": {"givenName": "Own", "accountSettings": {}}},
    ]
    frames += [{"recipient": {"id": "1", "self": {}}}]
    frames += [
        {"recipient": {"id": number, "contact": {"nickname": {"given": name}}}} for name, number in people.items()
    ]
    frames += [{"chat": {"id": "7", "recipientId": "1"}}]
    for name, text, time in chat:
        assert time
        sent = str(int(time.replace(tzinfo=UTC).timestamp() * 1000))
        body = {"standardMessage": {"text": {"body": text}}}
        frames.append({"chatItem": {"chatId": "7", "authorId": people[name], "dateSent": sent, "incoming": {}, **body}})
    return "".join(json.dumps(frame) + "\n" for frame in frames)


def data_lines_of(chat: Said) -> str:
    """signal-export's data.json."""
    rest = {"quote": "", "sticker": None, "reactions": [], "attachments": []}
    return "".join(
        json.dumps({"date": time.isoformat(), "sender": name, "body": f"{text}  ", **rest}) + "\n"
        for name, text, time in chat
        if time
    )


def sigtop_of(chat: Said) -> str:
    """sigtop's text."""
    zone = timezone(timedelta(hours=-4))
    blocks = ["Conversation: Choir (group)\n\n"]
    for name, text, time in chat:
        assert time
        sent = time.replace(tzinfo=UTC).astimezone(zone).strftime("%a, %d %b %Y %H:%M:%S %z")
        blocks.append(f"From: {name} (0-1-2)\nType: incoming\nSent: {sent}\nReceived: {sent}\n\n{text}\n\n")
    return "".join(blocks)


def imazing_of(chat: Said) -> str:
    """iMazing's table."""
    header = "Chat Session,Message Date,Delivered Date,Read Date,Edited Date,Service,Type,Sender ID,Sender Name,Status"
    header += ",Replying to,Subject,Text,Attachment,Attachment type"
    return table_of(
        header,
        [
            ["Choir", time, "", "", "", "iMessage", "Incoming", name, name, "", "", "", text, "", ""]
            for name, text, time in chat
        ],
    )


def plain_table_of(chat: Said) -> str:
    """What a script over chat.db writes."""
    return table_of("date,sender,text", [[time, name, text] for name, text, time in chat])


def table_of(header: str, rows: list[list[Any]]) -> str:
    content = io.StringIO()
    csv.writer(content).writerows([header.split(","), *rows])
    return content.getvalue()


def imessage_text_of(chat: Said) -> str:
    """imessage-exporter's text."""
    return "".join(
        f"{time:%b %d, %Y} {f'{time:%I:%M:%S %p}'.lstrip('0'):>11}\n{name}\n{text}\n\n" for name, text, time in chat
    )


NO_FIELDS = TEXTS.filter(lambda text: not re.search(r"^(From: |Type: |> From: )", text, re.MULTILINE))
SIMPLE = st.text(
    st.characters(categories=["L", "So", "Po"], exclude_characters="/:.") | st.sampled_from(" \n!?"),
    min_size=1,
    max_size=40,
)
SIMPLE = SIMPLE.map(lambda text: re.sub(r"\n +", "\n", text).strip()).filter(bool)
SHAPES: list[tuple[str, str, Callable[[Said], str]]] = [
    ("signal", "main.jsonl", frames_of),
    ("signal", "data.json", data_lines_of),
    ("signal", "Choir.txt", sigtop_of),
    ("imessage", "Choir.csv", imazing_of),
    ("imessage", "plain.csv", plain_table_of),
    ("imessage", "Choir2.txt", imessage_text_of),
]


@pytest.mark.parametrize(("program", "name", "write"), SHAPES, ids=[name for _, name, _ in SHAPES])
@given(data=st.data())
@FAST
def test_chats_come_back_as_they_were_written(
    folder: Path, program: str, name: str, write: Callable[[Said], str], data: st.DataObject
) -> None:
    chat: Said = data.draw(CHATS)
    if name.endswith(".txt"):
        chat = [(who, data.draw(NO_FIELDS if program == "signal" else SIMPLE), time) for who, _, time in chat]
    path = written(folder, name, write(chat))
    module = READERS[program]
    assert module.recognises(path, start(path))
    export = module.read(path)
    assert (said(export), export.unused) == (chat, ())
    assert {who for who, _, _ in chat} <= set(export.names)


def test_a_broken_line_of_signal_is_one_bad_row(folder: Path) -> None:
    good = frames_of([("Ana", "hi", DECIDING[2])])
    for broken in ['{"chatItem": {', "[]", "5", '{"chatItem": 5}', '{"chatItem": {"chatId": "7"}}', '{"a": 1, "a": 2}']:
        export = signal.read(written(folder, "main.jsonl", f"{good}{broken}\n\n{good.splitlines()[-1]}\n"))
        assert len(export.messages) == 2, broken
        assert kinds(export) == {len(good.splitlines()) + 1: "bad"}, broken


@given(st.lists(JSON, max_size=5), st.sampled_from(["recipient", "chat", "chatItem", "account", "other"]))
@FAST
def test_every_message_of_signal_is_read_or_listed(folder: Path, values: list[Any], key: str) -> None:
    good = frames_of([("Ana", "hi", DECIDING[2])])
    export = signal.read(
        written(folder, "main.jsonl", good + "".join(json.dumps({key: value}) + "\n" for value in values))
    )
    assert export.rows == 1 + len(values) if key == "chatItem" else export.rows >= 1
    lines = "".join(json.dumps(value) + "\n" for value in values)
    path = written(folder, "data.json", data_lines_of([("Ana", "hi", DECIDING[2])]) + lines)
    assert signal.read(path).rows == 1 + len(values)


# --- iMessage


def test_counts_of_any_unit_and_dates_of_any_order_are_times(folder: Path) -> None:
    moment = datetime(2024, 2, 10, 9, 0)
    seconds = int(moment.replace(tzinfo=UTC).timestamp())
    apple = seconds - 978307200
    shown = [
        seconds,
        seconds * 1000,
        apple,
        apple * 10**9,
        "2024-02-10T10:00:00+01:00",
        "2024-02-10 09:00:00",
        "02/10/2024 9:00 AM",
    ]
    rows = [[date, "1", "hi"] for date in shown] + [["02/28/2024 9:00 AM", "1", "hi"]]
    export = imessage.read(written(folder, "t.csv", table_of("timestamp,is_from_me,text", rows)))
    assert [message.time for message in export.messages[:-1]] == [moment] * len(shown)
    assert export.unused == ()


def test_the_owner_has_the_name_that_imazing_gives(folder: Path) -> None:
    content = (
        "Chat Session,Message Date,Type,Sender ID,Sender Name,Text\nBen,2024-02-10 09:00:00,Outgoing,,Ana Lind,hi\n"
    )
    export = imessage.read(written(folder, "named.csv", content + "Ben,2024-02-10 09:01:00,Outgoing,,,you\n"))
    assert {message.sender for message in export.messages} == {"Ana Lind"}
    assert (export.owner, export.names) == ("Ana Lind", ("Ana Lind",))


def test_without_a_chat_column_the_other_ones_number_is_the_chat(folder: Path) -> None:
    rows = [
        ["2024-02-10", "+12025550143", "1", "a"],
        ["2024-02-10", "+12025550143", "0", "b"],
        ["2024-02-10", "+12025550199", "1", "c"],
    ]
    export = imessage.read(written(folder, "all.csv", table_of("date,handle,is_from_me,text", rows)))
    assert [(m.chat, m.sender) for m in export.messages] == [
        ("+12025550143", "Me"),
        ("+12025550143", "+12025550143"),
        ("+12025550199", "Me"),
    ]


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=5), max_size=6))
@FAST
def test_every_row_of_a_table_is_a_message_or_is_listed(folder: Path, rows: list[list[str]]) -> None:
    path = written(folder, "t.csv", table_of("date,sender,is_from_me,text", rows))
    assert imessage.read(path).rows == sum(bool(row) for row in rows)


# --- damage


CUTS = st.tuples(
    st.sampled_from(["cut", "drop", "flip", "insert", "repeat"]),
    st.floats(0, 1),
    st.floats(0, 0.2),
    st.binary(min_size=1, max_size=4),
)


def damaged(content: bytes, cuts: list[tuple[str, float, float, bytes]]) -> bytes:
    """The bytes with something done to them."""
    for kind, where, share, more in cuts:
        begin = int(where * len(content))
        end = begin + 1 + int(share * len(content))
        new = {
            "cut": b"",
            "drop": content[end:],
            "flip": more[:1] + content[begin + 1 :],
            "insert": more + content[begin:],
        }
        content = content[:begin] + (new.get(kind) if kind != "repeat" else content[begin:end] + content[begin:])  # type: ignore[operator]
    return content


def read_or_sentence(module: ModuleType, path: Path) -> Export:
    """The export, empty where reading gives a sentence about the file instead."""
    try:
        found: Export = module.read(path)
    except DataError as error:
        sentence = str(error)
    else:
        return found
    assert sentence.startswith(str(path))
    assert "\n" not in sentence
    return Export("", str(path), ())


@pytest.mark.parametrize("path", MINE, ids=lambda path: path.relative_to(FOLDER).as_posix())
@given(cuts=st.lists(CUTS, min_size=1, max_size=4))
@settings(deadline=None, max_examples=50)
def test_damage_anywhere_is_a_sentence_or_a_listed_row(
    folder: Path, path: Path, cuts: list[tuple[str, float, float, bytes]]
) -> None:
    module = reader_of(path)
    content = damaged(path.read_bytes(), cuts)
    changed = written(folder, path.name, content)
    module.recognises(changed, content[: 1 << 16])
    export = read_or_sentence(module, changed)
    for message in export.messages:
        assert message.text.strip()
        assert "\0" not in message.sender + message.text + message.chat
        (message.sender + message.text + message.chat).encode()
    assert all(message.time and message.time.tzinfo is None for message in export.messages)
    assert all("\n" not in row.reason and row.reason.isprintable() for row in export.unused)
    assert all(name.strip() == name and name for name in export.names)


def test_a_file_that_cannot_be_opened_is_a_sentence(folder: Path) -> None:
    for name, module in (
        ("no.txt", whatsapp),
        ("no.json", telegram),
        ("no.jsonl", signal),
        ("no.csv", imessage),
        ("no.zip", whatsapp),
    ):
        with pytest.raises(DataError, match=re.escape(str(folder / name))):
            module.read(folder / name)
