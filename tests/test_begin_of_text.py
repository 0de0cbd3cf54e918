"""Vocabularies that begin every text with a token (Llama, Mistral, Gemma): our templates and documents do so as well."""

import json

import pytest
from byte_tokenizer import ByteTokenizer
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from published_templates import SENTENCE
from small_vocabularies import byte_level, sentencepiece
from test_template import conversations

from chatwright.text import template
from chatwright.text.records import Document, conversation
from chatwright.text.tokenizer import Tokenizer

TEMPLATES = ("plain", "chatml", "alpaca")
KINDS = ("bytes", "prepend", "first", "gemma")
SPECIALS = (*SENTENCE, "<|im_start|>", "<|im_end|>")


def vocabulary(kind: str, begin: str = "<s>") -> Tokenizer:
    make = byte_level if kind == "bytes" else lambda *given: sentencepiece(kind, *given)
    return Tokenizer(make(SPECIALS, False, begin).encode(), eos_token="</s>")


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request):
    return vocabulary(request.param)


@pytest.fixture(scope="module")
def theirs(tokenizer):
    from tokenizers import Tokenizer as HFTokenizer
    from transformers import PreTrainedTokenizerFast

    hf = HFTokenizer.from_str(tokenizer.file.decode())
    return PreTrainedTokenizerFast(tokenizer_object=hf, bos_token="<s>", eos_token="</s>")


@pytest.mark.parametrize("name", TEMPLATES)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_the_jinja_template_gives_the_same_ids_and_mask_in_transformers(name, tokenizer, theirs, data):
    written = template.load(name)
    talk = data.draw(conversations(tools=name == "chatml"))
    assume(not any(token in m.content for m in talk.messages for token in SPECIALS))
    ours = written.render(talk, tokenizer)
    assert (ours.ids[0], ours.mask[0]) == (tokenizer.begin_of_text, 0)
    messages = [{"role": m.role, "content": m.content} for m in talk.messages]
    jinja = written.to_jinja(tokenizer)
    out = theirs.apply_chat_template(messages, chat_template=jinja, return_assistant_tokens_mask=True, return_dict=True)
    assert (ours.ids, ours.mask) == (list(out["input_ids"]), list(out["assistant_masks"]))
    if talk.messages[-1].role != "assistant":
        prompt = written.render(talk, tokenizer, reply=True)
        asked = theirs.apply_chat_template(messages, chat_template=jinja, add_generation_prompt=True, return_dict=False)
        assert prompt.ids == list(asked)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_comes_back_from_its_jinja_text_with_the_first_token(name, tokenizer):
    written = template.load(name)
    jinja = written.to_jinja(tokenizer)
    assert jinja == "{{- bos_token -}}\n" + written.to_jinja(ByteTokenizer())
    assert template.from_jinja(jinja) == template.from_jinja(f"{jinja}\n") == written


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_templates_fit_and_keep_prompts_prefixes(name, tokenizer):
    written = template.load(name)
    written.check(tokenizer)
    talk = conversation("Hi", "Hello!", "Bye", "See you!", system="Be kind.")
    whole = written.render(talk, tokenizer)
    for k in (2, 4):
        prompt = written.render(talk[:k], tokenizer, reply=True)
        assert whole.ids[: len(prompt.ids)] == prompt.ids
        assert whole.mask[len(prompt.ids)] == 1


def test_a_document_begins_as_the_vocabulary_has_it_and_that_is_not_learned(tokenizer, theirs):
    example = template.render_document(Document("The owl sleeps.\nIt is day."), tokenizer)
    assert example.ids == [*theirs("The owl sleeps.\nIt is day.")["input_ids"], tokenizer.end_of_text]
    assert example.ids[0] == tokenizer.begin_of_text
    assert example.mask == [0] + [1] * (len(example.ids) - 1)


def test_the_first_token_is_the_one_that_the_post_processor_puts_there():
    tokenizer = vocabulary("bytes")
    assert tokenizer.begin_of_text == tokenizer.special_tokens["<s>"]
    assert vocabulary("bytes", begin="").begin_of_text is None
    description = json.loads(tokenizer.file)
    inner = description["post_processor"]
    bytes_only = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
    for processor, expected in (
        ({"type": "Sequence", "processors": [bytes_only, inner]}, tokenizer.begin_of_text),  # as in Llama 3
        (bytes_only, None),
        ({**inner, "single": inner["single"][1:]}, None),
        ({**inner, "single": inner["single"][::-1]}, None),
    ):
        other = json.dumps({**description, "post_processor": processor}).encode()
        assert Tokenizer(other).begin_of_text == expected
    grown = tokenizer.with_special(["<|more|>"])
    assert grown.begin_of_text == tokenizer.begin_of_text


def test_vocabularies_without_one_begin_with_the_first_message():
    tokenizer = vocabulary("first", begin="")
    example = template.load("chatml").render(conversation("Hi"), tokenizer)
    assert example.ids[0] == tokenizer.special_tokens["<|im_start|>"]
    assert template.load("chatml").to_jinja(tokenizer).startswith("{%- for")


@pytest.mark.parametrize(
    ("left", "right", "cut"),
    [
        ("[/INST]", " Paris", True),
        ("<|assistant|>\n", "Paris", True),  # no token has a line end in it
        ("Assistant:", " (a)", True),
        ("capit", "al", False),
        ("the ", "of", False),  # the space belongs to the word
        ("\n", "\n", True),
    ],
)
@pytest.mark.parametrize("kind", ["prepend", "first"])
def test_a_seam_without_pre_tokens_is_a_boundary_where_no_token_fits_over_it(kind, left, right, cut):
    tokenizer = vocabulary(kind)
    assert tokenizer.splits_before(left, right) is cut
    joined = tokenizer.encode(left) + tokenizer.encode(right, continues=True)
    assert (joined == tokenizer.encode(left + right)) is cut


def test_added_line_ends_reach_over_each_other():
    assert not vocabulary("gemma").splits_before("model\n", "\nHi")
    assert vocabulary("gemma").splits_before("model\n", "Hi")
