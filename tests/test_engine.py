"""The engine: what it streams is what it says, stop strings are never shown, and company changes no sequence."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scripted_model import ScriptedModel
from tiny_models import random_ids, theirs, tiny_model, tiny_tokenizer

from chatwright.errors import ConfigError
from chatwright.generate.capacity import Capacity
from chatwright.generate.completion import Completion
from chatwright.generate.engine import Engine
from chatwright.generate.sampling import Sampling
from chatwright.generate.speculation import LookUp
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


def tiny_engine(
    stop_ids: Sequence[int] = (), max_batch: int = 64, capacity: dict[str, Any] | None = None, **changes: Any
) -> Engine:
    tokenizer = tiny_tokenizer()
    model = tiny_model(vocab_size=tokenizer.vocab_size, **changes)
    return Engine(model, tokenizer, stop_ids, Capacity(max_batch=max_batch, **(capacity or {})))


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
        self.model, self.read, self.passes = model, 0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def trunk(self, ids: torch.Tensor, **how: Any) -> torch.Tensor:
        self.read += ids.numel()
        self.passes += 1
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


# ---- reading


WAYS = [Sampling(max_tokens=12), Sampling(max_tokens=12, temperature=1.0, seed=5)]


@pytest.mark.parametrize("chunk", [1, 7, 32, 100])
@pytest.mark.parametrize("way", WAYS, ids=["greedy", "seeded"])
def test_a_prompt_that_is_read_in_chunks_is_answered_as_one_that_is_read_whole(chunk: int, way: Sampling) -> None:
    prompts = [random_ids(n, vocab_size=256, seed=n).tolist() for n in (3, 90, 41, 41, 64, 8)]
    whole = tiny_engine(n_positions=128).generate(prompts, way)
    assert tiny_engine(n_positions=128, capacity={"chunk": chunk}).generate(prompts, way) == whole


def test_a_running_sequence_gets_a_token_in_every_step_while_a_long_prompt_is_read() -> None:
    engine = tiny_engine(n_positions=128, capacity={"chunk": 16})
    engine.model = counted = Counted(engine.model)  # type: ignore[assignment]
    short = engine.add([65, 66, 67], Sampling(max_tokens=50))
    engine.step()
    long = engine.add(random_ids(100, vocab_size=256).tolist(), Sampling(max_tokens=5))
    steps = 0
    while True:
        before = counted.read
        news = {piece.sequence: piece for piece in engine.step()}
        steps += 1
        assert short in news
        assert counted.read - before <= 16 + 2  # a chunk, and a token of each that runs
        if long in news:
            break
    assert steps == 7  # 100 tokens in chunks of 16


def test_the_next_turn_reads_only_what_is_new() -> None:
    engine = tiny_engine(n_positions=256, capacity={"prefix_tokens": 1024})
    engine.model = counted = Counted(engine.model)  # type: ignore[assignment]
    talk = random_ids(70, vocab_size=256).tolist()
    for _ in range(3):
        (answer,) = engine.generate([talk], Sampling(max_tokens=20))
        talk = [*talk, *answer.ids, *random_ids(9, vocab_size=256, seed=len(talk)).tolist()]
    (fresh,) = tiny_engine(n_positions=256).generate([talk], Sampling(max_tokens=20))
    before = counted.read
    (again,) = engine.generate([talk], Sampling(max_tokens=20))
    assert again.ids == fresh.ids
    # of all that stands in whole blocks of 32 tokens nothing is read but the newest words, and of the answer all but its end
    assert again.reused >= len(talk) - 9 - 32
    assert counted.read - before == len(talk) - again.reused + 19
    assert fresh.reused == 0


@pytest.mark.parametrize("length", [32, 64, 65])
def test_a_prompt_that_is_known_whole_is_still_read_at_its_end_whose_logits_are_wanted(length: int) -> None:
    engine = tiny_engine(n_positions=128, capacity={"prefix_tokens": 1024})
    prompt = random_ids(length, vocab_size=256).tolist()
    first, again = (engine.generate([prompt], Sampling(max_tokens=5))[0] for _ in range(2))
    assert again.ids == first.ids
    assert again.reused == (length - 1) // 32 * 32


def test_a_system_text_that_several_share_is_read_once() -> None:
    engine = tiny_engine(n_positions=256, capacity={"prefix_tokens": 1024})
    system = random_ids(128, vocab_size=256).tolist()
    prompts = [[*system, *random_ids(5 + n, vocab_size=256, seed=n).tolist()] for n in range(6)]
    engine.generate(prompts[:1], Sampling(max_tokens=4))
    rest = engine.generate(prompts[1:], Sampling(max_tokens=4))
    assert {one.reused for one in rest} == {128}
    fresh = tiny_engine(n_positions=256).generate(prompts[1:], Sampling(max_tokens=4))
    assert [one.ids for one in rest] == [one.ids for one in fresh]


@given(data=st.data(), tokens=st.sampled_from([0, 31, 64, 96, 256]))
@settings(max_examples=15, deadline=None)
def test_answers_are_the_same_whatever_is_kept_and_dropped_of_earlier_ones(data: st.DataObject, tokens: int) -> None:
    engine = tiny_engine(n_positions=160, capacity={"prefix_tokens": tokens})
    alone = Engine(engine.model, engine.tokenizer, ())
    stems = [random_ids(96, vocab_size=256, seed=n).tolist() for n in range(2)]
    cuts = st.tuples(st.integers(0, 1), st.integers(1, 96), st.integers(0, 3))
    for batch in data.draw(st.lists(st.lists(cuts, min_size=1, max_size=3), min_size=1, max_size=5)):
        prompts = [[*stems[stem][:length], *([7] * tail)] for stem, length, tail in batch]
        found = [one.ids for one in engine.generate(prompts, Sampling(max_tokens=6))]
        assert found == [alone.generate([p], Sampling(max_tokens=6))[0].ids for p in prompts]
        assert engine.prefixes.used <= tokens


def test_the_cache_never_holds_more_than_its_budget_and_everything_is_answered() -> None:
    engine = tiny_engine(n_positions=128, capacity={"kv_tokens": 300})
    prompts = [random_ids(n, vocab_size=256, seed=n).tolist() for n in (3, 100, 5, 9, 90, 4, 4, 60)]
    alone = [tiny_engine(n_positions=128).generate([p], Sampling(max_tokens=25))[0].ids for p in prompts]
    numbers = [engine.add(prompt, Sampling(max_tokens=25)) for prompt in prompts]
    done: dict[int, Completion] = {}
    most = 0
    while engine.busy:
        done.update({p.sequence: p.completion for p in engine.step() if p.completion is not None})
        assert engine.held <= 300
        most = max(most, engine.running)
    assert [done[number].ids for number in numbers] == alone
    assert most >= 2
    with pytest.raises(ConfigError, match="kv_tokens is 100; it must hold one window of the model, 128 tokens"):
        tiny_engine(n_positions=128, capacity={"kv_tokens": 100})


# ---- company


@pytest.mark.parametrize("way", [Sampling(max_tokens=8), Sampling(max_tokens=8, temperature=1.0, seed=3)], ids=str)
def test_two_hundred_prompts_of_unequal_length_say_the_same_alone_and_among_eight(way: Sampling) -> None:
    prompts = [random_ids(1 + 7 * n % 61, vocab_size=256, seed=n).tolist() for n in range(200)]
    together = tiny_engine(max_batch=9, n_positions=128).generate(prompts, way)
    alone = tiny_engine(n_positions=128)
    assert [alone.generate([prompt], way)[0].ids for prompt in prompts] == [one.ids for one in together]


def lowered(capacity: dict[str, Any] | None = None) -> Engine:
    engine = tiny_engine(max_batch=9, n_positions=128, capacity=capacity)
    engine.model.to(torch.bfloat16)  # type: ignore[attr-defined]
    return engine


def test_in_bf16_texts_part_only_where_two_tokens_were_as_good() -> None:
    prompts = [random_ids(1 + 7 * n % 61, vocab_size=256, seed=n).tolist() for n in range(60)]
    way = Sampling(max_tokens=12)
    engine = lowered()
    parted = 0
    for prompt, together in zip(prompts, lowered().generate(prompts, way), strict=True):
        (alone,) = engine.generate([prompt], way)
        if alone.ids == together.ids:
            continue
        parted += 1
        place = next(i for i, pair in enumerate(zip(alone.ids, together.ids, strict=False)) if len(set(pair)) > 1)
        logits = engine.model.forward(torch.tensor([[*prompt, *alone.ids[:place]]]))[0, -1].detach().float()
        gap = abs(float(logits[alone.ids[place]] - logits[together.ids[place]]))
        assert gap <= 2e-2 * max(1.0, float(logits.abs().max()))
    assert parted < 20


@pytest.mark.parametrize("way", WAYS, ids=["greedy", "seeded"])
def test_a_deterministic_engine_says_the_same_in_any_company_in_bf16(way: Sampling) -> None:
    fixed = {"deterministic": True, "chunk": 32}
    prompts = [random_ids(1 + 11 * n % 97, vocab_size=256, seed=n).tolist() for n in range(40)]
    together = lowered(fixed).generate(prompts, way)
    assert [lowered(fixed).generate([prompt], way)[0] for prompt in prompts] == together
    remembering = lowered({**fixed, "prefix_tokens": 4096})
    for _ in range(2):  # the second time, most is there already
        again = remembering.generate(prompts, way)
        assert [one.ids for one in again] == [one.ids for one in together]
    assert max(one.reused for one in again) == 64


@pytest.mark.parametrize("way", WAYS, ids=["greedy", "seeded"])
@pytest.mark.parametrize("chosen", [{}, {"max_tokens": 7}, {"stop": ("a",)}, {"repetition_penalty": 1.3}], ids=str)
def test_guessing_ahead_changes_no_token_and_needs_fewer_passes(way: Sampling, chosen: dict[str, Any]) -> None:
    way = replace(way, **{"max_tokens": 60, "temperature": way.temperature / 4, **chosen})
    plain, ahead = (tiny_engine(n_positions=96, capacity={"speculate": most}) for most in (0, 8))
    plain.stop_ids = ahead.stop_ids = frozenset(range(0, 290, 40))
    ahead.model = counted = Counted(ahead.model)  # type: ignore[assignment]
    tokens = 0
    for seed in range(12):
        prompt = random_ids(5, vocab_size=40, seed=seed).tolist() * (1 + seed % 4)
        (expected,), (found,) = plain.generate([prompt], way), ahead.generate([prompt], way)
        assert found == expected
        tokens += len(found.ids)
    if not chosen:
        assert counted.passes < 0.9 * tokens


def test_what_is_guessed_is_what_followed_the_same_tokens_last_time() -> None:
    look = LookUp()
    assert look.guess([1, 2, 3, 4], 8) == []
    assert look.guess([1, 2, 3, 4, 1, 2], 8) == [3, 4]
    look.learn(2, 2)
    assert look.guess([1, 2, 3, 4, 1, 2, 3], 8) == [4, 1, 2, 3]
    assert look.guess([1, 2, 3, 4, 1, 2, 3], 1) == [4]
    look.learn(4, 0)
    assert look.guess([1, 2, 3, 4, 1, 2, 3, 9, 2, 3], 8) == [9]  # the last time, and wrong guesses make it careful


# ---- faults


class Poison(Exception):
    """What breaks."""


class Poisoned(Counted):
    """A model that breaks on one token."""

    def trunk(self, ids: torch.Tensor, **how: Any) -> torch.Tensor:
        if bool((ids == 255).any()):
            raise Poison
        return super().trunk(ids, **how)


@pytest.mark.parametrize("place", [0, 1, 5])
def test_a_sequence_that_breaks_the_model_ends_alone(place: int) -> None:
    prompts = [random_ids(n, vocab_size=255, seed=n).tolist() for n in (9, 4, 17, 4, 30, 2)]
    ways = [Sampling(max_tokens=15, temperature=1.0, seed=n, logit_bias=((255, -100.0),)) for n in range(6)]
    alone = [tiny_engine().generate([prompt], way)[0] for prompt, way in zip(prompts, ways, strict=True)]
    bad = Sampling(max_tokens=9, logit_bias=((255, 100.0),))  # its first token is the poison, which the next step reads
    engine = tiny_engine()
    engine.model = Poisoned(engine.model)  # type: ignore[assignment]
    numbers = [engine.add(prompt, way) for prompt, way in zip(prompts[:place], ways[:place], strict=True)]
    first = engine.step() if place else []
    culprits = [engine.add([1, 2, 3], bad), engine.add([255, 2], Sampling())]
    numbers += [engine.add(prompt, way) for prompt, way in zip(prompts[place:], ways[place:], strict=True)]
    done: dict[int, Completion] = {}
    said = {number: "".join(piece.text for piece in first if piece.sequence == number) for number in numbers}
    blamed = []
    while engine.busy:
        try:
            news = engine.step()
        except Poison:
            blamed.append(engine.recover())
            continue
        for piece in news:
            if piece.sequence in said:
                said[piece.sequence] += piece.text
            if piece.completion is not None:
                done[piece.sequence] = piece.completion
    assert sorted(one for one in blamed if one is not None) == sorted(culprits)
    assert [done[number].ids for number in numbers] == [one.ids for one in alone]
    assert [said[number] for number in numbers] == [one.text for one in alone]


def test_log_probabilities_come_with_the_tokens_they_belong_to() -> None:
    engine = tiny_engine(stop_ids=range(0, 290, 9))
    engine.add([65, 66, 67], Sampling(max_tokens=20, temperature=1.0, logprobs=2, seed=1))
    engine.add([65, 66], Sampling(max_tokens=20))
    told: dict[int, list[Any]] = {1: [], 2: []}
    done: dict[int, Completion] = {}
    while engine.busy:
        for piece in engine.step():
            told[piece.sequence] += piece.tokens
            if piece.completion is not None:
                done[piece.sequence] = piece.completion
    assert told[2] == []
    assert tuple(token.id for token in told[1]) == done[1].ids
    logits = engine.model.forward(torch.tensor([[65, 66, 67, *done[1].ids]]))[0, 2:].detach().log_softmax(-1)
    for place, token in enumerate(told[1]):
        assert token.logprob == pytest.approx(float(logits[place, token.id]), abs=1e-4)
        assert [number for number, _ in token.top] == logits[place].topk(2).indices.tolist()


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
