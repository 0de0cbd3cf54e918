"""The engine: what it streams is what it says, stop strings are never shown, and company changes no sequence."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scripted_model import ScriptedModel
from tiny_models import random_ids, theirs, tiny_model, tiny_tokenizer

from chatwright.errors import ConfigError
from chatwright.generate.engine import Completion, Engine
from chatwright.generate.sampling import Sampling
from chatwright.models.gpt2 import GPT2
from chatwright.text.streaming import ByteStream

MIXED = "Grüße aus 東京 🙂‍↔️!"


class Pieces:
    """A vocabulary in which the token i stands for the i-th of these byte strings."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = pieces
        self.vocab_size = len(pieces) + 1  # and the end of a turn

    def decoder(self) -> ByteStream:
        return ByteStream(self.pieces, lambda ids: None)


def cut(text: bytes, places: Sequence[int]) -> list[bytes]:
    """A text cut into tokens at these places, wherever characters end."""
    bounds = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[a:b] for a, b in pairwise(bounds)]


def stream(pieces: Sequence[bytes], *, window: int = 400, **chosen: Any) -> tuple[list[str], Completion]:
    """What is shown step by step when the model says these tokens and then ends its turn, and what it came to."""
    end = len(pieces)
    model: Any = ScriptedModel([range(end)], end + 1, end, window=window)
    tokenizer: Any = Pieces(pieces)
    engine = Engine(model, tokenizer, [end])
    engine.add([0], Sampling(**{"max_tokens": 300, **chosen}))
    shown: list[str] = []
    while True:
        (piece,) = engine.step()
        shown.append(piece.text)
        if piece.completion is not None:
            assert not engine.busy
            return shown, piece.completion


def tiny_engine(stop_ids: Sequence[int] = (), max_batch: int = 64, **changes: Any) -> Engine:
    tokenizer = tiny_tokenizer()
    model = tiny_model(vocab_size=tokenizer.vocab_size, **changes)
    return Engine(model, tokenizer, stop_ids, max_batch=max_batch)


def drain(engine: Engine) -> dict[int, Completion]:
    done: dict[int, Completion] = {}
    while engine.busy:
        done.update({p.sequence: p.completion for p in engine.step() if p.completion is not None})
    return done


# ---- streaming


@given(text=st.text(alphabet="abc", max_size=30), places=st.lists(st.integers(0, 30)), data=st.data())
@settings(max_examples=200, deadline=None)
def test_a_stop_string_is_never_shown_even_in_part(text: str, places: list[int], data: st.DataObject) -> None:
    stop = tuple(data.draw(st.lists(st.text(alphabet="abc", min_size=1, max_size=5), min_size=1, max_size=3)))
    pieces = cut(text.encode(), places)
    shown, completion = stream(pieces, stop=stop)
    joined = "".join(shown)
    assert joined == completion.text
    assert not any(one in joined for one in stop)
    found = [place for place in (text.find(one) for one in stop) if place >= 0]
    assert completion.finish == ("string" if found else "stop")
    if len(found) <= 1:  # where two stop strings overlap, the one that is complete first decides
        assert joined == (text[: min(found)] if found else text)


@given(places=st.lists(st.integers(0, 60)), data=st.data())
@settings(max_examples=100, deadline=None)
def test_no_more_is_held_back_than_could_begin_a_stop_string(places: list[int], data: st.DataObject) -> None:
    text = data.draw(st.text(alphabet="ab\n", max_size=40))
    stop = "\nab"
    assume(stop not in text)
    pieces = cut(text.encode(), places)
    shown, _ = stream(pieces, stop=(stop,))
    for step in range(1, len(pieces) + 1):
        said, so_far = b"".join(pieces[:step]).decode(), "".join(shown[:step])
        held = said[len(so_far) :]
        assert stop.startswith(held)
        assert len(held) < len(stop)
    assert "".join(shown) == text  # what was held back comes at the end


@given(text=st.text(max_size=20), places=st.lists(st.integers(0, 80)))
@example(text=MIXED, places=list(range(60)))
@settings(max_examples=150, deadline=None)
def test_a_character_is_shown_whole_or_not_yet(text: str, places: list[int]) -> None:
    shown, completion = stream(cut(text.encode(), places))
    assert "".join(shown) == completion.text == text
    seen = ""
    for piece in shown:
        seen += piece
        assert text.startswith(seen)


@pytest.mark.parametrize("stop", ["東", "京 🙂", "🙂", "ß"])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_stop_strings_of_several_bytes_are_found_wherever_tokens_end(stop: str, size: int) -> None:
    shown, completion = stream(cut(MIXED.encode(), range(0, 60, size)), stop=(stop,))
    assert "".join(shown) == completion.text == MIXED[: MIXED.index(stop)]
    assert completion.finish == "string"


def test_only_a_model_that_ends_inside_a_character_shows_a_replacement() -> None:
    shown, completion = stream([b"a", "é".encode()[:1]])
    assert (shown, completion.text, completion.finish) == (["a", "", "\ufffd"], "a\ufffd", "stop")
    _, completion = stream([b"a", "é".encode()[:1]], stop=("\ufffd",))  # the flush can complete a stop string
    assert (completion.text, completion.finish) == ("a", "string")


# ---- how a sequence ends


@pytest.mark.parametrize(
    ("chosen", "finish", "text", "tokens"),
    [
        ({}, "stop", "abcdef", 6),
        ({"stop": ("de",)}, "string", "abc", 5),
        ({"stop": ("zz", "f")}, "string", "abcde", 6),
        ({"max_tokens": 4}, "length", "abcd", 4),
        ({"max_tokens": 4, "stop": ("dx",)}, "length", "abcd", 4),  # held back, then shown
        ({"max_tokens": 6}, "length", "abcdef", 6),
        ({"max_tokens": 7}, "stop", "abcdef", 6),
        ({"window": 5}, "context", "abcd", 4),
        ({"window": 5, "max_tokens": 4}, "length", "abcd", 4),
    ],
)
def test_each_way_to_end_is_told_apart(chosen: dict[str, Any], finish: str, text: str, tokens: int) -> None:
    shown, completion = stream(cut(b"abcdef", range(6)), **chosen)
    assert (completion.finish, completion.text, len(completion.ids)) == (finish, text, tokens)
    assert "".join(shown) == text


def test_a_prompt_must_leave_room_for_an_answer() -> None:
    engine = tiny_engine(n_positions=16)
    for prompt, says in (([], "no tokens"), ([1] * 16, "16 tokens.*window is 16"), ([1] * 99, "99 tokens")):
        with pytest.raises(ConfigError, match=says):
            engine.add(prompt, Sampling())
    assert not engine.busy
    (one,) = engine.generate([[1] * 15], Sampling())
    assert (len(one.ids), one.finish) == (1, "context")


def test_a_cancelled_sequence_frees_its_row_and_disturbs_nobody() -> None:
    engine = tiny_engine(max_batch=3)
    prompts = [random_ids(n, vocab_size=256, seed=n).tolist() for n in (3, 9, 5, 7)]
    alone = [tiny_engine().generate([prompt], Sampling(max_tokens=20))[0] for prompt in prompts]
    numbers = [engine.add(prompt, Sampling(max_tokens=20)) for prompt in prompts]  # the fourth waits
    for _ in range(5):
        engine.step()
    left = engine.cancel(numbers[0])
    assert left is not None
    assert left.finish == "cancelled"
    assert left.ids == alone[0].ids[:5]
    assert engine.cancel(numbers[0]) is None
    done = drain(engine)
    assert [done[number].ids for number in numbers[1:]] == [one.ids for one in alone[1:]]
    waiting = [engine.add(prompt, Sampling()) for prompt in prompts][-1]
    assert engine.cancel(waiting) == Completion((), "", "cancelled")
    for number in range(waiting - 3, waiting):
        engine.cancel(number)
    assert not engine.busy
    assert engine.step() == []


# ---- company


def greedy(model: GPT2, prompt: list[int], stop_ids: Sequence[int], new: int) -> list[int]:
    """What `transformers` answers, without the token that ended it."""
    out = theirs(model).generate(
        torch.tensor([prompt]), do_sample=False, max_new_tokens=new, eos_token_id=list(stop_ids), pad_token_id=0
    )
    ids: list[int] = out[0, len(prompt) :].tolist()
    return ids[:-1] if ids[-1] in stop_ids else ids


@pytest.mark.parametrize("max_batch", [1, 4, 64])
def test_many_sequences_together_give_the_greedy_ids_of_transformers(max_batch: int) -> None:
    stop_ids = range(0, 290, 5)
    engine = tiny_engine(stop_ids, max_batch, n_positions=128)
    assert isinstance(engine.model, GPT2)
    lengths = (1, 30, 4, 4, 17, 9, 80, 2, 41, 6, 12, 3)
    prompts = [random_ids(n, vocab_size=290, seed=i).tolist() for i, n in enumerate(lengths)]
    limits = [3 + 5 * (i % 7) for i in range(len(prompts))]
    numbers: dict[int, int] = {}
    done: dict[int, Completion] = {}
    for i, (prompt, limit) in enumerate(zip(prompts, limits, strict=True)):  # they arrive while others are answered
        numbers[engine.add(prompt, Sampling(max_tokens=limit))] = i
        done.update({numbers[p.sequence]: p.completion for p in engine.step() if p.completion is not None})
    done.update({numbers[number]: completion for number, completion in drain(engine).items()})
    for i, (prompt, limit) in enumerate(zip(prompts, limits, strict=True)):
        expected = greedy(engine.model, prompt, stop_ids, limit)
        assert list(done[i].ids) == expected, (i, len(prompt), limit)
        assert done[i].finish == ("length" if len(expected) == limit else "stop")
        assert done[i].text == engine.tokenizer.decode(expected)
    assert {one.finish for one in done.values()} == {"stop", "length"}


def test_a_full_window_ends_the_answer_where_transformers_ends_it() -> None:
    engine = tiny_engine(n_positions=32)
    assert isinstance(engine.model, GPT2)
    prompts = [random_ids(n, vocab_size=290, seed=n).tolist() for n in (20, 31, 5)]
    for prompt, one in zip(prompts, engine.generate(prompts, Sampling(max_tokens=500)), strict=True):
        assert one.finish == "context"
        assert list(one.ids) == greedy(engine.model, prompt, [], 32 - len(prompt))


@pytest.mark.parametrize("seed", [0, 1, 2**62])
def test_the_same_seed_gives_the_same_text_alone_and_among_eight_others(seed: int) -> None:
    chosen = Sampling(max_tokens=30, temperature=1.0, top_p=0.95, repetition_penalty=1.1, seed=seed)
    prompt = [65, 66, 67]
    alone = tiny_engine().generate([prompt], chosen)[0]
    engine = tiny_engine()
    others = [random_ids(n, vocab_size=256, seed=n).tolist() for n in range(2, 10)]
    for place, other in enumerate(others):
        engine.add(other, Sampling(max_tokens=4 * place + 1, temperature=0.7, seed=place))
        if place == 4:
            number = engine.add(prompt, chosen)
            engine.step()
    assert drain(engine)[number] == alone
    assert tiny_engine().generate([prompt], Sampling(max_tokens=30, temperature=1.0, seed=seed + 1))[0] != alone


class Counted:
    """A model that counts the tokens it reads."""

    def __init__(self, model: Any) -> None:
        self.model, self.read = model, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def trunk(self, ids: torch.Tensor, **how: Any) -> torch.Tensor:
        self.read += ids.numel()
        found: torch.Tensor = self.model.trunk(ids, **how)
        return found


@pytest.mark.parametrize("max_batch", [3, 64])
def test_sequences_with_the_same_prompt_read_it_once_and_say_what_they_say_alone(max_batch: int) -> None:
    prompts = [random_ids(n, vocab_size=256, seed=n).tolist() for n in (9, 4, 17)]
    asked = [(prompts[place], seed) for seed, place in enumerate((0, 1, 0, 2, 1, 0, 0, 2))]
    ways = [Sampling(max_tokens=12, temperature=1.0, seed=seed) for _, seed in asked]
    alone = [tiny_engine().generate([prompt], way)[0] for (prompt, _), way in zip(asked, ways, strict=True)]
    engine = tiny_engine(max_batch=max_batch)
    engine.model = counted = Counted(engine.model)  # type: ignore[assignment]
    numbers = [engine.add(prompt, way) for (prompt, _), way in zip(asked, ways, strict=True)]
    engine.step()
    assert counted.read == (3 * 17 if max_batch == 64 else 2 * 9)
    done = drain(engine)
    assert [done[number] for number in numbers] == alone


def test_the_token_that_ended_an_answer_is_told() -> None:
    engine = tiny_engine(stop_ids=range(0, 290, 3))
    prompts = [random_ids(5, vocab_size=256, seed=n).tolist() for n in range(20)]
    done = engine.generate(prompts, Sampling(max_tokens=6))
    assert {one.finish for one in done} == {"stop", "length"}
    for prompt, one in zip(prompts, done, strict=True):
        if one.finish == "length":
            assert one.end is None
        else:
            assert one.end in engine.stop_ids
            assert engine.model.forward(torch.tensor([[*prompt, *one.ids]]))[0, -1].argmax() == one.end
