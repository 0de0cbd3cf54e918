"""BPE from scratch: the merges of HF's trainer, and an encoder that can be followed by eye."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from chatwright.errors import ConfigError, DataError
from chatwright.text import bpe

RHYME = "low lower lowest, new newer newest; the slower the lower. It's 12 o'clock — żółw 😀\n\n  indented\n" * 3
# Texts where many pairs are equally frequent, and words of one repeated letter, where pairs overlap.
words = st.text(alphabet="ab é😀\n'1", max_size=60)


def hf_trained(texts, vocab_size, min_count):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, min_frequency=min_count, show_progress=False, initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def described(tokenizer):
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def written(vocabulary):
    ids = {bpe.to_symbols(token): number for number, token in enumerate(vocabulary.tokens)}
    return ids, [(bpe.to_symbols(left), bpe.to_symbols(right)) for left, right in vocabulary.merges]


def test_the_most_frequent_pair_is_merged_first():
    vocabulary = bpe.train(["aab aab aab ab"], 259)
    assert vocabulary.merges[0] == (b"a", b"b")  # 4 times; " a" 3 times, "aa" 3 times
    assert len(vocabulary.tokens) == 259


def test_equal_counts_go_to_the_lower_ids():
    assert bpe.train(["cd ab cd ab"], 257, min_count=1).merges == ((b"a", b"b"),)


def test_the_worked_example_of_the_docstring():
    ranks = {(b"l", b"o"): 0, (b"lo", b"w"): 1, (b"e", b"r"): 2}
    assert bpe.encode_word(b"lower", ranks) == [b"low", b"er"]
    assert bpe.encode_word(b"", ranks) == []


def test_bytes_come_first_in_the_order_of_gpt2s_vocabulary():
    assert [bpe.to_symbols(token) for token in bpe.byte_order()] == sorted(pre_tokenizers.ByteLevel.alphabet())
    assert [bpe.from_symbols(bpe.to_symbols(token)) for token in bpe.byte_order()] == list(bpe.byte_order())
    assert bpe.to_symbols(b" the\n") == "ĠtheĊ"
    assert bpe.from_symbols("a token\xa0of another kind") == "a token\xa0of another kind".encode()


def test_words_are_cut_as_gpt2_cuts_them():
    assert bpe.split("It's 5 o'clock") == [b"It", b"'s", b" 5", b" o", b"'", b"clock"]
    assert bpe.split("a  b\n\nc \n") == [b"a", b" ", b" b", b"\n", b"\n", b"c", b" \n"]


@given(st.text(alphabet=st.characters(max_codepoint=127), max_size=200))
def test_the_short_way_for_ascii_counts_the_same_words(text):
    long_way = {word: bpe.split(text).count(word) for word in bpe.split(text)}
    assert dict(bpe._count_words([text])) == long_way


@given(st.lists(words, min_size=1, max_size=4), st.integers(0, 3))
@settings(deadline=None)
def test_merges_are_those_of_hfs_trainer(texts, min_count):
    assert written(bpe.train(texts, 300, min_count=min_count)) == described(hf_trained(texts, 300, min_count))


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=80))
def test_the_reference_encoder_gives_hfs_ids_and_loses_nothing(text):
    vocabulary = bpe.train([RHYME], 320)
    ids = vocabulary.encode(text)
    assert ids == hf_trained([RHYME], 320, 2).encode(text).ids
    assert b"".join(vocabulary.tokens[number] for number in ids).decode() == text


def test_training_is_the_same_however_the_texts_are_ordered():
    texts = RHYME.splitlines(keepends=True)
    assert bpe.train(texts, 400) == bpe.train(reversed(texts), 400)


def test_training_ends_when_no_pair_occurs_often_enough():
    assert len(bpe.train(["abc"], 1000).tokens) == 256
    assert len(bpe.train(["abc"], 1000, min_count=1).tokens) == 258
    assert len(bpe.train([], 1000).tokens) == 256


def test_a_size_without_room_for_the_bytes_is_refused():
    with pytest.raises(ConfigError, match="200"):
        bpe.train(["a"], 200)


def test_a_lone_surrogate_is_refused():
    with pytest.raises(DataError, match="surrogate"):
        bpe.train(["ok", "half \ud800"], 300)
    with pytest.raises(DataError, match="surrogate"):
        bpe.train(["ok"], 300).encode("\ud800")


def test_one_letter_a_hundred_thousand_times_does_not_take_long():
    start = time.process_time()
    vocabulary = bpe.train(["a" * 100_000], 300)
    assert vocabulary.merges[1] == (b"aa", b"aa")
    assert time.process_time() - start < 3


def test_a_vocabulary_of_4096_from_a_megabyte_has_hfs_merges_and_takes_under_ten_seconds(test_data):
    text = (test_data / "shakespeare.txt").read_text(encoding="utf-8")
    start = time.process_time()
    vocabulary = bpe.train([text], 4096)
    assert time.process_time() - start < 10
    assert written(vocabulary) == described(hf_trained([text], 4096, 2))
