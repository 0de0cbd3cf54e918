"""Formats: each is recognised by itself and gives its records; what is damaged or unclear is told in one sentence."""

import json
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright import registry
from chatwright.data import files, source
from chatwright.data.formats import fields, oasst, turns
from chatwright.data.options import ReadOptions
from chatwright.data.recognise import Assembling, Reading, recognise
from chatwright.data.rows import BadRow, Row
from chatwright.errors import ConfigError, DataError, LeftOut
from chatwright.text.records import (
    Conversation,
    Document,
    Message,
    Preference,
    Problem,
    Rated,
    Record,
    conversation,
    texts,
)

SAMPLES = Path(__file__).parent / "samples" / "formats"
FORMATS = registry.names("data.formats")
KINDS = ("documents", "conversations", "preferences", "rated", "problems")
ANSWER: dict[str, Any] = {}


def pair(*turns: str, worse: str, system: str = "") -> Preference:
    """The conversation with its last answer, and with a worse one."""
    return Preference(conversation(*turns, system=system), conversation(*turns[:-1], worse, system=system))


def problem(*turns: str, system: str = "") -> Problem:
    return Problem(conversation(*turns, system=system), "", ANSWER)


def choice(question: str, letter: str, *options: str) -> Problem:
    """A multiple-choice problem as every shape of row gives it."""
    lettered = dict(zip("ABC", options, strict=False))
    prompt = "\n".join([question, *(f"{name}. {text}" for name, text in lettered.items())])
    return Problem(conversation(prompt), "choice", {"letter": letter, "options": lettered})


def call(name: str, arguments: object) -> dict[str, object]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def unlearned(text: str) -> Message:
    return Message("assistant", text, learn=False)


LEVAIN = conversation("What is a levain?", "Flour and water that ferment.")
KEPT = conversation("How is sourdough kept?", "In a jar, in the cold.", "For how long?", "A week; then it is fed.")
RISE = conversation("Why does dough rise?", "Yeast makes gas in it.", "Which gas?", "Carbon dioxide.")
RYE = conversation("¿Qué es el centeno?", "Un cereal.")
OVEN = pair("How hot is an oven for bread?", "About 230 degrees Celsius.", worse="I like bread.")
FLOUR = pair("Name a flour.", "Spelt flour.", worse="Water.")
CRUST = pair("The crust is", "brown and crisp.", worse="purple.")
KEPT_DRY = Rated(conversation("Where is flour kept?", "Somewhere dry."), True)
KEPT_WRONG = Rated(conversation("Where is butter kept?", "On the stove."), False)

YEAST = choice("What makes dough rise?", "B", "salt", "yeast", "oil")
COLD = choice("Which grain grows where it is cold?", "B", "rice", "rye")

EXPECTED: dict[str, list[Record]] = {
    "messages.jsonl": [
        Conversation(
            (
                Message("system", "You sell bread."),
                Message("user", "Do you bake rye bread?"),
                unlearned("We do."),
                Message("user", "When?"),
                Message("assistant", "On Fridays."),
            )
        ),
        Conversation((Message("user", "Is it\nfresh?"), Message("assistant", "From this morning.", learn=True))),
        Conversation(
            (
                Message("user", "How many rolls are left?", name="Orla"),
                Message("assistant", "", tool_calls=({"id": "call_1", **call("count", '{"what": "rolls"}')},)),
                Message("tool", "12"),
                Message("assistant", "Twelve."),
            )
        ),
    ],
    "prompt_completion.jsonl": [
        conversation("What is rye?", "A grain that grows where it is cold."),
        Conversation(
            (
                Message("user", "What is yeast?"),
                unlearned("A fungus."),
                Message("user", "What does it do?"),
                Message("assistant", "It makes dough rise."),
            )
        ),
    ],
    "alpaca.json": [
        conversation("Name a grain.", "Rye."),
        conversation("Name another grain.\n\nNot rye.", "Barley."),
        conversation(
            *("Name a grain.", "Rye.", "And another?", "Barley.", "Which of the two makes malt?", "Barley."),
            system="Answer in one word.",
        ),
    ],
    "dolly.jsonl": [
        conversation("When does the shop open?\n\nThe shop is open from seven to six.", "At seven."),
        conversation("Give a name to a bakery by the sea.", "The Salt Loaf"),
    ],
    "sharegpt.jsonl": [
        conversation("Do you have cake?", "Apple and plum."),
        Conversation(
            (Message("system", "You sell cake."), Message("user", "Plum, please."), unlearned("Here you are."))
        ),
        Conversation(
            (
                Message("system", "You may count."),
                Message("user", "How many plums are left?"),
                Message("assistant", "", tool_calls=(call("count", {"what": "plums"}),)),
                Message("tool", "40"),
                Message("assistant", "Forty."),
            )
        ),
    ],
    "ultrachat.jsonl": [KEPT, LEVAIN],
    "ultrachat-original.jsonl": [KEPT, LEVAIN],
    "oasst.jsonl": [RISE, RYE],
    "oasst-trees.jsonl": [RISE, RYE],
    "guanaco.jsonl": [
        conversation("Is rye healthy?", "It has a lot of fibre.", "How much?", "About a seventh of its weight."),
        conversation("What is spelt?", "An old kind of wheat."),
    ],
    "hh_rlhf.jsonl": [
        pair("My loaf is flat.", "Did it rise?", "No.", "Then the yeast may be old.", worse="Bad luck."),
        pair("Is raw dough safe?", "Better not eat it:\n\n1. flour is raw\n\n2. eggs are too", worse="Yes."),
    ],
    "ultrafeedback.jsonl": [OVEN, FLOUR],
    "ultrafeedback-binarized.jsonl": [OVEN, FLOUR],
    "preference.jsonl": [
        CRUST,
        pair("What is malt?", "Sprouted grain, dried.", worse="A colour.", system="Be brief."),
    ],
    "preference-implicit.jsonl": [CRUST, pair("What is malt?", "Sprouted grain, dried.", worse="A colour.")],
    "preference-instructions.jsonl": [
        pair("Name a grain.\n\nNot rye.", "Barley.", worse="Rye."),
        pair("Name a tool of bakers.", "A peel.", worse="A boat."),
    ],
    "preference-question.jsonl": [
        pair("Is my bread too dark?", "A little; ten minutes less will do.", worse="It is coal.", system="Be kind."),
        pair("Why is it dark?", "The oven was too hot.", worse="No idea."),
    ],
    "sharegpt_preference.jsonl": [
        pair("Do you sell tea?", "Five kinds.", "Which is the mildest?", "The white one.", worse="Coffee."),
        pair("Is there a seat?", "By the window.", worse="Stand.", system="You are a waiter."),
    ],
    "kto.jsonl": [KEPT_DRY, KEPT_WRONG],
    "kto-tags.jsonl": [KEPT_DRY, KEPT_WRONG, Rated(conversation("Say where milk is kept.", "In the cold."), True)],
    "prompt_only.jsonl": [
        problem("How many loaves are twelve dozen?"),
        problem("How many rolls are two dozen?", system="Count."),
    ],
    "gsm8k.jsonl": [
        Problem(conversation(asked), "final_number", {"value": value})
        for asked, value in (
            ("A loaf takes 3 hours. How many hours do 4 loaves take one after the other?", 12),
            ("A bakery sells 1,300 rolls a week at half a dollar. How much is that?", 650),
            ("How much flour is left of 2 kg after three loaves of 600 g, in kg?", 0.2),
        )
    ],
    "multiple_choice.jsonl": [YEAST, COLD],
    "multiple_choice-mmlu.jsonl": [YEAST, COLD],
    "multiple_choice-columns.csv": [YEAST, COLD],
    "graded.jsonl": [
        Problem(conversation("Which grain makes malt?"), "contains", {"accepted": ["barley"], "others": ["rice"]}),
        Problem(conversation("How many rolls are two dozen?", system="Count."), "final_number", {"value": 24}),
    ],
    "text.jsonl": [
        Document("Rye grows where it is cold."),
        Document("Spelt is an old kind of wheat.\nIt has a husk."),
    ],
}


def format_of(name: str) -> str:
    """`kto-tags.jsonl` holds rows of the format kto."""
    return name.partition(".")[0].partition("-")[0]


def sample(name: str) -> list[dict[str, Any]]:
    rows = list(files.read(SAMPLES / name))
    return [row.value for row in rows if isinstance(row, Row)]


def parsed(reading: Reading, row: dict[str, Any]) -> list[Record]:
    made = reading.module.parse(row, reading.columns)
    return made if isinstance(made, list) else [made]


def records(reading: Reading, rows: Sequence[dict[str, Any]], options: ReadOptions | None = None) -> list[Record]:
    """What the rows become, put together first where the format asks for it."""
    if isinstance(module := reading.module, Assembling):
        made = module.assemble(iter(numbered(rows)), "file", options or ReadOptions())
        rows = [row.value for row in made if isinstance(row, Row)]
    return [record for row in rows for record in parsed(reading, row)]


def numbered(rows: Sequence[dict[str, Any]]) -> list[Row | BadRow]:
    return [Row(line, value) for line, value in enumerate(rows, start=1)]


# ---- what is what


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_each_sample_is_recognised_as_its_format_without_being_told_and_gives_its_records(name: str) -> None:
    rows = sample(name)
    reading = recognise(rows, name)
    assert reading.format == format_of(name)
    assert records(reading, rows) == EXPECTED[name]


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_each_sample_is_read_the_same_when_its_kind_is_wanted(name: str) -> None:
    rows = sample(name)
    kind = registry.load("data.formats", format_of(name)).KIND
    assert records(recognise(rows, name, kind), rows) == EXPECTED[name]


def test_every_format_has_a_sample_and_says_its_kind() -> None:
    assert {path.name for path in SAMPLES.iterdir()} == set(EXPECTED)
    assert {format_of(name) for name in EXPECTED} == set(FORMATS)
    made = {
        "documents": Document, "conversations": Conversation, "preferences": Preference, "rated": Rated,
        "problems": Problem,
    }  # fmt: skip
    for name, found in EXPECTED.items():
        assert {type(record) for record in found} == {made[registry.load("data.formats", format_of(name)).KIND]}


def test_a_special_case_fits_its_general_case_where_it_claims_to_be_read_instead_of_it() -> None:
    claimed = {
        (name, general)
        for name in FORMATS
        for general in vars(registry.load("data.formats", name)).get("INSTEAD_OF", ())
    }
    fitting = {
        (format_of(file), other)
        for file in EXPECTED
        for other in FORMATS
        if other != format_of(file) and all(registry.load("data.formats", other).matches(row) for row in sample(file))
    }
    assert fitting == claimed


def test_every_row_reads_under_its_format_s_own_names_without_a_mapping() -> None:
    for name in EXPECTED:
        for row in [] if format_of(name) == "oasst" else sample(name):
            assert registry.load("data.formats", format_of(name)).parse(row, {})


def test_real_preferences_are_pairs_or_conversations_as_is_wanted(test_data: Path) -> None:
    rows = json.loads((test_data / "preferences.json").read_text(encoding="utf-8"))
    pairs, talks = (recognise(rows[:10], "file", kind) for kind in ("preferences", "conversations"))
    assert (pairs.format, talks.format) == ("preference", "alpaca")
    bad = []
    for row in rows:
        try:
            (found,) = parsed(pairs, row)
            assert isinstance(found, Preference)
            assert found.chosen.first_user.startswith(row["instruction"])
            assert found.chosen.messages[-1].content == row["chosen"]
        except DataError as error:
            bad.append(str(error))
    assert set(bad) == {"chosen and rejected are the same answer"}
    assert len(bad) == sum(row["chosen"].strip() == row["rejected"].strip() for row in rows)


# ---- which of two

ALPACA = {"instruction": "Name a grain.", "output": "Rye."}
TALK = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
SPOKEN = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello!"}]

AMBIGUOUS: list[tuple[dict[str, Any], set[str]]] = [
    ({**ALPACA, "text": "A text."}, {"alpaca", "text"}),
    ({**ALPACA, "response": "Barley."}, {"alpaca", "dolly"}),
    ({**ALPACA, "chosen": "Rye.", "rejected": "Tar."}, {"alpaca", "preference"}),
    ({**ALPACA, "label": True}, {"alpaca", "kto"}),
    ({"messages": TALK, "text": "A text."}, {"messages", "text"}),
    ({"messages": TALK, "label": False}, {"messages", "kto"}),
    ({"messages": TALK, "prompt": "Hi", "completion": "Hello!"}, {"messages", "prompt_completion"}),
    ({"messages": TALK, "conversations": SPOKEN}, {"messages", "sharegpt"}),
    ({"messages": TALK, "chosen": TALK, "rejected": TALK}, {"messages", "preference"}),
    ({"prompt": "Hi", "completion": "Hello!", "label": 3}, {"kto", "prompt_completion"}),
    ({"prompt": "Hi", "completion": "Hello!", "text": "A text."}, {"prompt_completion", "text"}),
    ({"prompt": "Hi", "response": "Hello!", "instruction": "Greet."}, {"dolly", "prompt_completion"}),
    ({"text": "A text.", "chosen": "It is so.", "rejected": "It is not."}, {"preference", "text"}),
]


@pytest.mark.parametrize(("row", "names"), AMBIGUOUS, ids=["-".join(sorted(names)) for _, names in AMBIGUOUS])
def test_a_row_with_two_readings_is_refused_with_both_until_its_kind_is_wanted(
    row: dict[str, Any], names: set[str]
) -> None:
    with pytest.raises(DataError) as caught:
        recognise([row], "file")
    said = str(caught.value)
    assert {name for name in FORMATS if f"--format {name} " in said} == names
    assert json.dumps(row)[:60] in said
    kinds = {name: registry.load("data.formats", name).KIND for name in names}
    for name, kind in kinds.items():
        if list(kinds.values()).count(kind) == 1:
            assert recognise([row], "file", kind).format == name
        else:
            with pytest.raises(DataError, match="2 ways"):
                recognise([row], "file", kind)
        assert recognise([row], "file", format=name).format == name


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"prompt": "Hi", "completion": "Hello!", "label": "False"}, "kto"),
        ({"prompt": "Hi", "completion": "Hello!", "kto_tag": True}, "kto"),
        ({"conversations": SPOKEN, "kto_tag": True}, "kto"),
        ({"conversations": SPOKEN[:1], "chosen": SPOKEN[1], "rejected": SPOKEN[1]}, "sharegpt_preference"),
        ({"messages": TALK[:1], "chosen": "Hello!", "rejected": "Go."}, "sharegpt_preference"),
        ({"messages": TALK[:1], "chosen": "It is so.", "rejected": "It is not."}, "sharegpt_preference"),
        ({**ALPACA, "kto_tag": False}, "kto"),
        ({**ALPACA, "prompt": "Below is an instruction."}, "alpaca"),
    ],
)
@pytest.mark.parametrize("kind", ["", "conversations"])
def test_a_bad_or_missing_answer_is_never_read_as_one_to_be_learned(row: dict[str, Any], name: str, kind: str) -> None:
    """Whoever wants conversations gets the other kind of record, and can refuse it, not the answers as if all were good."""
    assert recognise([row], "file", kind).format == name


def test_scored_pairs_are_conversations_for_who_wants_these() -> None:
    rows = sample("ultrafeedback-binarized.jsonl")
    reading = recognise(rows, "file", "conversations")
    assert reading.format == "messages"
    assert "--format preference or --format ultrafeedback would read it differently" in str(reading)


def test_another_reading_is_only_told_of_where_it_gives_other_records() -> None:
    chat = recognise(sample("ultrachat.jsonl"), "file")
    assert (chat.format, chat.also) == ("ultrachat", ())
    labelled = recognise(sample("guanaco.jsonl"), "file")
    assert str(labelled) == "read as guanaco (text); --format text would read it differently"
    assert recognise(sample("guanaco.jsonl"), "file", "documents").format == "text"


@pytest.mark.parametrize(("special", "name"), [(9, "guanaco"), (6, "guanaco"), (5, "text"), (2, "text")])
def test_a_special_case_of_most_rows_is_the_format_and_of_a_few_is_not(special: int, name: str) -> None:
    rows = [sample("guanaco.jsonl")[0]] * special + [{"text": "Plain."}] * (10 - special)
    assert recognise(rows, "file").format == name
    assert recognise(rows, "file", "conversations").format == name


def test_the_human_s_label_alone_makes_no_conversation_of_a_text_and_a_list_without_id_is_no_dialogue() -> None:
    assert recognise([{"text": "### Human: a heading"}], "file").format == "text"
    with pytest.raises(DataError, match="no format fits"):
        recognise([{"data": ["Hi", "Hello!"]}], "file")


def test_a_column_that_is_named_for_a_format_chooses_it() -> None:
    row = {"ask": "Name a grain.", "output": "Rye.", "text": "A text."}
    assert recognise([row], "file", columns={"instruction": "ask"}).format == "alpaca"


def test_two_texts_without_a_prompt_are_no_pair_unless_they_begin_alike() -> None:
    with pytest.raises(DataError, match="no format fits"):
        recognise([{"query": "Name a grain.", "chosen": "Rye.", "rejected": "Tar."}], "file")
    reading = recognise(
        [{"query": "Name a grain.", "chosen": "Rye.", "rejected": "Tar."}], "file", columns={"prompt": "query"}
    )
    assert reading.format == "preference"


# ---- columns by other names


def renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {names.get(key, key): renamed(inner, names) for key, inner in value.items()}
    return [renamed(item, names) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_every_column_can_have_another_name_nested_ones_too(name: str) -> None:
    """All the columns that a sample has are renamed; kto's rows have three shapes, so one of them is asked."""
    rows = sample(name)[:1] if name == "kto-tags.jsonl" else sample(name)
    own = recognise(rows, name)
    mapping = {column: f"{column} there" for column in own.columns}
    spellings = {column: mapping[column] for column in own.columns} | {
        own.columns[column]: mapping[column] for column in own.columns
    }
    strange = [renamed(row, spellings) for row in rows]
    reading = recognise(strange, name, columns=mapping)
    assert reading.format == own.format
    assert reading.columns == mapping
    options = ReadOptions(columns=tuple(mapping.items()))
    assert records(reading, strange, options) == EXPECTED[name][: 1 if name == "kto-tags.jsonl" else None]


def test_keys_inside_a_column_that_is_not_read_are_not_said_to_be_read() -> None:
    reading = recognise([{**ALPACA, "meta": {"input": "x", "system": "y"}}], "file")
    assert reading.columns == {"instruction": "instruction", "output": "output"}
    assert reading.unread == ("meta",)


def test_a_row_of_another_spelling_than_the_first_ones_is_read_too() -> None:
    reading = recognise([{"instruction": "Sum up.", "input": "Long.", "output": "Short."}], "file")
    (found,) = parsed(reading, {"instruction": "Sum up.", "context": "Other.", "output": "Short."})
    assert found == conversation("Sum up.\n\nOther.", "Short.")


def test_a_row_without_the_column_that_was_named_is_bad_whatever_else_it_has() -> None:
    reading = recognise([{"instruction": "Why?", "reply": "So."}], "file", columns={"output": "reply"})
    with pytest.raises(DataError, match=r"^the row has no 'reply'; it has 'instruction', 'output'$"):
        parsed(reading, {"instruction": "Why?", "output": "So."})


def test_keys_inside_an_object_are_columns_too() -> None:
    columns = recognise(sample("oasst-trees.jsonl"), "file").columns
    assert {"prompt", "message_id", "role", "text", "lang", "replies"} <= set(columns)


# ---- bad rows, each with a sentence

SAID = {"role": "user", "content": "Hi"}
MMLU = {"question": "Which?", "choices": ["rice", "rye", "oat"], "answer": 0}
ARC = {"question": "Which?", "choices": {"text": ["rice", "rye"], "label": ["1", "2"]}, "answerKey": "2"}
MALT = {"prompt": "Which grain?", "grader": "contains", "answer": {"accepted": ["barley"]}}
BAD: list[tuple[str, dict[str, Any], str]] = [
    ("messages", {"messages": [{**SAID, "weight": 0.5}]}, "message 1: 'weight' is a number, 0.5; it must be 0 or 1"),
    ("messages", {"messages": [{**SAID, "weight": True}]}, "message 1: 'weight' is true or false, True"),
    ("messages", {"messages": [{**SAID, "weight": 0, "learn": True}]}, "give one of the two"),
    ("messages", {"messages": [{**SAID, "learn": 1}]}, "message 1: 'learn' is a number, 1"),
    ("messages", {"messages": [{**SAID, "name": 3}]}, "message 1: 'name' is a number, 3"),
    ("messages", {"messages": [{**SAID, "tool_calls": "call"}]}, "'tool_calls' is text, 'call'"),
    ("messages", {"messages": [{**SAID, "tool_calls": 7}]}, "'tool_calls' is a number, 7"),
    ("messages", {"messages": [SAID, {"role": "assistant", "content": None}]}, "message 2: 'content' is null"),
    ("sharegpt", {"conversations": [{"from": "aunt", "value": "Hi"}]}, "turn 1: the speaker is 'aunt'"),
    ("sharegpt", {"conversations": [{"from": "human"}]}, "turn 1: it has no 'value'"),
    ("sharegpt", {"conversations": [{"from": "human", "value": "Hi"}, "Hello!"]}, "turn 2 is text, 'Hello!'"),
    ("sharegpt", {"conversations": [{"from": "function_call", "value": "count()"}]}, "it must be JSON"),
    ("sharegpt", {"conversations": [{"from": "function_call", "value": "[]"}]}, "with 'name' and 'arguments'"),
    ("sharegpt", {"conversations": SPOKEN, "system": 3}, "'system' is a number, 3"),
    ("alpaca", {"instruction": " ", "output": "Rye."}, "the instruction is empty"),
    ("alpaca", {**ALPACA, "history": [["Hi"]]}, "it must hold pairs of question and answer"),
    ("alpaca", {"instruction": "Name a grain."}, "the row has no 'output'"),
    ("dolly", {"instruction": "Name a grain.", "response": None}, "'response' is null"),
    ("prompt_completion", {"prompt": "Hi", "completion": 3}, "'completion' is a number, 3"),
    ("prompt_completion", {"prompt": [], "completion": "Hello!"}, "'prompt' has no messages"),
    ("prompt_completion", {"prompt": ["Hi"], "completion": "Hello!"}, "'prompt': message 1 is text, 'Hi'"),
    ("prompt_completion", {"prompt": "Hi", "completion": " "}, "message 2 (assistant) is empty"),
    ("ultrachat", {"id": "1", "data": ["Hi", 3]}, "turn 2 of 'data' is a number, 3"),
    ("ultrachat", {"id": "1", "data": []}, "no messages"),
    ("ultrachat", {"id": "1"}, "the row has no 'data'"),
    ("oasst", {"message_id": "m1", "text": "Hi"}, "have to be put together first"),
    ("oasst", {"threads": [3]}, "a thread is a number, 3"),
    ("guanaco", {"text": "Hello there."}, "the text begins with no speaker's label"),
    ("guanaco", {"text": "Once. ### Human: Hi### Assistant: Hello!"}, "the text begins with no speaker's label"),
    ("guanaco", {"text": "### Human: Hi### Human: Hello?"}, "message 2 (user) follows another user turn"),
    ("guanaco", {"text": "### Human: Hi### Assistant:"}, "message 2 (assistant) is empty"),
    ("hh_rlhf", {"chosen": "\n\nHuman: Hi\n\nAssistant: A", "rejected": "B"}, "no speaker's label"),
    (
        "hh_rlhf",
        {"chosen": "\n\nHuman: Hi\n\nAssistant: A", "rejected": "\n\nHuman: Ho\n\nAssistant: B"},
        "no message in common",
    ),
    ("ultrafeedback", {"instruction": "Hi", "completions": []}, "has 0 completions; two are needed"),
    ("ultrafeedback", {"instruction": "Hi", "completions": ["A"]}, "completion 1 is text, 'A'"),
    (
        "ultrafeedback",
        {"instruction": "Hi", "completions": [{"response": "A"}]},
        "completion 1: it has no 'overall_score'",
    ),
    (
        "ultrafeedback",
        {"instruction": "Hi", "completions": [{"overall_score": "N/A"}]},
        "'overall_score' is text, 'N/A'",
    ),
    ("ultrafeedback", {"instruction": "Hi", "completions": [{"overall_score": 10**400}]}, "it must be a number"),
    (
        "ultrafeedback",
        {"instruction": "Hi", "completions": [{"response": name, "overall_score": 5} for name in "AB"]},
        "all completions have the score 5",
    ),
    (
        "ultrafeedback",
        {"chosen": TALK, "rejected": TALK, "score_chosen": 1, "score_rejected": 2},
        "chosen has the score 1, less than the 2 of rejected",
    ),
    ("preference", {"prompt": "Hi", "chosen": "A", "rejected": 3}, "'rejected' is a number, 3"),
    ("preference", {"prompt": "Hi", "chosen": "A"}, "the row has no 'rejected'"),
    ("preference", {"prompt": "Hi", "chosen": "A", "rejected": "A "}, "chosen and rejected are the same answer"),
    ("preference", {"prompt": "Hi", "chosen": [SAID], "rejected": [SAID]}, "chosen has no answer"),
    ("preference", {"chosen": "Rye.", "rejected": "Tar."}, "no beginning in common"),
    ("preference", {"chosen": TALK, "rejected": [{**SAID, "content": "Ho"}, TALK[1]]}, "no message in common"),
    ("preference", {"chosen": [*TALK, SAID], "rejected": [*TALK[:1], SAID, *TALK]}, "first that differs"),
    ("sharegpt_preference", {"conversations": SPOKEN[:1], "chosen": SPOKEN[1]}, "the row has no 'rejected'"),
    (
        "sharegpt_preference",
        {"conversations": SPOKEN[:1], "chosen": {"from": "gpt"}, "rejected": SPOKEN[1]},
        "'chosen': turn 1: it has no 'value'",
    ),
    ("kto", {"prompt": "Hi", "completion": "Hello!"}, "the row has no 'label'"),
    ("kto", {"prompt": "Hi", "completion": "Hello!", "label": 3}, "'label' is a number, 3; it must be true or false"),
    ("kto", {"prompt": "Hi", "completion": "Hello!", "label": None}, "'label' is null"),
    ("kto", {"messages": TALK[:1], "label": True}, "the conversation ends with user, not assistant"),
    ("prompt_only", {"prompt": None}, "'prompt' is null"),
    ("prompt_only", {"prompt": TALK}, "the prompt ends with assistant"),
    ("prompt_only", {"prompt": " "}, "message 1 (user) is empty"),
    ("gsm8k", {"question": "How many?", "answer": "It is 12."}, "'answer' marks no result; it must end with ####"),
    ("gsm8k", {"question": "How many?", "answer": "#### a dozen"}, "'answer' has 'a dozen' after ####"),
    ("gsm8k", {"question": "How many?", "answer": "#### " + "9" * 400}, "after ####; it must be a number"),
    ("gsm8k", {"question": " ", "answer": "#### 12"}, "message 1 (user) is empty"),
    ("gsm8k", {"question": None, "answer": "#### 12"}, "'question' is null"),
    ("multiple_choice", {**MMLU, "answer": 3}, "'answer' is a number, 3; it must be one of A, B, C, or 0 to 2"),
    ("multiple_choice", {**MMLU, "answer": True}, "'answer' is true or false, True"),
    ("multiple_choice", {**MMLU, "answer": "D"}, "'answer' is text, 'D'; it must be one of A, B, C, or 0 to 2"),
    ("multiple_choice", {**MMLU, "answer": None}, "'answer' is null"),
    ("multiple_choice", {**MMLU, "choices": ["rye"]}, "the question has 1 options; it must have 2 to 8"),
    ("multiple_choice", {**MMLU, "choices": ["rye", 3]}, "it must be a list of texts"),
    ("multiple_choice", {**MMLU, "choices": ["rye", "rye"]}, "an option is blank or there twice"),
    ("multiple_choice", {**MMLU, "choices": ["rye", " "]}, "an option is blank or there twice"),
    ("multiple_choice", {**ARC, "answerKey": "3"}, "'answerKey' is text, '3'; it must be one of 1, 2"),
    ("multiple_choice", {**ARC, "choices": {"text": ["rice", "rye"]}}, "the row has no 'label'"),
    ("multiple_choice", {**ARC, "choices": {"text": ["rice", "rye"], "label": ["1"]}}, "has 1 labels and 2 texts"),
    ("multiple_choice", {**ARC, "choices": {"text": ["a", "b"], "label": ["1", "1"]}}, "blank or there twice"),
    ("multiple_choice", {"question": "Which?", "A": "rice", "B": "rye"}, "the row has no 'answer'"),
    ("multiple_choice", {"question": "Which?", "A": "rice", "B": "rye", "answer": 1}, "must be one of A, B"),
    ("multiple_choice", {"question": "Which?", "answer": "A"}, "the row has no 'choices'"),
    ("graded", {**MALT, "grader": "contain"}, "there is no grader 'contain', did you mean 'contains'"),
    ("graded", {**MALT, "grader": "primer"}, "'primer' asks questions and grades none"),
    ("graded", {**MALT, "grader": None}, "'grader' is null"),
    ("graded", {**MALT, "answer": "barley"}, "'answer' is text, 'barley'; it must be an object"),
    ("graded", {**MALT, "answer": {"acepted": ["barley"]}}, "has 'acepted', did you mean 'accepted'"),
    ("graded", {**MALT, "answer": {}}, "the grader contains cannot use the answer: the answer has no 'accepted'"),
    ("graded", {**MALT, "answer": {"accepted": "barley"}}, "the answer's 'accepted' must be a valid list"),
    ("graded", {**MALT, "answer": {"accepted": []}}, "the answer's 'accepted' must have at least 1 item"),
    ("graded", {**MALT, "answer": {"accepted": [" "]}}, "the answer's 'accepted.0' is blank"),
    ("graded", {**MALT, "grader": "number", "answer": {"value": 10**400}}, "the answer's 'value'"),
    ("graded", {**MALT, "grader": "shape", "answer": {"groups": [["malt"]]}}, "the answer asks for no form"),
    ("graded", {**MALT, "grader": "choice", "answer": {"letter": "C", "options": {"A": "x", "B": "y"}}}, "are A, B"),
    ("graded", {**MALT, "grader": "python_function", "answer": {"accept": [[]]}}, "'accept.0'"),
    ("graded", {**MALT, "prompt": " "}, "message 1 (user) is empty"),
    ("text", {"text": None}, "'text' is null"),
    ("text", {"text": " "}, "the text is empty"),
]


@pytest.mark.parametrize(("name", "row", "why"), BAD, ids=[f"{name}-{why[:30]}" for name, _, why in BAD])
def test_a_bad_row_of_each_format_is_refused_in_one_sentence(name: str, row: dict[str, Any], why: str) -> None:
    with pytest.raises(DataError) as caught:
        parsed(recognise([row], "file", format=name), row)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_grader_is_told_of_graders_and_of_no_question_set() -> None:
    row = {**MALT, "grader": "arithmetics"}
    with pytest.raises(DataError) as caught:
        parsed(recognise([row], "file", format="graded"), row)
    known = str(caught.value).partition("; known: ")[2].split(", ")
    assert {"choice", "contains", "number"} <= set(known)
    assert not {"arithmetic", "facts", "primer"} & set(known)
    assert "did you mean" not in str(caught.value)


def test_every_format_has_a_bad_row() -> None:
    assert {name for name, _, _ in BAD} == set(FORMATS)


def test_a_bad_problem_is_named_by_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "exam.jsonl"
    path.write_text(f"{json.dumps(MALT)}\n{json.dumps({**MALT, 'grader': 'contain'})}\n")
    with pytest.raises(DataError, match=r"exam\.jsonl:2: there is no grader 'contain', did you mean 'contains'"):
        source.read(str(path))


def test_names_that_a_table_has_in_all_rows_and_one_row_leaves_empty_are_no_part_of_its_answer() -> None:
    row = {**MALT, "answer": {"accepted": ["barley"], "others": None, "value": None}}
    (found,) = parsed(recognise([row], "file"), row)
    assert isinstance(found, Problem)
    assert found.answer == MALT["answer"]


def test_a_question_and_an_answer_that_marks_no_result_are_no_problem() -> None:
    with pytest.raises(DataError, match="no format fits"):
        recognise([{"question": "What is rye?", "answer": "A grain."}], "file")


def test_completions_of_one_score_are_left_out_and_not_bad() -> None:
    row = {"instruction": "Hi", "completions": [{"response": name, "overall_score": 5} for name in "AB"]}
    with pytest.raises(LeftOut):
        parsed(recognise([row], "file"), row)


def test_turns_after_the_answers_that_differ_belong_to_no_pair() -> None:
    chosen = [*TALK, SAID, {"role": "assistant", "content": "Again!"}]
    rejected = [SAID, {"role": "assistant", "content": "Go."}]
    row = {"chosen": chosen, "rejected": rejected}
    assert parsed(recognise([row], "file"), row) == [pair("Hi", "Hello!", worse="Go.")]


SYSTEM = {"role": "system", "content": "Be kind."}
AGAIN = [*TALK, {"role": "user", "content": "And?"}]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        # the prompt ends with an answer, so a side that begins with the user's turn goes on from there
        (
            {"prompt": TALK, "chosen": [AGAIN[2], {"role": "assistant", "content": "A"}], "rejected": [AGAIN[2], TALK[1]]},
            pair("Hi", "Hello!", "And?", "A", worse="Hello!"),
        ),
        # the sides hold the prompt as well
        (
            {"prompt": "Hi", "chosen": TALK, "rejected": [SAID, {"role": "assistant", "content": "Go."}]},
            pair("Hi", "Hello!", worse="Go."),
        ),
        (
            {"system": "Be kind.", "chosen": TALK, "rejected": [SAID, {"role": "assistant", "content": "Go."}]},
            pair("Hi", "Hello!", worse="Go.", system="Be kind."),
        ),
        (
            {
                "system": "Be kind.",
                "chosen": [SYSTEM, *TALK],
                "rejected": [SYSTEM, SAID, {"role": "assistant", "content": "Go."}],
            },
            pair("Hi", "Hello!", worse="Go.", system="Be kind."),
        ),
        # a name at the beginning of a line is no label, one after an empty line is
        (
            {
                "chosen": "\nHuman: Who?\nHuman: or\nAssistant: I\n\nAssistant: A",
                "rejected": "Human: Who?\nHuman: or\nAssistant: I\n\nAssistant: B",
            },
            pair("Who?\nHuman: or\nAssistant: I", "A", worse="B"),
        ),
        ({"chosen": "One\nA", "rejected": "One\nB"}, pair("One", "A", worse="B")),
    ],
)  # fmt: skip
def test_a_pair_is_its_prompt_with_the_two_answers_however_they_are_written(
    row: dict[str, Any], expected: Preference
) -> None:
    assert parsed(recognise([row], "file"), row) == [expected]


@pytest.mark.parametrize(
    ("speaker", "role"),
    [
        ("Human", "user"),
        ("GPT", "assistant"),
        ("bing", "assistant"),
        ("tool-response", "tool"),
        ("function-response", "tool"),
    ],
)
def test_a_speaker_is_known_in_any_spelling_of_its_name(speaker: str, role: str) -> None:
    (message,) = turns.sharegpt([{"from": speaker, "value": "Hi"}], {})
    assert message == Message(role, "Hi")  # type: ignore[arg-type]
    (asked,) = turns.sharegpt([{"from": "Tool-Call", "value": '{"name": "count"}'}], {})
    assert asked.tool_calls == ({"type": "function", "function": {"name": "count"}},)


@pytest.mark.parametrize(("label", "good"), [(True, True), (0, False), (1.0, True), (" TRUE", True), ("false", False)])
def test_a_label_is_a_truth_its_word_or_its_number(label: object, good: bool) -> None:
    row = {"prompt": "Hi", "completion": "Hello!", "label": label}
    assert parsed(recognise([row], "file", "rated"), row) == [Rated(conversation("Hi", "Hello!"), good)]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from([10**400, "user"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
ROWS = [row for name in sorted(EXPECTED) for row in sample(name)] + [row for _, row, _ in BAD]


def damaged(value: Any, other: Any, chance: random.Random) -> Any:
    """The value with some parts of it gone, doubled, or something else."""
    if chance.random() < 0.08:
        return other
    if isinstance(value, dict):
        return {key: damaged(inner, other, chance) for key, inner in value.items() if chance.random() > 0.05}
    if isinstance(value, list):
        kept = [damaged(inner, other, chance) for inner in value if chance.random() > 0.05]
        return kept + kept[:1] if chance.random() < 0.1 else kept
    return value[: len(value) // 2] if isinstance(value, str) and chance.random() < 0.05 else value


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(ROWS) | st.dictionaries(st.text(max_size=5), JSON, max_size=4), JSON, st.randoms())
def test_whatever_stands_in_a_row_it_becomes_records_or_a_reason(
    row: dict[str, Any], other: Any, chance: random.Random
) -> None:
    row = {key: damaged(value, other, chance) for key, value in row.items() if chance.random() > 0.05}
    for name in FORMATS:
        module = registry.load("data.formats", name)
        module.matches(row)
        reading = recognise([row], "file", format=name)
        if isinstance(module, Assembling):
            (made,) = module.assemble(iter([Row(1, row)]), "file", ReadOptions())
            assert isinstance(made, BadRow) or parsed(reading, made.value)
        found = found_or_reason(lambda reading=reading: parsed(reading, row))
        assert isinstance(found, str) or (found and all(isinstance(one, Record) for one in found))
    found_or_reason(lambda: recognise([row], "file"))


def found_or_reason(read: Callable[[], Any]) -> Any:
    """What it gives or, where that is a DataError, the one sentence of it."""
    try:
        return read()
    except DataError as error:
        sentence = str(error)
    assert sentence
    assert "\n" not in sentence
    return sentence


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("depth", [100, 900, 5000])
def test_values_nested_without_measure_are_told_and_not_followed(depth: int) -> None:
    deep = nested(depth)
    for row in (
        {"messages": deep},
        {"messages": [SAID, {"role": "assistant", "content": deep}]},
        {"messages": [SAID, {"role": "assistant", "tool_calls": [{"call": deep}]}]},
        {"messages": [SAID, {"role": "assistant", "content": [{"type": deep}]}]},
        {"prompt": "Hi", "completion": "Hello!", "label": deep},
        {"text": "A text.", "chosen": deep, "rejected": deep},
        {**MALT, "grader": "python_function", "answer": {"accept": [[[[1], deep]]]}},
        {**MMLU, "choices": deep, "answer": deep},
    ):
        for name in FORMATS:
            with suppress(DataError):
                found = parsed(recognise([row], "file", format=name), row)
                assert all(isinstance(text, str) for record in found for text in texts(record))
        with suppress(DataError):
            recognise([row], "file")
    with pytest.raises(DataError, match="no format fits"):
        recognise([{"foo": deep}], "file")


def test_a_row_of_many_columns_is_not_listed_whole() -> None:
    with pytest.raises(DataError) as caught:
        fields.text({f"column {number}": number for number in range(1000)}, "text")
    assert len(str(caught.value)) < 300


# ---- trees


def assembled(rows: Sequence[dict[str, Any]], **options: Any) -> tuple[list[Row], dict[int, BadRow]]:
    """The rows with threads, and those that are listed, by line."""
    made = list(oasst.assemble(iter(numbered(rows)), "trees.jsonl", ReadOptions(**options)))
    listed = [one for one in made if isinstance(one, BadRow)]
    assert len({one.line for one in listed}) == len(listed)
    return [one for one in made if isinstance(one, Row)], {one.line: one for one in listed}


def said(row: Row) -> list[list[str]]:
    return [[message["content"] for message in thread] for thread in row.value["threads"]]


def message(name: str, parent: str | None = None, **more: Any) -> dict[str, Any]:
    """A message whose text is its name; the parent's number of letters says whose turn it is."""
    role = "assistant" if parent and len(parent) % 2 else "prompter"
    return {"message_id": name, "parent_id": parent, "role": role, "text": name, **more}


def test_rows_of_a_tree_are_put_together_from_all_over_the_file_and_the_others_are_listed() -> None:
    rows, listed = assembled(sample("oasst.jsonl"))
    assert [(row.line, row.covers) for row in rows] == [(1, 4), (4, 2)]
    assert {line: (row.kind, row.reason) for line, row in listed.items()} == {
        2: ("filtered", "it is ranked below the threads that are read"),
        8: ("filtered", "it failed its review"),
        9: ("filtered", "it has no answer that can be used"),
        10: ("filtered", "it is deleted"),
    }
    assert str(listed[8]) == "trees.jsonl:8: it failed its review"


def test_a_language_that_is_not_wanted_is_left_out() -> None:
    rows, listed = assembled(sample("oasst.jsonl"), languages=("EN", "de"))
    assert [row.line for row in rows] == [1]
    assert {line: row.reason for line, row in listed.items() if line in (4, 5)} == dict.fromkeys(
        (4, 5), "its language is 'es'; wanted is EN, de"
    )
    rows, listed = assembled(sample("oasst-trees.jsonl"), languages=("es",))
    assert [row.line for row in rows] == [2]
    assert (listed[1].kind, "its language is 'en'" in listed[1].reason) == ("filtered", True)


# a, with the answers ab (second) and ac (first), which is asked on by acd and ace
BRANCHES = [
    message("a"),
    message("ab", "a", rank=1),
    message("ac", "a", rank=0),
    message("ace", "ac", rank=None),
    message("acd", "ac", rank=0.0),
    message("acde", "acd", rank="1"),
    message("acdf", "acd", rank="0"),
    message("aceg", "ace"),
]


@pytest.mark.parametrize(
    ("threads", "expected"),
    [
        ("best", [["a", "ac", "acd", "acdf"]]),
        ("1", [["a", "ac", "acd", "acdf"]]),
        ("2", [["a", "ac", "acd", "acdf"], ["a", "ac", "acd", "acde"]]),
        ("3", [["a", "ac", "acd", "acdf"], ["a", "ac", "acd", "acde"], ["a", "ac", "ace", "aceg"]]),
        ("all", [["a", "ac", "acd", "acdf"], ["a", "ac", "acd", "acde"], ["a", "ac", "ace", "aceg"], ["a", "ab"]]),
        ("9", [["a", "ac", "acd", "acdf"], ["a", "ac", "acd", "acde"], ["a", "ac", "ace", "aceg"], ["a", "ab"]]),
    ],
)
def test_threads_come_best_first_as_many_as_are_wanted(threads: str, expected: list[list[str]]) -> None:
    (row,), listed = assembled(BRANCHES, threads=threads)
    assert said(row) == expected
    assert row.covers == len({text for thread in expected for text in thread})
    assert {BRANCHES[line - 1]["text"] for line in listed} == {one["text"] for one in BRANCHES} - {
        text for thread in expected for text in thread
    }


def test_an_answer_without_a_rank_comes_after_those_that_have_one() -> None:
    ranks = {"ab": float("nan"), "ac": None, "ad": 7, "ae": ""}
    (row,), _ = assembled(
        [message("a"), *(message(name, "a", rank=rank) for name, rank in ranks.items())], threads="all"
    )
    assert said(row) == [["a", "ad"], ["a", "ab"], ["a", "ac"], ["a", "ae"]]


def test_a_thread_ends_with_an_answer_even_where_a_better_ranked_question_has_none() -> None:
    rows = [message("a"), message("ab", "a"), message("abc", "ab", rank=0), message("abd", "ab", rank=1)]
    (row,), listed = assembled([*rows, message("abde", "abd")])
    assert said(row) == [["a", "ab", "abd", "abde"]]
    assert listed[3].reason == "it has no answer that can be used"


@pytest.mark.parametrize("threads", ["", "0", "-1", "worst", "1.5", "²", "9" * 5000])
def test_a_wrong_number_of_threads_is_refused_before_a_row_is_read(threads: str) -> None:
    with pytest.raises(ConfigError, match="give best, all or a number from 1 up"):
        oasst.assemble(iter([]), "file", ReadOptions(threads=threads))


SURROGATE = "the text holds half of a surrogate pair (U+D800 at character 0); write the file as valid UTF-8"
DAMAGE: list[tuple[list[dict[str, Any]], dict[int, tuple[str, str]]]] = [
    ([message("xy", "x")], {3: ("bad", "its parent 'x' is not in the file")}),
    (
        [message("xy", "x"), message("xyz", "xy")],
        {3: ("bad", "its parent 'x' is not in the file"), 4: ("bad", "it follows the message in line 3, which cannot be used")},
    ),
    ([message("x", "x")], {3: ("bad", "its thread loops back on itself")}),
    (
        [message("x", "xyzw"), message("xy", "x"), message("xyz", "xy"), message("xyzw", "xyz")],
        dict.fromkeys((3, 4, 5, 6), ("bad", "its thread loops back on itself")),
    ),
    ([message("a")], {3: ("bad", "the id 'a' is there twice; the first is in line 1")}),
    ([message("ac", "a", role="robot")], {3: ("bad", "the role is 'robot'; it must be prompter or assistant")}),
    ([message("ac", "a", role="prompter")], {3: ("bad", "it follows a message of the same role, in line 1")}),
    ([message("x", role="assistant")], {3: ("bad", "it is an answer, and there is no question before it")}),
    ([message("ac", "a", text=None)], {3: ("bad", "'text' is null; it must be text")}),
    ([message("ac", "a", text=" ")], {3: ("bad", "the text is empty")}),
    ([message("ac", "a", text="a\0b")], {3: ("bad", "the text holds a NUL character; remove it")}),
    ([message("ac", "a", text="\ud800")], {3: ("bad", SURROGATE)}),
    ([message("", "a")], {3: ("bad", "the id is empty")}),
    ([message("x", "", deleted="", review_result=""), message("xy", "x")], {}),
    ([message("ac", "a", rank="first")], {3: ("bad", "'rank' is text, 'first'; it must be a number")}),
    ([message("ac", "a", rank=10**400)], {3: ("bad", f"'rank' is a number, 1{36 * '0'}...; it must be a number")}),
    ([message("ac", "a", deleted="perhaps")], {3: ("bad", "'deleted' is text, 'perhaps'; it must be true or false")}),
    ([message("ac", "a", message_tree_id="x")], {}),
    (
        [message("x", message_tree_id="x"), message("xy", "x", message_tree_id="a")],
        {3: ("filtered", "it has no answer that can be used"), 4: ("bad", "its parent, in line 3, belongs to another tree")},
    ),
    (
        [message("x", text=None), message("xy", "x")],
        {3: ("bad", "'text' is null; it must be text"), 4: ("bad", "its parent, in line 3, cannot be used")},
    ),
    (
        [message("x", deleted="True"), message("xy", "x")],
        {3: ("filtered", "it is deleted"), 4: ("filtered", "it follows the message in line 3, which is left out")},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "wrong"), DAMAGE)
def test_a_damaged_tree_is_listed_row_by_row_and_the_whole_one_beside_it_is_read(
    rows: list[dict[str, Any]], wrong: dict[int, tuple[str, str]]
) -> None:
    found, listed = assembled([message("a"), message("ab", "a"), *rows], threads="all")
    assert {line: (row.kind, row.reason) for line, row in listed.items()} == wrong
    assert said(found[0])[0] == ["a", "ab"]
    assert sum(row.covers for row in found) + len(listed) == 2 + len(rows)


def tree(name: str, *replies: Any, **more: Any) -> dict[str, Any]:
    role = "prompter" if len(name) % 2 else "assistant"
    return {"message_id": name, "role": role, "text": name, "replies": list(replies), **more}


@pytest.mark.parametrize(
    ("prompt", "kind", "why"),
    [
        (tree("a", 3), "bad", "a reply is a number, 3; it must be an object"),
        (tree("a", tree("ab"), tree("ab")), "bad", "the id 'ab' is there twice"),
        (tree("a", tree("abc")), "bad", "message 'abc': it follows a message of the same role"),
        (tree("ab"), "bad", "message 'ab': it is an answer, and there is no question before it"),
        ({**tree("a"), "replies": 3}, "bad", "'replies' is a number, 3"),
        ({**tree("a"), "text": 3}, "bad", "'text' is a number, 3"),
        (tree("a"), "filtered", "of its first message: it has no answer that can be used"),
        (tree("a", tree("ab", deleted=True)), "filtered", "no thread of the tree is left"),
    ],
)
def test_a_row_that_is_a_whole_tree_is_used_or_listed_as_one(prompt: dict[str, Any], kind: str, why: str) -> None:
    good = tree(
        "a", tree("ab", tree("abc"), rank=1), tree("ac", tree("acd", tree("acde"))), tree("ad", review_result=False)
    )
    rows, listed = assembled([{"prompt": good}, {"prompt": prompt}], threads="all")
    assert said(rows[0]) == [["a", "ab"], ["a", "ac", "acd", "acde"]]
    assert (rows[0].covers, len(rows)) == (1, 1)
    assert (listed[2].kind, why in listed[2].reason) == (kind, True)


@st.composite
def forests(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Messages that mostly make trees, in any order, with damage of every kind."""
    rows: list[dict[str, Any]] = []
    roles: dict[str, str] = {}
    for number in range(draw(st.integers(0, 25))):
        name = f"m{number}"
        parent = draw(st.none() | st.sampled_from(sorted(roles))) if roles else None
        roles[name] = {"prompter": "assistant", "assistant": "prompter"}[roles[parent]] if parent else "prompter"
        row = {"message_id": name, "parent_id": parent, "text": name, "role": roles[name]}
        rows.append(row | draw(st.fixed_dictionaries({}, optional={
            "rank": st.none() | st.integers(0, 3),
            "lang": st.sampled_from(["en", "en", "de"]),
            "deleted": st.sampled_from([False, False, False, True]),
            "review_result": st.sampled_from([None, True, True, False]),
        })))  # fmt: skip
    for _ in range(draw(st.integers(0, 4)) if rows else 0):
        row = draw(st.sampled_from(rows))
        key = draw(st.sampled_from(["message_id", "parent_id", "text", "role", "rank", "deleted"]))
        row[key] = draw(st.sampled_from([f"m{n}" for n in range(len(rows))]) | JSON)
    if rows and draw(st.booleans()):
        rows.append(dict(draw(st.sampled_from(rows))))
    return draw(st.permutations(rows))


@settings(max_examples=150, deadline=None)
@given(forests(), st.sampled_from(["best", "all", "2"]), st.sampled_from([(), ("en",)]))
def test_every_message_is_on_a_thread_or_listed_once_with_its_line(
    rows: list[dict[str, Any]], threads: str, languages: tuple[str, ...]
) -> None:
    for line, row in enumerate(rows, start=1):
        row["text"] = f"{line}" if isinstance(row["text"], str) and row["text"].strip("\0 ") else row["text"]
    bad = BadRow("trees.jsonl", 99, "is not JSON")
    made = list(oasst.assemble(iter([*numbered(rows), bad]), "trees.jsonl", ReadOptions(None, (), threads, languages)))
    found = [one for one in made if isinstance(one, Row)]
    listed = [one.line for one in made if isinstance(one, BadRow) and one is not bad]
    used = [{int(text) for thread in said(row) for text in thread} for row in found]
    assert bad in made
    assert [row.covers for row in found] == [len(lines) for lines in used]
    assert sorted([*listed, *(line for lines in used for line in lines)]) == list(range(1, len(rows) + 1))
    for row in found:
        talks = oasst.parse(row.value, {})
        assert talks
        assert all(isinstance(talk, Conversation) for talk in talks)
        assert threads == "all" or len(talks) <= {"best": 1, "2": 2}[threads]
        assert all(thread[-1]["role"] == "assistant" for thread in row.value["threads"])
        assert len({tuple(thread) for thread in said(row)}) == len(talks)


def test_a_thread_of_ten_thousand_messages_is_followed_to_its_end() -> None:
    rows = [
        {"message_id": str(n), "parent_id": str(n - 1) if n else None, "role": "assistant" if n % 2 else "prompter",
         "text": str(n)} for n in range(10_000)
    ]  # fmt: skip
    (row,), listed = assembled(rows[::-1], threads="all")
    assert (row.covers, len(listed), row.line) == (10_000, 0, 1)
    assert said(row) == [[str(n) for n in range(10_000)]]


# ---- through the whole reading


def test_trees_in_a_file_are_read_as_threads_and_counted_by_rows() -> None:
    dataset = source.read(str(SAMPLES / "oasst.jsonl"), kind="conversations")
    assert dataset.records == [RISE, RYE]
    assert (dataset.report.read, dataset.report.kept, dataset.report.bad) == (10, 6, 0)
    assert [str(record.source).rpartition(":")[2] for record in dataset.records] == ["1", "4"]


def test_a_table_of_messages_and_one_of_labels_are_read_like_other_files(tmp_path: Path) -> None:
    trees, labels = tmp_path / "trees.csv", tmp_path / "labels.csv"
    head = "message_id,parent_id,text,role,rank,deleted"
    trees.write_text(f"{head}\n1,,Hi,prompter,,False\n2,1,Hello!,assistant,0,False\n3,1,Go.,assistant,1,True\n")
    labels.write_text("prompt,completion,label\nHi,Hello!,True\nHi,Go.,False\n")
    assert source.read(str(trees)).records == [conversation("Hi", "Hello!")]
    rated = [Rated(conversation("Hi", "Hello!"), True), Rated(conversation("Hi", "Go."), False)]
    assert source.read(str(labels)).records == rated


def test_what_teaches_nothing_is_listed_as_left_out_and_not_as_bad(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    tie = {"instruction": "Hi", "completions": [{"response": name, "overall_score": 5} for name in "AB"]}
    path.write_text((SAMPLES / "ultrafeedback.jsonl").read_text() + json.dumps(tie))
    report = source.read(str(path)).report
    assert (report.kept, report.bad) == (2, 0)
    assert [(row.line, row.kind) for row in report.skipped] == [(3, "filtered")]
