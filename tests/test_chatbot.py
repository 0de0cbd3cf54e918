"""The chatbot: pieces joined are the answer, long talks lose whole oldest turns, and answers can be read in turns."""

from itertools import zip_longest

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_model import scripted_chatbot
from tiny_models import tiny_checkpoint

from chatwright.errors import ConfigError
from chatwright.generate.chatbot import Chatbot
from chatwright.generate.sampling import Sampling
from chatwright.text.records import Conversation, conversation

FEW = Sampling(max_tokens=12)


@pytest.fixture(scope="module")
def bot() -> Chatbot:
    return Chatbot(tiny_checkpoint("chatml", n_positions=128), device="cpu")


@pytest.mark.parametrize("template", [None, "plain", "chatml"])
def test_pieces_joined_are_the_answer_and_that_of_a_batch(template: str | None) -> None:
    bot = Chatbot(tiny_checkpoint(template, n_positions=128), device="cpu")
    prompts = ["Hi", "What is the capital of France?", "東京"]
    for prompt, together in zip(prompts, bot.replies(prompts, FEW), strict=True):
        pieces = list(bot.reply(prompt, FEW))
        assert "".join(pieces) == together.text
        assert bot.last == together


def test_an_answer_that_is_left_half_way_is_cancelled(bot: Chatbot) -> None:
    pieces = bot.reply("Hi", Sampling(max_tokens=100))
    first = next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    assert bot.last is not None
    assert (bot.last.finish, bot.last.text[: len(first)]) == ("cancelled", first)
    assert not bot.engine.busy


def test_two_answers_can_be_read_in_turns(bot: Chatbot) -> None:
    prompts = ["Hi", "What is the capital of France?"]
    alone = ["".join(bot.reply(prompt, FEW)) for prompt in prompts]
    streams = [bot.reply(prompt, FEW) for prompt in prompts]
    found = ["", ""]
    for pieces in zip_longest(*streams, fillvalue=""):
        found = [text + piece for text, piece in zip(found, pieces, strict=True)]
    assert found == alone
    half = bot.reply(prompts[0], FEW)  # or one be left open while others are answered whole
    start = next(half)
    assert [one.text for one in bot.replies(prompts, FEW)] == alone
    assert start + "".join(half) == alone[0]
    assert not bot.engine.busy


def test_a_base_model_stops_where_it_speaks_for_the_user() -> None:
    bot = scripted_chatbot("Hello!\nUser: And you?", template="plain")
    bot.checkpoint.own_template = False
    assert "".join(bot.reply("Hi")) == "Hello!"
    assert bot.last is not None
    assert bot.last.finish == "string"
    tuned = scripted_chatbot("Hello!\nUser: And you?", template="plain")
    assert "".join(tuned.reply("Hi")) == "Hello!\nUser: And you?"
    assert tuned.last is not None
    assert tuned.last.finish == "stop"


# ---- a window that is too small


def length(bot: Chatbot, talk: Conversation) -> int:
    return len(bot.checkpoint.render(talk, reply=True).ids)


@given(words=st.lists(st.integers(1, 6), min_size=1, max_size=9), system=st.booleans(), reserve=st.integers(1, 200))
@settings(max_examples=80, deadline=None)
def test_a_long_conversation_loses_as_many_whole_oldest_exchanges_as_it_must(
    bot: Chatbot, words: list[int], system: bool, reserve: int
) -> None:
    turns = [f"{'word ' * count}{place}" for place, count in enumerate(words)]
    turns = turns[: len(turns) - (len(turns) + 1) % 2]  # the user speaks last
    talk = conversation(*turns, system="Be kind." if system else "")
    window = bot.checkpoint.model.config.context_length
    room = window - min(reserve, window // 4)
    kept, dropped = bot.fit(talk, reserve)
    assert length(bot, kept) <= room
    assert dropped % 2 == 0
    assert len(kept) == len(talk) - dropped
    assert kept.messages[system:] == talk.messages[system + dropped :]
    assert kept.messages[:system] == talk.messages[:system]
    if dropped:  # and not one exchange more
        more = Conversation((*talk.messages[:system], *talk.messages[system + dropped - 2 :]))
        assert length(bot, more) > room


def test_what_was_dropped_can_be_seen(bot: Chatbot) -> None:
    talk = conversation(*["word " * 9] * 9)
    list(bot.reply(talk, FEW))
    assert bot.dropped > 0
    list(bot.reply("Hi", FEW))
    assert bot.dropped == 0


def test_a_message_that_never_fits_is_refused_with_both_numbers(bot: Chatbot) -> None:
    with pytest.raises(ConfigError, match=r"the message has \d+ tokens with its frame, but the model's window is 128"):
        next(bot.reply("word " * 200, FEW))
    with pytest.raises(ConfigError, match="assistant"):
        next(bot.reply(conversation("Hi", "Hello"), FEW))
    assert not bot.engine.busy
