"""What is streamed is what is said: stop strings at every seam, characters of several bytes, tokens with their texts."""

from collections.abc import Iterator
from typing import Any

import pytest
import stream_clients
from byte_tokenizer import ByteTokenizer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running_server import Running, chat, paced, served
from tiny_models import tiny_checkpoint

from chatwright.generate.completion import Token
from chatwright.serve.asked import Asked
from chatwright.serve.errors import Refused
from chatwright.serve.prompts import prepared
from chatwright.serve.spelled import SpelledTokens, Spelling
from chatwright.text.records import conversation

CUT = "\N{REPLACEMENT CHARACTER}"
ALPHABET = "abcdefghijklmnopqrstuvwxyz"
MANY = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with Running({"m": paced(window=400), "random": tiny_checkpoint("chatml", n_positions=128)}) as server:
        yield server


def both(running: Running, body: dict[str, Any]) -> tuple[str, str]:
    """The answer as a whole and as a stream."""
    with running.web() as web:
        whole = web.post("/v1/chat/completions", json=body)
    assert whole.status_code == 200, whole.text
    (stream,) = stream_clients.run(running.url, [body])
    assert not stream.fault
    return whole.json()["choices"][0]["message"]["content"], stream.text


@MANY
@given(
    stops=st.lists(
        st.tuples(st.integers(0, 60), st.integers(1, 30)).map(lambda cut: (ALPHABET * 4)[cut[0] : cut[0] + cut[1]]),
        min_size=1,
        max_size=4,
    )
)
def test_whatever_the_stop_strings_are_nothing_of_them_is_ever_shown(running: Running, stops: list[str]) -> None:
    said = ALPHABET * 4
    places = [(place + len(stop), place) for stop in stops if (place := said.find(stop)) >= 0]
    whole = min((complete for complete, _ in places), default=0)  # the first to be complete ends the answer
    end = min((place for complete, place in places if complete == whole), default=len(said))
    assert both(running, chat(stop=stops, max_tokens=len(said))) == (said[:end], said[:end])


@MANY
@given(seed=st.integers(0, 1000), stop=st.sampled_from(["\N{REPLACEMENT CHARACTER}", "e", " ", "é", "🙂", "\n"]))
def test_a_stream_of_any_bytes_is_the_whole_answer_in_pieces(running: Running, seed: int, stop: str) -> None:
    whole, streamed = both(running, chat(temperature=1.5, seed=seed, max_tokens=60, stop=stop) | {"model": "random"})
    assert whole == streamed
    assert stop not in whole


@given(text=st.text(max_size=30), data=st.data())
def test_tokens_are_told_with_their_text_and_not_before(text: str, data: st.DataObject) -> None:
    """The text is given out later than its tokens, in pieces that are cut anywhere."""
    tokenizer: Any = ByteTokenizer()
    spelled = SpelledTokens(Spelling(tokenizer))
    ids = tokenizer.encode(text)
    told, shown = [], 0
    decoder = tokenizer.decoder()
    decoded = ""
    for number in ids:
        decoded += decoder.push(number)
        place = data.draw(st.integers(shown, len(decoded)))
        told += spelled.push([Token(number, -1.0, ())], decoded[shown:place], ended=False, cut=False)
        shown = place
        ends = [one.start + (CUT not in one.text and len(one.text)) for one in told]
        assert max(ends, default=0) <= shown
    told += spelled.push([], text[shown:], ended=True, cut=False)
    assert len(told) == len(ids)
    assert [one.start for one in told] == sorted(one.start for one in told)
    assert b"".join(one.raw for one in told).decode() == text


def test_a_prompt_leaves_room_for_its_answer_and_says_both_numbers_when_it_does_not() -> None:
    one = served("m", paced(window=100))
    fits = prepared(one, Asked("m", ("x" * 99,)))
    assert (len(fits.prompts[0].ids), fits.ways[0].max_tokens) == (99, 1)
    with pytest.raises(Refused, match="has at least 100 tokens, but the context of this model is 100"):
        prepared(one, Asked("m", ("x" * 100,)))
    with pytest.raises(Refused, match="has 100 tokens, but the context of this model is 100"):
        prepared(one, Asked("m", ((97,) * 100,)))


def test_what_a_request_leaves_out_the_server_decides() -> None:
    one = served("m", paced(), temperature=0.3, top_p=0.9)
    way = prepared(one, Asked("m", (conversation("hi"),))).ways[0]
    assert (way.temperature, way.top_p, way.top_k) == (0.3, 0.9, 0)
    way = prepared(one, Asked("m", (conversation("hi"),), knobs={"temperature": 0.0, "seed": 4})).ways[0]
    assert (way.temperature, way.top_p, way.seed) == (0.0, 0.9, 4)
    seeds = {prepared(one, Asked("m", ("a",))).ways[0].seed for _ in range(10)}
    assert len(seeds) == 10


def test_a_base_model_stops_where_the_user_would_speak() -> None:
    base = served("m", tiny_checkpoint())
    assert prepared(base, Asked("m", (conversation("hi"),))).ways[0].stop == ("\nUser:",)
    assert prepared(base, Asked("m", ("hi",))).ways[0].stop == ()


def test_of_a_talk_that_is_too_long_the_newest_and_the_system_text_are_kept() -> None:
    one = served("m", paced(window=200))
    turns = [f"{number:02} {'x' * 20}" for number in range(21)]
    ready = prepared(one, Asked("m", (conversation(*turns, system="be brief"),), truncate=True, max_tokens=20))
    text = one.checkpoint.tokenizer.decode(ready.prompts[0].ids)
    assert "be brief" in text
    assert "20 x" in text
    assert "00 x" not in text
    assert ready.left_out == {"messages": ready.prompts[0].messages}
    assert len(ready.prompts[0].ids) + 20 <= 200
    assert prepared(one, Asked("m", (conversation("hi"),), truncate=True)).left_out == {}
