"""The three templates to the letter, and what they refuse."""

from itertools import groupby

import pytest
from byte_tokenizer import SPECIAL, ByteTokenizer

from chatwright.errors import ConfigError, DataError
from chatwright.text import template
from chatwright.text.records import Conversation, Document, Message, Source, conversation

TEMPLATES = ("plain", "chatml", "alpaca")


# ---- the three layouts, to the letter


def test_plain_to_the_letter():
    shown = shows("plain", conversation(" Hi\n", "\tHello! ", "Bye", "Bye!", system="Be kind."))
    assert shown == "Be kind.\n\nUser: Hi\nAssistant:[ Hello!<|endoftext|>]\nUser: Bye\nAssistant:[ Bye!<|endoftext|>]"
    assert shows("plain", conversation("Hi"), reply=True) == "User: Hi\nAssistant:"


def test_chatml_to_the_letter():
    tools = Conversation(
        [
            Message("user", "Time?"),
            Message("assistant", "clock()"),
            Message("tool", "9:00"),
            Message("assistant", "Nine."),
        ]
    )
    assert shows("chatml", tools) == (
        "<|im_start|>user\nTime?<|im_end|>\n<|im_start|>assistant\n[clock()<|im_end|>]\n"
        "<|im_start|>tool\n9:00<|im_end|>\n<|im_start|>assistant\n[Nine.<|im_end|>]\n"
    )
    assert shows("chatml", conversation("Hi", system="S"), reply=True) == (
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_alpaca_to_the_letter():
    below = "Below is an instruction that describes a task"
    write = "Write a response that appropriately completes the request."
    assert shows("alpaca", conversation("Add.", "3", "And 4?", "7")) == (
        f"{below}. {write}\n\n### Instruction:\nAdd.\n\n### Response:\n[3<|endoftext|>]"
        "\n\n### Instruction:\nAnd 4?\n\n### Response:\n[7<|endoftext|>]"
    )
    assert shows("alpaca", conversation("Add.\n\n### Input:\n1 and 2"), reply=True) == (
        f"{below}, paired with an input that provides further context. {write}"
        "\n\n### Instruction:\nAdd.\n\n### Input:\n1 and 2\n\n### Response:\n"
    )
    assert shows("alpaca", conversation("Add.", system="Sums."), reply=True) == (
        "Sums.\n\n### Instruction:\nAdd.\n\n### Response:\n"
    )


def test_learn_says_for_one_message_whether_it_is_learned():
    talk = [Message("user", "Hi", learn=True), Message("assistant", "No", learn=False), Message("user", "Bye")]
    talk = Conversation([*talk, Message("assistant", "Yes")])
    assert shows("plain", talk) == "User:[ Hi]\nAssistant: No<|endoftext|>\nUser: Bye\nAssistant:[ Yes<|endoftext|>]"
    assert shows("chatml", talk) == (
        "<|im_start|>user\n[Hi<|im_end|>]\n<|im_start|>assistant\nNo<|im_end|>\n"
        "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n[Yes<|im_end|>]\n"
    )
    led = Conversation([Message("system", "Be kind.", learn=True), Message("user", "Hi")])
    assert shows("plain", led) == "[Be kind.]\n\nUser: Hi"


def shows(name: str, talk: Conversation, reply: bool = False) -> str:
    """The rendered text with what is learned in brackets."""
    tokenizer = ByteTokenizer()
    example = template.load(name).render(talk, tokenizer, reply=reply)
    stretches = groupby(zip(example.ids, example.mask, strict=True), key=lambda pair: pair[1])
    texts = ((learned, tokenizer.decode([i for i, _ in pairs])) for learned, pairs in stretches)
    return "".join(f"[{text}]" if learned else text for learned, text in texts)


class RunKeeper(ByteTokenizer):
    """Keeps the texts that it was asked to encode."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = []

    def encode(self, text: str, *, continues: bool = False) -> list[int]:
        self.runs.append(text)
        return super().encode(text)


def test_text_is_cut_only_at_control_tokens_and_where_an_answer_starts_learned_or_not():
    for learn in (None, False):
        talk = [
            Message("system", "S"),
            Message("user", "Hi"),
            Message("assistant", "No", learn),
            Message("user", "Bye"),
        ]
        keeper = RunKeeper()
        template.load("plain").render(Conversation(talk), keeper, reply=True)
        assert keeper.runs == ["S\n\nUser: Hi\nAssistant:", " No", "\nUser: Bye\nAssistant:"]


# ---- stopping, loading, refusing


def test_stop_ids_are_the_end_of_the_turn_and_then_the_end_of_text():
    tokenizer = ByteTokenizer()
    assert template.load("plain").stop_ids(tokenizer) == template.load("alpaca").stop_ids(tokenizer) == (256,)
    assert template.load("chatml").stop_ids(tokenizer) == (258, 256)
    assert template.load("chatml").stop_ids(ByteTokenizer(SPECIAL[1:])) == (257,)
    assert [template.load(name).stop_strings() for name in TEMPLATES] == [("\nUser:",), (), ()]


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_comes_back_from_its_own_jinja_text_and_file(name, tmp_path):
    written = template.load(name)
    jinja = written.to_jinja(ByteTokenizer())
    assert template.from_jinja(jinja + "\n") == written
    path = tmp_path / "chat_template.jinja"
    path.write_text(jinja, encoding="utf-8")
    assert template.load(str(path)) == written


def test_a_name_that_is_no_template_and_a_file_that_is_no_text_are_refused_with_the_way_out(tmp_path):
    with pytest.raises(ConfigError, match=r"did you mean 'chatml'.*give one of plain, chatml, alpaca or the path"):
        template.load("chatlm")
    with pytest.raises(ConfigError, match="cannot be read"):
        template.load(str(tmp_path / "missing.jinja"))
    (tmp_path / "latin.jinja").write_bytes(b"\xff{{")
    with pytest.raises(ConfigError, match="cannot be read"):
        template.load(str(tmp_path / "latin.jinja"))


@pytest.mark.parametrize("name", ["plain", "alpaca"])
def test_a_tool_result_is_refused_by_name_where_it_has_no_place(name):
    messages = [Message("user", "Time?"), Message("assistant", "clock()"), Message("tool", "9:00")]
    talk = Conversation(messages, Source("chats.jsonl", 7))
    with pytest.raises(DataError, match=r"^chats.jsonl:7: message 3 has the role tool, .* or use --template chatml$"):
        template.load(name).render(talk, ByteTokenizer())


@pytest.mark.parametrize("name", TEMPLATES)
def test_tool_calls_are_refused_rather_than_left_out(name):
    talk = Conversation([Message("user", "Time?"), Message("assistant", "", tool_calls=({"name": "clock"},))])
    with pytest.raises(DataError, match=r"^message 2 has tool_calls, for which"):
        template.load(name).render(talk, ByteTokenizer())


def test_a_vocabulary_without_the_control_tokens_is_refused_with_the_way_out():
    talk = conversation("Hi", "Hello!")
    with pytest.raises(
        ConfigError, match=r"needs the special token <\|im_start\|> in the vocabulary.*--template plain"
    ):
        template.load("chatml").render(talk, ByteTokenizer(["<|endoftext|>"]))
    with pytest.raises(ConfigError, match=r"<\|im_end\|>"):
        template.load("chatml").check(ByteTokenizer(["<|im_start|>"]))
    for refused in (template.load("plain").render, template.load("alpaca").render):
        with pytest.raises(ConfigError, match="an end-of-text token, and this vocabulary has none"):
            refused(talk, ByteTokenizer([]))
    with pytest.raises(ConfigError, match="every document ends with an end-of-text token"):
        template.render_document(Document("Hi"), ByteTokenizer([]))


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_reply_is_asked_for_only_where_the_assistant_is_next(name):
    alone = Conversation([Message("system", "Be kind.")])
    for talk, last in ((conversation("Hi", "Hello!"), "assistant"), (alone, "system")):
        with pytest.raises(ConfigError, match=f"the last message is of the role {last}; end with a user message"):
            template.load(name).render(talk, ByteTokenizer(), reply=True)


def test_the_byte_tokenizer_streams_whole_characters():
    tokenizer = ByteTokenizer()
    decoder = tokenizer.decoder()
    assert [decoder.push(i) for i in tokenizer.encode("aé")] == ["a", "", "é"]
    assert decoder.flush() == ""
