"""Quality: what filters leave out and why, nothing lost on the way, and a clean version that is clean."""

import gc
import json
import sys
import time
import weakref
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatwright import registry
from chatwright.data import source
from chatwright.data.check import CheckReport, analyse
from chatwright.data.parts import Used
from chatwright.data.quality import clean, language
from chatwright.data.quality.advice import advice
from chatwright.data.quality.evaluation import Evaluation
from chatwright.data.quality.language import UNKNOWN, Languages
from chatwright.data.quality.look import LOST, SAMPLE, Asked, Look
from chatwright.data.quality.near import PIECE, RUN, Near
from chatwright.data.quality.places import Places
from chatwright.data.quality.seen import Seen, Wanted
from chatwright.data.quality.sieve import FOLDER, Sieve, chosen_filters
from chatwright.data.quality.tally import SplitTally
from chatwright.data.rows import BadRow
from chatwright.data.split import split
from chatwright.data.truncate import Fit
from chatwright.errors import ConfigError, DataError
from chatwright.text.manners import words
from chatwright.text.records import (
    Conversation,
    Document,
    Message,
    Preference,
    Problem,
    Rated,
    Record,
    Source,
    conversation,
)

SLOW_DISK = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
LONG = words("The boats went out before the sun was up, and came home when the bells of the old church rang at seven.")


def numbered(records: list[Record], file: str = "a.jsonl") -> list[Record]:
    return [type(one)(**{**vars(one), "source": Source(file, line)}) for line, one in enumerate(records, start=1)]


def reasons(record: Record, *, wanted: Wanted | None = None, fits: tuple[Fit, ...] = (), spoken: str = "") -> set[str]:
    """The filters that speak against one record."""
    return set(Sieve(wanted or Wanted()).reasons(Seen(record, fits, spoken), useless=False))


# ---- each filter


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (conversation("Hi", "Hello! How can I help?"), set()),
        (conversation("Sing", "La la land is a film. " * 4), {"repetitive"}),
        (conversation("Say it again and again. " * 9, "No."), set()),
        (conversation("Hi", "Hello!\nUser: what next?"), {"speaks_for_user"}),
        (conversation("Hi\nUser: me\nAssistant: you", "Hello!"), {"other_format"}),
        (conversation("### Human: Hi### Assistant: Hello", "Well."), {"other_format"}),
        (conversation("<|im_start|>user\nHi<|im_end|>", "Well."), {"other_format"}),
        (conversation('[{"role": "user", "content": "Hi"}]', "Well."), {"other_format"}),
        (conversation("You are a helpful assistant. What is two and two?", "Four."), {"other_format"}),
        (conversation("What is two and two?", "Four.", system="You are a helpful assistant."), set()),
        (conversation("Is [1, 2] a list? What of {}?", "It is one."), set()),
        (conversation("Who said 'user: unknown'?", "A server."), set()),
        (Document("User: Hi\nAssistant: Hello"), {"other_format"}),
    ],
)
def test_a_filter_speaks_against_what_it_is_for(record: Record, expected: set[str]) -> None:
    assert reasons(record) == expected


def test_the_worse_answer_may_be_bad_for_it_is_not_learned() -> None:
    pair = Preference(conversation("Hi", "Hello!"), conversation("Hi", "Hi\nUser: Hi\nAssistant: " + "so so so " * 9))
    assert reasons(pair) == set()


def test_lost_text_and_missing_answers_are_told_from_the_rendering() -> None:
    talk = conversation("Hi", "Hello!")
    assert reasons(talk, fits=(Fit.WHOLE,)) == set()
    assert reasons(talk, fits=(Fit.TURNS_DROPPED,)) == reasons(talk, fits=(Fit.ANSWER_CUT,)) == {"too_long"}
    assert reasons(talk, fits=(Fit.NOTHING_LEARNED,)) == {"no_answer"}
    assert reasons(Problem(conversation("Why?"), "", {}), fits=(Fit.NOTHING_LEARNED,)) == set()


def test_a_language_counts_only_where_some_are_wanted_and_it_is_known() -> None:
    german = Wanted(languages=("en", "fr"))
    talk = conversation("Hallo", "Guten Tag!")
    assert reasons(talk, spoken="de") == set()
    assert reasons(talk, wanted=german, spoken="de") == {"other_language"}
    assert reasons(talk, wanted=german, spoken="fr") == reasons(talk, wanted=german, spoken=UNKNOWN) == set()


def test_every_filter_says_in_one_line_what_it_leaves_out() -> None:
    for name in registry.names(FOLDER):
        module = registry.load(FOLDER, name)
        assert module.SAYS
        assert "\n" not in module.SAYS
        assert isinstance(module.ON, bool)
        assert isinstance(module.REMEMBERS, bool)


def test_filters_are_chosen_by_name_and_a_wrong_one_is_answered_with_the_nearest() -> None:
    assert chosen_filters([]) is None
    assert chosen_filters(["none"]) == []
    assert chosen_filters(["duplicate,no-answer", "too_long"]) == ["duplicate", "no_answer", "too_long"]
    with pytest.raises(ConfigError, match=r"no filter 'duplicates', did you mean 'duplicate'\?"):
        chosen_filters(["duplicates"])
    results = Sieve(Wanted(), ["too_long"]).results
    assert {name for name, one in results.items() if one.chosen} == {"too_long"}


def test_a_duplicate_is_told_by_what_is_said_and_learned_and_is_no_near_duplicate_too() -> None:
    unlearned = Conversation((Message("user", "Hi"), Message("assistant", "Hello!", learn=False)))
    records = numbered([conversation("Hi", "Hello!"), unlearned, conversation("Hi", "Hello!"), Document("Hi")])
    found = [asked.reasons(Seen(one), False) for asked in [Sieve(Wanted())] for one in records]
    assert [set(one) for one in found] == [set(), {"near_duplicate"}, {"duplicate"}, set()]
    assert found[2]["duplicate"] == "says exactly what a.jsonl:1 says"


def test_rows_that_are_left_out_anyway_are_compared_with_nothing() -> None:
    loop = "very good " * 20
    records = numbered([conversation("Hi", loop), conversation("Hi", loop), conversation("Hi", loop)])
    asked = Sieve(Wanted())
    assert [set(asked.reasons(Seen(one), False)) for one in records] == [{"repetitive"}] * 3
    assert asked.results["repetitive"].rows == 3


def test_an_answer_as_long_as_a_book_is_looked_at_in_seconds() -> None:
    random = np.random.default_rng(0)
    long = " ".join(f"w{number}" for number in random.integers(0, 50, size=60_000))
    start = time.process_time()
    assert reasons(conversation("Hi", long)) == set()
    assert reasons(conversation("Hi", long + " so it goes on and on" * 3)) == {"repetitive"}
    assert time.process_time() - start < 20


# ---- near-duplicates


def test_near_rows_are_found_at_any_number_of_rows_and_others_are_not() -> None:
    random = np.random.default_rng(0)
    rows = [[f"w{number}" for number in random.integers(0, 5_000, size=60)] for _ in range(3_000)]
    near = Near()
    for row in rows:  # the tables grow twice on the way
        signature = near.signature([row])
        assert near.nearest(signature) is None
        near.add(signature)
    for number in (0, 1, 1_023, 1_024, 2_047, 2_048, 2_999):
        changed = [*rows[number][:-2], "other", "words"]  # 54 of 58 runs of five words are in both: 0.93
        found = near.nearest(near.signature([changed]))
        assert found is not None
        assert found[0] == number
        half = rows[number][:30] + rows[(number + 1) % 3_000][:30]
        assert near.nearest(near.signature([half])) is None


def test_rows_below_the_limit_are_not_near_whatever_bands_they_share() -> None:
    found = []
    for number in range(100):
        row = [f"w{number}-{k}" for k in range(100)]
        near = Near()
        near.add(near.signature([row]))
        found.append(near.nearest(near.signature([row[:70]])))  # 66 of 96 runs: 0.69
    assert found.count(None) >= 95  # half of them share a band


def test_the_similarity_is_that_of_the_runs_of_words() -> None:
    near = Near()
    one = [f"w{k}" for k in range(400)]
    near.add(near.signature([one]))
    for changed in (4, 8):
        other = [f"x{k}" if k < changed else word for k, word in enumerate(one)]
        runs = [{tuple(row[k : k + RUN]) for k in range(len(row) - RUN + 1)} for row in (one, other)]
        true = len(runs[0] & runs[1]) / len(runs[0] | runs[1])
        found = near.nearest(near.signature([other]))
        assert found is not None
        assert found[1] == pytest.approx(true, abs=0.1)


def test_signatures_are_the_same_on_every_machine_and_for_short_rows_too() -> None:
    near = Near()
    assert near.signature([["a", "b"], ["c"]]).tolist() == near.signature([["a", "b", "c"]]).tolist()
    assert near.signature([LONG]).tolist()[:8] == [126, 155, 165, 19, 145, 193, 160, 205]
    assert near.signature([[]]).shape == (128,)
    long = [f"w{k}" for k in range(PIECE + RUN + 1)]  # in two pieces
    other = near.nearest(near.signature([long]))
    near.add(near.signature([long[: PIECE + RUN - 1]]))
    found = near.nearest(near.signature([long]))
    assert other is None
    assert found is not None
    assert found[1] > 0.99


def test_places_come_back_as_they_were() -> None:
    places, sources = Places(), [Source("a", 1), Source("b", 10**12), Source("a", 0), Source("", 3)]
    assert [places[places.add(one)] for one in sources] == [str(one) for one in sources]


# ---- evaluations


def test_a_prompt_of_an_evaluation_is_found_whatever_its_case_and_spacing_are() -> None:
    known = Evaluation({"exam": [Problem(conversation("What is  Two and two?"), "", {})]})
    assert known.reason(Seen(conversation("what is two\nand TWO?", "Four."))) == "asks what is asked in exam"
    assert known.reason(Seen(conversation("Hi", "Hello!", "What is two and two?", "Four."))) == ""
    assert known.reason(Seen(conversation("What is two and two?", "Four.", system="Be brief."))) != ""
    assert known.shared == {"exam": 1}


def test_a_follow_up_counts_only_after_the_turns_before_it() -> None:
    asked = Problem(conversation("Who wrote it?", "She did.", "When?"), "", {})
    known = Evaluation({"exam": [asked]})
    assert known.reason(Seen(conversation("Who wrote it?", "She did."))) == ""
    assert known.reason(Seen(conversation("When?", "Now."))) == ""
    assert known.reason(Seen(conversation("Who wrote it?", "She did.", "When?", "In June."))) != ""


def test_thirteen_words_in_a_row_are_found_and_twelve_are_not() -> None:
    known = Evaluation({"exam": [Document(" ".join(LONG))]})
    inside = conversation("Hi", "So: " + " ".join(LONG[3:16]).upper() + "!")
    assert known.reason(Seen(inside)) == f"shares 13 words in a row with exam: {' '.join(LONG[3:16])!r}"
    assert known.reason(Seen(conversation("Hi", " ".join(LONG[3:15])))) == ""
    assert known.reason(Seen(conversation(" ".join(LONG[3:10]), " ".join(LONG[10:16])))) == ""  # across two turns


def test_the_primer_does_not_give_its_problems_away() -> None:
    from chatwright.evals.benchmark import problem_sets

    problems = problem_sets("primer")
    known = Evaluation(dict(problems))
    given_away = [str(one.source) for one in source.gather("primer#1500").records if known.reason(Seen(one))]
    assert given_away == []
    problem = problems["follow_ups"][0]
    assert known.reason(Seen(problem.prompt))


# ---- languages


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, how are you today? I hope that all is well with you.", "en"),
        ("Wie geht es dir heute, mein Freund? Mir geht es sehr gut.", "de"),
        ("今日はいい天気ですね。散歩に行きましょう。", "ja"),
        ("Hi", UNKNOWN),
        ("12345 + 333 = 12678, 17 x 4", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_languages_are_told_and_short_texts_are_not(text: str, expected: str) -> None:
    assert Languages().of((text,)) == expected


# ---- the clean version


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30)
contents = texts.filter(str.strip)
learned = st.sampled_from([None, True, False])


@st.composite
def talks(draw: st.DrawFn, *, ends: str = "") -> Conversation:
    messages = [Message("system", draw(contents))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        messages.append(Message("user", draw(contents), learn=draw(learned), name=draw(st.none() | contents)))
        messages.append(Message("assistant", draw(contents), learn=draw(learned)))
    calls = ({"type": "function", "function": {"name": "look", "arguments": {"at": draw(texts)}}},)
    if draw(st.booleans()):
        messages[-1] = Message("assistant", draw(st.just("") | contents), tool_calls=calls)
        messages += [Message("tool", draw(contents)), Message("assistant", draw(contents))]
    return Conversation(tuple(messages if ends or draw(st.booleans()) else messages[:-1]))


@st.composite
def pairs(draw: st.DrawFn) -> Preference:
    chosen = draw(talks(ends="assistant"))
    worse = draw(contents.filter(lambda text: text.strip() != chosen.messages[-1].content.strip()))
    return Preference(chosen, Conversation((*chosen.messages[:-1], Message("assistant", worse))))


kinds: list[st.SearchStrategy[Record]] = [
    contents.map(Document),
    talks(),
    pairs(),
    st.builds(Rated, talks(ends="assistant"), st.booleans()),
    st.builds(lambda text: Problem(conversation(text), "", {}), contents),
    st.builds(
        lambda text, value: Problem(conversation(text), "number", {"value": value}), contents, st.integers(-9, 9)
    ),
    st.builds(lambda text, right: Problem(conversation(text), "contains", {"accepted": [right]}), contents, contents),
]


@SLOW_DISK
@given(st.one_of([st.lists(kind, min_size=1, max_size=4) for kind in kinds]))
def test_what_is_written_reads_back_as_equal_records(tmp_path: Path, records: list[Record]) -> None:
    path = tmp_path / "out.jsonl"
    with clean.writing(path, overwrite=True) as out:
        for record in records:
            out.keep(record)
    read = source.gather(str(path))
    assert read.records == records, read.report.skipped
    assert all(one.source.line == line for line, one in enumerate(read.records, start=1))


def test_nothing_is_written_over_what_is_there_and_nothing_half(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("mine")
    with (
        pytest.raises(ConfigError, match=r"out\.jsonl exists; give another name, or replace it with --overwrite"),
        clean.writing(path),
    ):
        pass
    with pytest.raises(ConfigError, match=r"give the name of a \.jsonl file"), clean.writing(tmp_path / "out.csv"):
        pass
    with clean.writing(tmp_path / "mixed.jsonl") as out:
        out.keep(conversation("Hi", "Hello!"))
        with pytest.raises(DataError, match="is a document, but the rows before it are conversations"):
            out.keep(Document("Hello!"))
    with pytest.raises(TypeError, match="not JSON serializable"), clean.writing(path, True) as out:
        out.keep(Problem(conversation("Hi"), "contains", {"accepted": {"Ho"}}))
    assert path.read_text() == "mine"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["mixed.dropped.jsonl", "mixed.jsonl", "out.jsonl"]


# ---- nothing is lost


def lines() -> st.SearchStrategy[str]:
    """Lines of a JSONL file: good rows that are much alike, rows that teach nothing, and damage."""
    word = st.sampled_from(
        ["yes", "no", "User: me", "again and again", "<|im_end|>", "Ja, das ist gut so, mein lieber Freund."]
    )
    said = st.lists(word, min_size=1, max_size=40).map(" ".join)
    roles = ("user", "assistant")
    talk = st.lists(said, min_size=1, max_size=4).map(
        lambda turns: [{"role": roles[k % 2], "content": turn} for k, turn in enumerate(turns)]
    )
    good = talk.map(lambda turns: json.dumps({"messages": turns}))
    damage = st.sampled_from(['{"messages": 3}', "[1, 2]", "oops", '{"messages": [{"role": "user"}]}', '"text"', ""])
    return st.one_of(good, good, good, damage)


def checked(path: Path, out: Path | None = None, filters: list[str] | None = None) -> CheckReport:
    asked = Asked(filters=filters, wanted=Wanted(("en",)), first=2)
    if out is None:
        return analyse(source.open(str(path)), asked)
    with clean.writing(out, overwrite=True) as cleaned:
        return analyse(source.open(str(path)), asked, cleaned)


@SLOW_DISK
@given(
    st.lists(lines(), min_size=1, max_size=12),
    st.sampled_from([None, [], ["duplicate"], ["near_duplicate", "too_long"]]),
)
def test_rows_read_are_rows_used_and_rows_listed(tmp_path: Path, found: list[str], filters: list[str] | None) -> None:
    path, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    path.write_text(
        "\n".join([*found, '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}'])
    )
    report = checked(path, out, filters)
    assert report.read == sum(bool(line) for line in found) + 1
    assert report.read == report.kept + sum(row.rows for row in report.account.listed)
    assert report.kept == sum(report.kinds.values()) == sum(report.splits.values()) == sum(report.languages.values())
    places = [(row.file, row.line) for row in report.account.listed]
    assert len(set(places)) == len(places)
    assert all(row.reason for row in report.account.listed)
    kept, dropped = out.read_text().splitlines(), clean.dropped_path(out).read_text().splitlines()
    assert len(kept) + len(dropped) == report.read
    assert report.left is not None
    assert report.left.records == len(kept)
    assert all({"file", "line", "filter", "reason", "records"} == set(json.loads(line)) for line in dropped)
    assert json.loads(json.dumps(report.as_dict()))["read"] == report.read


@SLOW_DISK
@given(st.lists(lines(), min_size=1, max_size=12))
def test_the_clean_version_is_clean_and_says_what_its_rows_said(tmp_path: Path, found: list[str]) -> None:
    path, out, again = (tmp_path / name for name in ("in.jsonl", "out.jsonl", "again.jsonl"))
    path.write_text(
        "\n".join(['{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}', *found])
    )
    first = checked(path, out)
    second = checked(out, again)
    assert [one.rows for one in second.filters if one.chosen] == [0] * sum(one.chosen for one in second.filters)
    assert not second.account.listed
    assert clean.dropped_path(again).read_text() == ""
    assert out.read_text() == again.read_text()
    lost = {json.loads(line)["line"] for line in clean.dropped_path(out).read_text().splitlines()}
    kept = [one for one in source.gather(str(path)).records if one.source.line not in lost]
    assert source.gather(str(out)).records == kept
    assert first.left is not None
    assert first.left.records == second.read


def test_a_row_with_several_records_is_counted_once_and_only_where_none_is_used() -> None:
    good, silent = conversation("Hi", "Hello!"), conversation("Hi")
    place = Source("a.json", 7)
    tree = Conversation(good.messages, place), Conversation(silent.messages, place)
    look = Look(Asked())
    look.row(Used(tree, covers=5))
    look.row(Used((tree[1], tree[1]), covers=3))
    look.row(BadRow("a.json", 9, "broken", rows=2))
    look.row(BadRow("a.json", 11, "another language", "filtered", rows=4))
    account = look.account
    assert (account.read, account.used, account.records) == (14, 5, 4)
    assert [row.rows for row in account.listed] == [0, 3, 0, 2, 4]


def test_records_are_forgotten_but_for_a_small_sample() -> None:
    alive: weakref.WeakSet[Record] = weakref.WeakSet()

    def stream() -> Iterator[Used]:
        for number in range(2_000):
            record = Document(f"Text number {number} says {number * number}.", Source("a.txt", number))
            alive.add(record)
            yield Used((record,))

    look = Look(Asked(first=2))
    for found in stream():
        look.row(found)
    del found
    gc.collect()
    assert len(alive) <= SAMPLE + LOST + 10
    assert [one.source.line for one in look.first] == [0, 1]
    sampled = [one.source.line for one in look.sample]
    assert len(sampled) == SAMPLE
    assert all(a < b for a, b in pairwise(sampled))
    assert 700 < sum(sampled) / len(sampled) < 1_300  # from all over the data


@given(
    st.lists(
        st.one_of(
            st.sampled_from("abc").map(lambda text: conversation(text, "x")),
            st.integers(0, 40).map(lambda number: conversation(f"prompt {number}", "x")),
            st.integers(1, 60).map(lambda size: Document("A line of some length here.\n" * size)),
            st.just(Document("A page.\n\n" * 4_000)),
            st.just(Conversation(conversation("late", "x").messages, Source("c", 1, split="test"))),
        ),
        max_size=8,
    )
)
@settings(deadline=None, max_examples=60)
def test_splits_are_counted_as_training_cuts_them(records: list[Record]) -> None:
    tally = SplitTally()
    for record in records:
        tally.add(record)
    parts = split(records)
    counts, notes = tally.splits()
    assert counts == {"train": len(parts.train), "validation": len(parts.validation), "test": len(parts.test)}
    assert tuple(notes) == parts.notes


# ---- without the extra


def test_without_its_libraries_the_rest_of_a_check_still_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text('{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]}\n')
    for library in ("rensa", "py3langid", "py3langid.langid"):
        monkeypatch.setitem(sys.modules, library, None)
    language._identifier.cache_clear()
    report = analyse(source.open(str(path)))
    missing = "which is missing; pip install 'chatwright[data]'"
    assert f"near_duplicate is not looked for: near-duplicates are found with rensa, {missing}" in report.notes
    assert f"languages are not counted: languages are told with py3langid, {missing}" in report.notes
    assert (report.read, report.kept, report.languages) == (1, 1, {})
    for asked in (Asked(filters=["near_duplicate"]), Asked(wanted=Wanted(("en",)))):
        with pytest.raises(DataError, match="which is missing; pip install"):
            analyse(source.open(str(path)), asked)


# ---- advice


def test_what_is_found_is_followed_by_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    rows: list[dict[str, Any]] = [
        {
            "messages": [
                {"role": "user", "content": f"Question {k}"},
                {"role": "assistant", "content": "Hello! " * (1 + 9 * (k == 3))},
            ]
        }
        for k in range(5)
    ]
    path.write_text("\n".join([*map(json.dumps, rows), "oops"]))
    said = advice(checked(path))
    assert said[0].startswith("1 of 6 rows cannot be used: ")
    assert "(repetitive 1)" in said[-1]
    assert any("5 conversations by heart" in sentence for sentence in said)
    assert all("\n" not in sentence for sentence in said)
