"""What is hidden in chats: everybody in the export in every form, and numbers and keys; and ordinary text stays as it is."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.data.exports._people import Person, all_names
from chatwright.data.redact import Redactor
from chatwright.data.redact.letters import WORD, Folding
from chatwright.errors import ConfigError


def hidden(text: str, *names: str, me: str = "", hide: tuple[str, ...] = ()) -> str:
    return Redactor(names, me, hide).text(text)


# ---- names


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("Ana Lind", "ana, Ana, ANA and Lind", "[name 1], [name 1], [name 1] and [name 1]"),
        ("Ana Lind", "Ana Lind, ana  lind, ana_lind, AnaLind, Lind Ana", ", ".join(["[name 1]"] * 5)),
        ("Ana Lind", "Ana's, ana’s, Anas Buch", "[name 1]'s, [name 1]’s, [name 1]s Buch"),
        ("Ana Lind", "_Ana_ *ana* (Ana) 'ana' @ana", "_[name 1]_ *[name 1]* ([name 1]) '[name 1]' [name 1]"),
        ("Ana Lind", "a banana, an anagram, Anna, analog", "a banana, an anagram, Anna, analog"),
        ("Ann Lind", "the Annex is cann", "the Annex is cann"),
        ("Ana", "cafe\u0301 ana", "café [name 1]"),
        ("José Núñez", "jose NUNEZ, José, Jose\u0301, josé", "[name 1], [name 1], [name 1], [name 1]"),
        ("Jürgen Böhme", "Juergen, jurgen, JÜRGEN, Boehme, bohme", ", ".join(["[name 1]"] * 5)),
        ("Łukasz Ødegård", "lukasz odegard, Ødegaard", "[name 1], [name 1]"),
        ("Anna-Lena Meyer", "anna lena, Anna-Lena, Lena, annalena", ", ".join(["[name 1]"] * 4)),
        ("Sean O'Neil", "O’Neil and oneil and Sean", "[name 1] and [name 1] and [name 1]"),
        ("Dr. Kim van der Berg (Work)", "Dr. Kim van der Berg, the work of Kim", "Dr. [name 1], the work of [name 1]"),
        ("Ana Lind (@ana_l.99)", "@ana_l.99 ana_l.99 ANA_L.99", "[name 1] [name 1] [name 1]"),
        ("@zed_runner", "@zed_runner, zed_runner; a runner", "[name 1], [name 1]; a runner"),
        ("+49 171 1234567", "@491711234567 is it you", "[name 1] is it you"),
        ("~ Zoë", "zoe ZOË", "[name 1] [name 1]"),
        ("\u202aAna\u202c \u2068Lind\u2069", "@\u2068Ana Lind\u2069 hi", "[name 1] hi"),
        ("Ａｎａ", "ana ａｎａ", "[name 1] [name 1]"),
        ("Ana", "A\u200bna an\u00ada", "[name 1] [name 1]"),
        ("AnaLind", "ana, Lind and Ana Lind or analind", "[name 1], [name 1] and [name 1] or [name 1]"),
        ("Jo", "Jo and jo and Joe", "[name 1] and jo and Joe"),
        ("Ed Miller", "Hi Ed, Ed's ED ed Eds Edit Ed2 @ed", "Hi [name 1], [name 1]'s ED ed Eds Edit Ed2 [name 1]"),
        ("Wei Li", "Li Wei, Li and li", "[name 1], [name 1] and li"),
        ("Al Miller", "Hi Al! et al, AL, Al Miller, al-miller", "Hi [name 1]! et al, AL, [name 1], [name 1]"),
        ("Dr. Al Meyer", "Dr. Al, Dr. Kim", "Dr. [name 1], Dr. Kim"),
        ("Al", "Al and al", "[name 1] and al"),
        ("Jo Ng Smith", "Jo has no Ng", "[name 1] has no Ng"),
        ("Anna Meyer", "?q=Anna%20Meyer&b=1", "?q=[name 1]&b=1"),
        ("Anna Meyer", "x.example/Anna%2DMeyer%2F100%25", "x.example/[name 1]%2F100%25"),
        ("Jürgen Meyer", "J%C3%BCrgen, J%FCrgen, q=meyer%20J", "[name 1], [name 1], q=[name 1]%20J"),
        ("Ada Lind", "100%Ada, 5%20ada%20", "100%[name 1], 5%20[name 1]%20"),
        ("Anna Meyer", "x.example/anna.meyer1987 annameyer87", "x.example/[name 1]1987 [name 1]87"),
        (
            "Anna Meyer",
            "Anna1 2Anna @anna_meyer87 meyer87 7anna7",
            "[name 1]1 2[name 1] [name 1]87 [name 1]87 7[name 1]7",
        ),
        ("Anna Meyer", "hannah1 annas1 1annabel", "hannah1 [name 1]s1 1annabel"),
        ("Ana (@ana87)", "ana87, Ana 87, ana", "[name 1], [name 1] 87, [name 1]"),
        ("李小明", "你好李小明，小明在吗", "你好[name 1]，[name 1]在吗"),
        ("김민수", "민수야, 김민수가, 국민수업", "[name 1]야, [name 1]가, 국민수업"),
        ("Мария Иванова", "мария, ИВАНОВА", "[name 1], [name 1]"),
        ("राहुल शर्मा", "राहुल और रामायण", "[name 1] और रामायण"),
        ("Mom", "my mom, Mom", "my mom, [name 1]"),
    ],
)
def test_a_person_is_hidden_in_every_form_of_their_name_and_nothing_else_is(
    name: str, text: str, expected: str
) -> None:
    assert hidden(text, name) == expected


def test_a_name_that_is_an_ordinary_word_is_hidden_only_where_it_has_its_capital_or_an_at() -> None:
    text = "will you ask Will? may I, May? a rose for Rose, @will"
    assert hidden(text, "Will Smith", "May Chen", "Rose Lind") == (
        "will you ask [name 1]? may I, [name 2]? a rose for [name 3], [name 1]"
    )
    assert hidden("will smith and WILL", "Will Smith") == "[name 1] and [name 1]"


def test_one_person_is_one_number_and_me_is_me() -> None:
    redactor = Redactor(["Ben Okafor", "Ana Lind", "ana lind"], me="Ben Okafor")
    assert redactor.text("Kim, ana and Ben") == "Kim, [name 1] and [me]"
    assert redactor.name("Ana Lind") == redactor.name("ana lind") == "[name 1]"
    assert redactor.name("Ben Okafor") == "[me]"


def test_two_people_of_one_name_are_two_where_their_handles_differ_and_a_handle_belongs_to_its_name() -> None:
    redactor = Redactor(["Ana (@ana1)", "Ana (@ana2)", "Zoe Lind (@zed)", "Zoe Lind", "@zed", "zed"])
    assert redactor.name("Ana (@ana1)") != redactor.name("Ana (@ana2)")
    assert len({redactor.name(name) for name in ("Zoe Lind (@zed)", "Zoe Lind", "@zed", "zed")}) == 1
    assert redactor.text("@ana2") == redactor.name("Ana (@ana2)")
    other = Redactor(["Zoe Lind (@zed)", "zed", "Kim"])
    assert other.name("zed") == other.name("Zoe Lind (@zed)") != other.name("Kim")


def test_the_handle_and_the_names_that_an_exporter_gives_of_one_person_are_one_number() -> None:
    names = all_names([Person("7", "Nell", "n.fjord", ("Nell Abara",)), Person("8", "Tam", "tam")])
    redactor = Redactor(["Nell", *names])
    assert redactor.text("Nell Abara, @n.fjord, nell, @tam") == "[name 1], [name 1], [name 1], [name 2]"


def test_a_name_of_two_letters_and_a_quoted_one_are_searched_for_only_as_far_as_anybody_could_tell() -> None:
    redactor = Redactor(["Ed Miller"])
    redactor.text("Ed, q=ed%20miller, q.x%40example.com, 4111\n1111\n1111\n1111")
    secrets = {"Ed Miller", "ed miller", "q.x@example.com", "4111 1111 1111 1111"}
    assert redactor.report.secrets == secrets


def test_further_names_and_words_are_hidden_as_they_are_written() -> None:
    text = "Project Falcon, project  falcon, a falcon, 12 Mill Lane, \N{CHERRY BLOSSOM}!"
    redactor = Redactor([], hide=["Project Falcon", "12 Mill Lane", "\N{CHERRY BLOSSOM}", "Nobody Here"])
    assert redactor.text(text) == "[name 1], [name 1], a falcon, [name 2], [name 3]!"
    assert "1 of 4 lines of --hide stand nowhere in these chats" in redactor.report.lines()


WORDS = st.sampled_from(
    ["the", "went", "to", "a", "banana", "annex", "lindy", "lin", "12", "maybe,", "at.", "home\n", "("]
)
MENTIONS = st.sampled_from(["ana", "Ana", "ANA", "Lind", "lind's", "Ána", "Ana Lind", "@ana", "ANALIND", "ana_lind"])


@given(st.lists(WORDS | MENTIONS, max_size=12).map(" ".join))
def test_no_form_of_a_name_is_left_in_a_text_and_every_other_word_is(text: str) -> None:
    after = hidden(text, "Ana Lind")
    folded = WORD.findall(Folding().fold(after).text)
    assert not {"ana", "lind", "analind"} & set(folded)
    kept = [word for word in re.findall(r"[\w.,]+", text) if word in ("banana", "annex", "lindy", "lin", "maybe,")]
    assert [word for word in re.findall(r"[\w.,]+", after) if word in kept] == kept


@given(st.text(max_size=80), st.lists(st.text(max_size=12), max_size=4))
def test_whatever_the_names_and_the_text_are_hiding_ends_and_hiding_nobody_changes_nothing(
    text: str, names: list[str]
) -> None:
    redactor = Redactor(names, hide=names[:1])
    once = redactor.text(text)
    assert sum(redactor.report.counts.values()) <= once.count("[")
    assert isinstance(redactor.report.lines(), list)


# ---- numbers, addresses, keys


CARD, GERMAN, BRITISH = "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432"
RANDOM = "Zm9vYmFyMTIzNDU2Nzg5MGFiY2RlZg"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to ana.b+x@mail.example.org.", "write to [email]."),
        ("mailto:Jörg@bücher.example, a@b", "mailto:[email], a@b"),
        ("+1 415 555 0132, +44 7700 900123", "[phone], [phone]"),
        ("0049 30 23125 000 or +49 (0)30 23125-000", "[phone] or [phone]"),
        ("(415) 555-0132 / 415-555-0132 / 4155550132", "[phone] / [phone] / [phone]"),
        ("0171 1234567 0172 7654321", "[phone] [phone]"),
        ("020 7946 0018, 01 99 00 12 34, 01.99.00.12.34", "[phone], [phone], [phone]"),
        ("call 555-0132", "call [phone]"),
        ("2025-11-20 0171 1234567", "2025-11-20 [phone]"),
        ("+4915112345678+4915187654321", "[phone][phone]"),
        ("٠١٧١ ١٢٣٤٥٦٧", "[phone]"),
        (f"card {CARD}, {CARD.replace(' ', '')}", "card [card], [card]"),
        ("4111 1111 1111 1112", "4111 1111 1111 1112"),
        (f"{GERMAN} bitte, {BRITISH.lower()}", "[iban] bitte, [iban]"),
        ("sk-proj-abcdefghijklmnop1234", "[key]"),
        ("AWS AKIAIOSFODNN7EXAMPLE!", "AWS [key]!"),
        ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "[key]"),
        ("xoxb-123456789012-abcdefGHIJ", "[key]"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcDEF123", "[key]"),
        (f"take {RANDOM}", "take [key]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----\nok", "[key]\nok"),
        ("https://u:pw@example.com/x?token=abcd1234&a=b", "https://[password]/x?token=[key]&a=b"),
        ("my password is hunter2, PIN: 4711", "my password is [password], PIN: [password]"),
        ("Passwort: sonnenblume", "Passwort: [password]"),
        ("your code is 482913", "your code is [password]"),
        ("q.smith@example.com_, _a@b.de_, ~a@b.de~ *a@b.de*", "[email]_, [email]_, ~[email]~ *[email]*"),
        ("q.smith@example.com-, q.smith%40example.com", "[email]-, [email]"),
        ("q.smith\uff20example.com or q.smith\u200b@example.com", "[email] or [email]"),
        ("q.sm\u00adith@exam\u2060ple.com", "[email]"),
        (f"{'a' * 70}%26mail%3Dq.smith%40example.com", f"{'a' * 23}[email]"),
        ("4111 1111\u200b1111 1111, 4111\u202f1111\u202f1111\u202f1111", "[card], [card]"),
        ("4111.1111.1111.1111, 4111\n1111\n1111\n1111", "[card], [card]"),
        ("4111 1111 1111 1111.50, 4111 1111 1111 1111 12/27", "[card].50, [card] 12/27"),
        ("5000 4111 1111 1111 1111, Nr.4111-1111-1111-1111", "5000 [card], Nr.[card]"),
        ("4111 1111 1111 1111\u200b5", "[card]\u200b5"),
        ("3782 822463 10005 and 378282246310005", "[card] and [card]"),
        ("DE89\u200b3704 0044 0532 0130 00, DE89\n3704\n0044\n0532\n0130\n00", "[iban], [iban]"),
        ("DE89.3704.0044.0532.0130.00. Bitte", "[iban]. Bitte"),
        ("DE89\u202f3704\u202f0044\u202f0532\u202f0130\u202f00", "[iban]"),
        ("+49 151\n23456789 bis 5", "[phone] bis 5"),
        ("+49\n151\n23456789", "[phone]"),
        ("0151\u200b23456789, 0151\n23456789", "[phone], [phone]"),
        ("+49\u2009151\u200923456789", "[phone]"),
        ("0171 1234567\n12 Uhr\n0171 1234567\n0172 7654321", "[phone]\n12 Uhr\n[phone]\n[phone]"),
        ("0\ufe0f\u20e31\ufe0f\u20e37\ufe0f\u20e31\ufe0f\u20e31234567", "[phone]"),
        ("203.0.113.7 and 2001:db8::1:0:0:7", "[ip] and [ip]"),
    ],
)
def test_numbers_addresses_and_keys_are_hidden(text: str, expected: str) -> None:
    assert hidden(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "revision 527 2006-07-23, 2024-01-15, 15.01.2024 10:30, 01/15/2024, 20240115, 20240115-103000, 2019-2023, 2023/24",
        "10 000 000 people, 1.250.000, $1,234,567.89, 1 250 000,50, 1234567 EUR, 600 000 000",
        "52.520008, 13.404954 and 3.14159265358979",
        "21-19, 15-21, 21-18 and 7 8 9 10 11 12 13 14, 6 1 2345678",
        "ISBN 978-3-16-148410-0, room 2.104.33, version 10.15.7, at 14:30-15:45",
        "1700000000, 284719305, 02111-1301, 1995 1996 1997 1998",
        "password is wrong, the secret is out, a token of love, PIN it, token: none",
        "SomeProductName2024EditionForAll, Some_Long_Title_Of_2024_Things, std::vector, a::b",
        "hahahahahahahahahahahahahahahaha, ----------------------------------------",
        "anna @ home, 5@6, @everyone",
        "10\u2009000\u2009000 and 600\u202f000\u202f000, 3000\n4000\n5000, 01\n02\n03\n04\n05, 2019 2020 2021 2022 2023",
        "0151\n2024-01-15, 4111.50\n1111.20, 4111 1111 1111 1112.50, room 012\n3 beds, \u2764\ufe0f 12\u00a0kg",
        "100%25, 5%20, Rabatt 50%",
    ],
)
def test_dates_amounts_and_ordinary_words_stay_as_they_are(text: str) -> None:
    assert hidden(text) == text


def test_real_text_of_instructions_loses_next_to_nothing(test_data: Path) -> None:
    rows = json.loads((test_data / "instructions.json").read_text(encoding="utf-8"))
    texts = [str(value) for row in rows for value in row.values()]
    redactor = Redactor([])
    for text in texts:
        redactor.text(text)
    assert len(texts) > 3000
    assert sum(redactor.report.counts.values()) <= len(texts) / 500


@pytest.mark.parametrize(
    "text",
    ["1 " * 30_000, "a@" * 30_000, "://" * 30_000, "?token" * 20_000, "DE12 " * 20_000, "-----BEGIN PRIVATE KEY" * 3000,
     "." * 60_000 + "@", "a." * 30_000, "(+1" * 20_000, "pin:" * 20_000, "%41" * 20_000,
     "a" * 60_000 + "@", "4111 " * 12_000, "0\\n" * 30_000, "+1\\n" * 20_000, "1\u200b" * 30_000, "a1" * 30_000,
     ":" * 60_000, "eyJ" * 20_000, "ana " * 30_000],
)  # fmt: skip
def test_no_text_takes_long(text: str) -> None:
    start = time.process_time()
    hidden(text, "Ana Lind")
    assert time.process_time() - start < 5


def test_a_hundred_thousand_messages_and_thousands_of_contacts_take_seconds() -> None:
    names = [f"First{number}x Last{number}x" for number in range(5_000)]
    redactor = Redactor(names, "Ben Okafor")
    said = "see you at 8 in the park, first7x said that lunch is on 2024-03-04, ok?"
    start = time.process_time()
    for _ in range(10_000):
        redactor.text(said)
    assert time.process_time() - start < 5  # a tenth of them: about 0.5 s where nothing else runs
    assert redactor.report.counts == {"name": 10_000}


# ---- the report


def redacted() -> Redactor:
    redactor = Redactor(["Ana Lind", "Will Smith"], "Ben Okafor")
    redactor.text("Ben told ANA and ana@lind.example: Will has 0171 1234567")
    return redactor


def test_the_report_says_first_what_was_not_looked_for_and_counts_by_kind_without_a_name() -> None:
    report = redacted().report
    assert report.lines()[0].startswith(
        "names inside free text of people who are not in the export were not looked for"
    )
    assert report.counts == {"name": 3, "email": 1, "phone": 1}
    assert report.lines()[1] == "hidden: 3 mentions of 3 people, 1 e-mail address, 1 phone number"
    printed = "\n".join(report.lines()) + json.dumps(report.as_dict()) + repr(report) + str(report)
    for original in ("Ana", "lind", "Ben", "Will", "1234567"):
        assert original.casefold() not in printed.casefold()


def test_the_originals_are_there_for_the_owner_and_for_the_search_but_ordinary_words_are_not_searched_for() -> None:
    report = redacted().report
    assert "[name 1] is Ana Lind: ANA (1)" in report.legend()
    assert report.secrets == {"Ana Lind", "Will Smith", "Ben Okafor", "Ben", "ANA", "ana@lind.example", "0171 1234567"}


def test_the_file_with_the_originals_can_be_read_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "redaction.json"
    for _ in range(2):
        redacted().report.write(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["redaction.json"]
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written["hidden"][1] == {"placeholder": "[name 1]", "name": "Ana Lind", "forms": {"ANA": 1}}
    assert "0171 1234567" in written["secrets"]


# ---- names in free text


def test_a_model_that_cannot_be_loaded_is_refused_with_what_would_be_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from chatwright.data.redact.ner import names_in

    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(ConfigError, match=r"--redact\.ner is en_core, but spaCy.* is not installed; pip install"):
        names_in(["hi"], "en_core")


@pytest.fixture
def pipeline(tmp_path: Path) -> Any:
    """Puts a pipeline with the given parts into a folder."""
    spacy = pytest.importorskip("spacy", reason="spaCy is not installed; pip install chatwright[ner] to run this")

    def put(*parts: str) -> str:
        model = spacy.blank("en")
        for part in parts:
            added = model.add_pipe(part)
            if part == "entity_ruler":
                added.add_patterns(
                    [{"label": "PERSON", "pattern": "Zed Morrow"}, {"label": "PERSON", "pattern": "Will"}]
                )
                added.add_patterns([{"label": "GPE", "pattern": "Paris"}])
        model.to_disk(tmp_path / "pipeline")
        return str(tmp_path / "pipeline")

    return put


def test_a_model_finds_people_in_free_text_and_they_are_hidden_wherever_they_stand(pipeline: Any) -> None:
    from chatwright.data import chats
    from chatwright.data.exports.export import ChatMessage, Export
    from chatwright.data.options import ChatOptions

    said = (
        ChatMessage(1, "chat", None, "Ana Lind", "Zed Morrow is in Paris with Will, will he call?"),
        ChatMessage(2, "chat", None, "Ben Okafor", "zed morrow, ana? no"),
    )
    export = Export("whatsapp", "chat.txt", said)
    rows, report = chats.rows(export, ChatOptions(me="Ben", ner=pipeline("entity_ruler")))
    contents = [one["content"] for row in rows for one in row.value["messages"]]  # type: ignore[union-attr]
    assert contents == ["[name 1] is in Paris with [name 2], will he call?", "[name 1], [name 3]? no"]
    assert "nicknames" in report.lines()[0]
    assert "--redact.ner" not in report.lines()[0]


def test_a_folder_that_holds_no_pipeline_or_one_that_finds_no_names_is_refused(pipeline: Any, tmp_path: Path) -> None:
    from chatwright.data.redact.ner import names_in

    with pytest.raises(ConfigError, match="finds no names"):
        names_in(["hi"], pipeline("sentencizer"))
    with pytest.raises(ConfigError, match="no spaCy pipeline that can be loaded"):
        names_in(["hi"], str(tmp_path / "nothing"))
