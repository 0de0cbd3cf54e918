"""Log-probabilities: tokens as texts in any vocabulary, told as they come, and characters that are never cut in two."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from running_server import Running, chat, paced
from small_vocabularies import byte_level, sentencepiece

from chatwright.checkpoint import Checkpoint
from chatwright.generate.completion import Token
from chatwright.serve.schema.forms import ChatForm, TextForm
from chatwright.serve.spelled import SpelledTokens, Spelling
from chatwright.text.tokenizer import Tokenizer

CUT = "\N{REPLACEMENT CHARACTER}"
CYCLE = "é東🙂"  # nine bytes, all different, so that each can be followed by one other


@pytest.fixture(scope="module", params=["byte-level", "prepend", "first", "gemma"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    """GPT-2's, Llama-2's, Mistral's and Gemma's way; the two in the middle take away the space that a text begins with."""
    if request.param == "byte-level":
        return Tokenizer(byte_level(("<|end|>",)).encode())
    description = json.loads(sentencepiece(request.param, ("<unk>", "<s>", "</s>")))
    if request.param != "gemma":
        description["decoder"]["decoders"].append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return Tokenizer(json.dumps(description).encode())


@given(text=st.text("the Paris is.né東 \n", min_size=1, max_size=30))
@settings(max_examples=40, deadline=None)
def test_the_tokens_of_any_vocabulary_spell_the_answer(tokenizer: Tokenizer, text: str) -> None:
    """SentencePiece's decoders take the space of a lone token away; inside an answer it is there."""
    ids = tokenizer.encode(text)
    tokens = [Token(number, -1.0, ((number, -1.0),)) for number in ids]
    told = SpelledTokens(Spelling(tokenizer)).push(tokens, tokenizer.decode(ids), ended=True, cut=False)
    assert [one.top[0].raw for one in told] == [one.raw for one in told]
    assert b"".join(one.raw for one in told).decode() == tokenizer.decode(ids)


def cycling() -> Checkpoint:
    """It says é東🙂 again and again, a byte a token."""
    checkpoint = paced(window=200)
    model: Any = checkpoint.model
    before = [ord("\n"), *CYCLE.encode()]
    model.following[before] = model.following.new_tensor([*CYCLE.encode(), CYCLE.encode()[0]])
    return checkpoint


def test_a_character_is_never_shown_in_parts_but_where_the_answer_ends_inside_it() -> None:
    with Running({"m": cycling()}) as server, server.web() as web:
        for most, text in (
            (18, CYCLE * 2),
            (20, CYCLE * 2 + "é"),
            (22, CYCLE * 2 + "é" + CUT),
            (25, CYCLE * 2 + "é東" + CUT),
        ):
            whole = web.post("/v1/chat/completions", json=chat(max_tokens=most)).json()["choices"][0]
            assert (whole["message"]["content"], whole["finish_reason"]) == (text, "length")
            events = web.post("/v1/chat/completions", json=chat(max_tokens=most, stream=True)).text.split("\n\n")
            chunks = [json.loads(event[6:])["choices"][0]["delta"].get("content") or "" for event in events[:-2]]
            assert "".join(chunks) == text
            assert [chunk for chunk in chunks if CUT in chunk] == ([CUT] if CUT in text else [])


def test_a_part_of_a_character_has_its_own_bytes() -> None:
    """The text of é東🙂, cut into bytes: U+FFFD for each as text, and their bytes joined are the answer."""
    with Running({"m": cycling()}) as server, server.web() as web:
        asked = chat(max_tokens=9, logprobs=True, top_logprobs=1)
        tokens = web.post("/v1/chat/completions", json=asked).json()["choices"][0]["logprobs"]["content"]
        assert [token["token"] for token in tokens] == [CUT] * 9
        assert bytes(byte for token in tokens for byte in token["bytes"]).decode() == CYCLE
        assert [token["top_logprobs"][0]["bytes"] for token in tokens] == [token["bytes"] for token in tokens]
        asked = {"model": "m", "prompt": "\n", "max_tokens": 9, "logprobs": 3}
        told = web.post("/v1/completions", json=asked).json()["choices"][0]["logprobs"]
    assert told["tokens"][:2] == ["bytes:\\xc3", "bytes:\\xa9"]
    assert [len(top) for top in told["top_logprobs"]] == [3] * 9, "no two of them are spelled the same"


@pytest.mark.parametrize("form", [ChatForm, TextForm])
def test_log_probabilities_are_written_as_they_come(form: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a long answer, written when it is whole, would stop every stream for so long, and be held until then."""
    active: list[int] = []
    row = form.row
    with Running({"m": paced(pause=0.002, window=600)}) as server, server.web() as web:
        monkeypatch.setattr(
            form, "row", lambda self, one: (active.append(server.figures()["active"]), row(self, one))[1]
        )
        chats = form is ChatForm
        body = chat(logprobs=True, top_logprobs=5) if chats else {"model": "m", "prompt": "a", "logprobs": 5}
        path = "/v1/chat/completions" if chats else "/v1/completions"
        assert web.post(path, json={**body, "max_tokens": 100, "n": 2}).status_code == 200
    assert len(active) == 200
    assert sum(number > 0 for number in active) > 150


def test_an_answer_without_text_has_empty_lists() -> None:
    """Everything was cut off by a stop string: the lists are there all the same."""
    with Running({"m": paced(window=200)}) as server, server.web() as web:
        told = web.post("/v1/chat/completions", json=chat(stop="a", logprobs=True)).json()["choices"][0]
        assert (told["message"]["content"], told["logprobs"]["content"]) == ("", [])
        body = {"model": "m", "prompt": ":", "stop": "a", "logprobs": 1, "max_tokens": 3}
        told = web.post("/v1/completions", json=body).json()["choices"][0]
    assert told["logprobs"] == {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
