"""Laws 4 and 5 on GPT-2's vocabulary and on every other kind; tiktoken, HF and transformers are the referees."""

import json
import time

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as HFTokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from chatwright.errors import ConfigError, DataError
from chatwright.text import bpe, bulk
from chatwright.text.tokenizer import Tokenizer

CHAT = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
SAMPLE = (
    "The owl's 12 eggs — don't touch them! Zażółć gęślą jaźń. 我能吞下玻璃。 नमस्ते 😀👩‍👩‍👧‍👦\n"
    "\tdef f(x):\n    return x ** 2\n"
    "First Citizen: Before we proceed any further, hear me speak. All: Speak, speak.\n"
) * 4
NASTY = [
    *("", " ", "\n", "  \n\n \t x", "a" * 5000, " " * 5000 + "b", "\r\n\r\n", "\u00a0\u2003\u3000x", "don't'll'VE'd"),
    *("👩\u200d👩\u200d👧🏳\ufe0f\u200d🌈", "\u0000\u0001", "\ufeffa", "é e\u0301", "\ufffd", "\U0010ffff"),
    *("<|endoftext|>", "<|im_start|>user\nhi<|im_end|>"),
]
text_of_any_kind = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=80) | st.lists(
    st.sampled_from([*CHAT, " ", "\n", "a", "The", "owl", "'s", "12", "<|", "|>", "<s>", "</s>", "é", "😀"])
).map("".join)


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def gpt2(test_data):
    return Tokenizer.from_gpt2_files(test_data / "gpt2-encoder.json", test_data / "gpt2-vocab.bpe")


@pytest.fixture(scope="module")
def small():
    return Tokenizer.train([SAMPLE], 400, CHAT)


@pytest.fixture(scope="module")
def hf_gpt2(test_data):
    merges = (test_data / "gpt2-vocab.bpe").read_text(encoding="utf-8").split("\n")[1:-1]
    ids = json.loads((test_data / "gpt2-encoder.json").read_text(encoding="utf-8"))
    found = HFTokenizer(models.BPE(ids, [tuple(merge.split(" ")) for merge in merges]))
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = decoders.ByteLevel()
    return found


@pytest.fixture(scope="module")
def reference(test_data):
    ids = json.loads((test_data / "gpt2-encoder.json").read_text(encoding="utf-8"))
    del ids["<|endoftext|>"]
    merges = (test_data / "gpt2-vocab.bpe").read_text(encoding="utf-8").split("\n")[1:-1]
    pairs = [tuple(map(bpe.from_symbols, merge.split(" "))) for merge in merges]
    return bpe.Vocabulary(tuple(map(bpe.from_symbols, ids)), tuple(pairs))


@pytest.fixture(scope="module")
def raw_tiktoken(reference):
    return tiktoken.Encoding("gpt2", pat_str=bpe.GPT2_PATTERN, mergeable_ranks=reference.ids, special_tokens={})


def metaspace():
    found = HFTokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    found.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    found.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first")])
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=names[:3], show_progress=False)
    found.train_from_iterator(["the owl hears the owl", SAMPLE.encode("ascii", "ignore").decode()], trainer)
    found.add_tokens([AddedToken(name, normalized=False) for name in names[3:]])
    described = json.loads(found.to_str())  # byte tokens belong to the model, not to the added tokens
    described["model"]["vocab"] |= {entry["content"]: entry["id"] for entry in described["added_tokens"]}
    described["added_tokens"] = described["added_tokens"][:3]
    return json.dumps(described)


def unigram():
    pieces = [("<unk>", 0.0), ("</s>", -1.0), ("▁", -2.0), *((letter, -3.0) for letter in "theowlsabc<>/")]
    found = HFTokenizer(models.Unigram([*pieces, ("▁the", -2.0), ("owl", -2.5)], unk_id=0))
    found.pre_tokenizer = pre_tokenizers.Metaspace()
    found.decoder = decoders.Metaspace()
    found.add_special_tokens(["<unk>", "</s>"])
    return found.to_str()


def word_level():
    words = {"<|unk|>": 0, "<|endoftext|>": 1, "the": 2, "owl": 3, ".": 4}
    found = HFTokenizer(models.WordLevel(words, unk_token="<|unk|>"))
    found.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    found.add_special_tokens(["<|unk|>", "<|endoftext|>"])
    return found.to_str()


def word_piece():
    words = ["[UNK]", "[SEP]", "the", "owl", "##s", "o", "##w", "."]
    found = HFTokenizer(models.WordPiece({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    found.normalizer = normalizers.Lowercase()
    found.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    found.decoder = decoders.WordPiece()
    found.add_special_tokens(["[UNK]", "[SEP]"])
    return found.to_str()


FOREIGN = {"metaspace": metaspace, "unigram": unigram, "word_level": word_level, "word_piece": word_piece}


def loaded(folder, description):
    (folder / "tokenizer.json").write_text(description if isinstance(description, str) else json.dumps(description))
    return Tokenizer.load(folder)


# Law 5: the ids


def test_ids_on_gpt2s_vocabulary_are_equal_ours_tiktokens_and_hfs(gpt2, hf_gpt2, raw_tiktoken, reference):
    hf_gpt2.encode_special_tokens = True
    assert gpt2._bulk is not None

    @given(text_of_any_kind)
    @settings(deadline=None, max_examples=300)
    def law(text):
        ids = gpt2.encode(text)
        assert ids == reference.encode(text) == raw_tiktoken.encode_ordinary(text) == hf_gpt2.encode(text).ids
        assert gpt2.decode(ids) == text

    law()
    for text in NASTY:
        assert gpt2.encode(text) == reference.encode(text) == hf_gpt2.encode(text).ids, text


def test_ids_are_equal_on_real_texts(gpt2, hf_gpt2, reference, test_data):
    play = (test_data / "shakespeare.txt").read_text(encoding="utf-8")
    rows = json.loads((test_data / "instructions.json").read_text(encoding="utf-8"))
    texts = [play, *(f"{row['instruction']}\n\n{row['input']}\n\n{row['output']}" for row in rows)]
    ours = gpt2.encode_batch(texts)
    assert ours == [found.ids for found in hf_gpt2.encode_batch_fast(texts)]
    assert [gpt2.decode(ids) for ids in ours] == texts
    assert reference.encode(play[:100_000]) == gpt2.encode(play[:100_000])


@given(text_of_any_kind)
@settings(deadline=None)
def test_decoding_gives_the_text_back(small, text):
    assert small.decode(small.encode(text)) == text


@given(st.lists(st.integers(0, 399), max_size=40))
@settings(deadline=None)
def test_decoding_any_ids_is_hfs_decoding(small, ids):
    hf = HFTokenizer.from_buffer(small.file)
    assert small.decode(ids) == hf.decode(ids, skip_special_tokens=False)
    assert small.decode(ids, skip_special=True) == hf.decode(ids, skip_special_tokens=True)


def test_one_letter_a_million_times_and_a_long_line_take_seconds_and_have_hfs_ids(gpt2, hf_gpt2):
    for text in ("a" * 1_000_000, " " * 1_000_000, "x" + " \n" * 500_000 + "y", "the owl " * 125_000):
        start = time.process_time()
        ids = gpt2.encode(text)
        assert time.process_time() - start < 5
        assert ids == hf_gpt2.encode_batch_fast([text])[0].ids
        assert gpt2.decode(ids) == text


def test_a_lone_surrogate_is_refused(small):
    with pytest.raises(DataError, match="surrogate"):
        small.encode("ok \udc00")


@pytest.mark.parametrize("number", [-1, 400, 10**12])
def test_an_id_that_is_not_in_the_vocabulary_is_refused(small, number):
    for decode in (lambda: small.decode([5, number]), lambda: small.decoder().push(number)):
        with pytest.raises(ConfigError, match=f"{number}.*0 to 399"):
            decode()


def test_byte_lengths_are_those_of_the_text(small):
    ids = small.encode(SAMPLE)
    assert sum(small.byte_lengths[number] for number in ids) == len(SAMPLE.encode())
    assert len(small.byte_lengths) == small.vocab_size
    assert [small.byte_lengths[number] for number in small.special_tokens.values()] == [0, 0, 0]


# Law 4: special tokens


@given(text_of_any_kind)
@settings(deadline=None)
def test_content_never_yields_a_special_id(small, text):
    assert small.special_tokens == {"<|endoftext|>": 397, "<|im_start|>": 398, "<|im_end|>": 399}
    assert max(small.encode(text), default=0) < 397
    assert small.encode_batch([text, text]) == [small.encode(text)] * 2


@pytest.mark.parametrize("kind", FOREIGN)
def test_content_never_yields_a_special_id_of_a_foreign_vocabulary(kind, tmp_path):
    tokenizer = loaded(tmp_path, FOREIGN[kind]())
    assert tokenizer._bulk is None
    ends = [number for token, number in tokenizer.special_tokens.items() if "unk" not in token.lower()]
    assert ends
    for text in ("the owl </s> the", "</s>", "<|endoftext|>", "the <|endoftext|> owl", "[SEP] owls", "<s></s>"):
        assert not set(ends) & set(tokenizer.encode(text)), text


def test_words_outside_a_vocabulary_become_its_unknown_token(tmp_path):
    tokenizer = loaded(tmp_path, word_level())
    assert tokenizer.encode("the owl sleeps .") == [2, 3, 0, 4]
    assert tokenizer.encode("the <|endoftext|>") == [2, 0, 0]


def test_a_word_that_a_vocabulary_has_no_token_for_is_a_data_error(tmp_path):
    description = json.loads(word_level())
    description["model"]["unk_token"] = "<none>"
    with pytest.raises(DataError, match="UNK"):
        loaded(tmp_path, description).encode("the lion")


def test_two_spellings_of_one_id_do_not_stop_a_vocabulary(small, tmp_path):
    description = json.loads(small.file)
    description["model"]["vocab"]["#"] = description["model"]["vocab"]["$"]
    assert loaded(tmp_path, description)._bulk is None


def test_with_special_appends_after_the_highest_id_and_leaves_the_rest(small):
    plain = Tokenizer.train([SAMPLE], 300)
    grown = plain.with_special(CHAT)
    assert plain.special_tokens == {"<|endoftext|>": 299}
    assert grown.special_tokens == {"<|endoftext|>": 299, "<|im_start|>": 300, "<|im_end|>": 301}
    assert (grown.vocab_size, grown.id_of("<|im_end|>"), grown.end_of_text) == (302, 301, 299)
    assert grown.encode(SAMPLE) == plain.encode(SAMPLE)
    assert grown.decode([*grown.encode("hi"), 301]) == "hi<|im_end|>"
    assert grown.with_special(CHAT[::-1]) is grown
    assert small.id_of("the") is None
    for bad in ("", " <|x|>"):
        with pytest.raises(ConfigError, match="visible"):
            plain.with_special([bad])


@pytest.mark.parametrize("kind", FOREIGN)
def test_with_special_works_on_foreign_vocabularies(kind, tmp_path):
    tokenizer = loaded(tmp_path, FOREIGN[kind]())
    grown = tokenizer.with_special(["<|im_start|>"])
    assert grown.special_tokens == {**tokenizer.special_tokens, "<|im_start|>": tokenizer.vocab_size}
    assert grown.encode("the owl <|im_start|>")[:2] == tokenizer.encode("the owl <|im_start|>")[:2]
    assert tokenizer.vocab_size not in grown.encode("the owl <|im_start|>")


def test_a_special_token_that_is_a_word_of_the_texts_is_refused():
    with pytest.raises(ConfigError, match="'the'"):
        Tokenizer.train(["the the the"], 300, ("the",))


# The file


def test_saving_and_loading_gives_the_same_bytes(small, tmp_path):
    small.save(tmp_path / "a")
    again = Tokenizer.load(tmp_path / "a")
    again.save(tmp_path / "b")
    assert (tmp_path / "a" / "tokenizer.json").read_bytes() == (tmp_path / "b" / "tokenizer.json").read_bytes()
    assert again.fingerprint == small.fingerprint
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["tokenizer.json"]


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_file_is_kept_byte_for_byte(kind, tmp_path):
    description = json.loads(FOREIGN[kind]())
    tokenizer = loaded(tmp_path, json.dumps(description, indent=7))
    tokenizer.save(tmp_path / "again")
    assert (tmp_path / "again" / "tokenizer.json").read_text() == json.dumps(description, indent=7)


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_ids_and_texts_are_hfs(kind, tmp_path):
    hf = HFTokenizer.from_str(FOREIGN[kind]())
    tokenizer = loaded(tmp_path, FOREIGN[kind]())
    for text in ("the owl", "the owls . é 😀", "  the  owl  ", "owl\nthe", ""):
        ids = tokenizer.encode(text)
        assert ids == hf.encode(text, add_special_tokens=False).ids
        assert tokenizer.decode(ids) == hf.decode(ids, skip_special_tokens=False)
        decoder = tokenizer.decoder()
        assert "".join(map(decoder.push, ids)) + decoder.flush() == tokenizer.decode(ids)


def test_a_prefix_space_is_put_before_the_first_run_only(tmp_path):
    tokenizer = loaded(tmp_path, metaspace())
    whole, first = tokenizer.encode("the owl"), tokenizer.encode("the")
    assert first + tokenizer.encode(" owl", continues=True) == whole
    assert tokenizer.encode("owl") == tokenizer.encode(" owl")
    assert tokenizer.decode(first + tokenizer.encode("owl", continues=True)) == "theowl"
    assert tokenizer.splits_before("the", " owl")
    assert not tokenizer.splits_before("the ", "owl")
    assert sum(tokenizer.byte_lengths[number] for number in whole) == len(" the owl")
    assert sum(tokenizer.byte_lengths[number] for number in tokenizer.encode("the 😀")) == len(" the 😀".encode())


def test_what_a_file_says_of_cutting_and_padding_does_not_change_the_ids(small, tmp_path):
    hf = HFTokenizer.from_buffer(small.file)
    hf.enable_truncation(3)
    hf.enable_padding(length=50)
    assert loaded(tmp_path, hf.to_str()).encode(SAMPLE) == small.encode(SAMPLE)


def test_transformers_loads_it_and_has_the_same_ids(small, gpt2, tmp_path):
    for name, tokenizer in (("small", small), ("gpt2", gpt2)):
        tokenizer.save(tmp_path / name)
        fast = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / name / "tokenizer.json"))
        for kind in ("PreTrainedTokenizerFast", "GPT2Tokenizer"):
            settings = {"tokenizer_class": kind, "eos_token": "<|endoftext|>"}
            (tmp_path / name / "tokenizer_config.json").write_text(json.dumps(settings))
            auto = AutoTokenizer.from_pretrained(tmp_path / name)
            for text in [SAMPLE, *(text for text in NASTY if "<|" not in text)]:
                ids = tokenizer.encode(text)
                assert fast(text)["input_ids"] == auto(text)["input_ids"] == ids
                assert auto.decode(ids, clean_up_tokenization_spaces=False) == text
            assert len(auto) == tokenizer.vocab_size
            assert auto.eos_token_id == tokenizer.end_of_text


def test_the_end_of_text_is_the_eos_token_that_the_folder_names(tmp_path):
    assert loaded(tmp_path, metaspace()).end_of_text is None
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"eos_token": "</s>"}))
    assert Tokenizer.load(tmp_path).end_of_text == 2
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "<s>"}}))
    assert Tokenizer.load(tmp_path).end_of_text == 1
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(DataError, match=r"tokenizer_config\.json"):
        Tokenizer.load(tmp_path)


BROKEN = {
    "empty": b"",
    "no JSON": b"{'a': 1}",
    "a list": b"[]",
    "another object": b'{"a": 1}',
    "not text": b"\xff\xfe\x00\x01",
    "cut off": b'{"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0',
    "nested": b"[" * 200_000,
    "an unknown merge": b'{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["b c"]}}',
    "a huge id": b'{"model": {"type": "BPE", "vocab": {"a": 4000000000}, "merges": []}}',
    "a negative id": b'{"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}}',
    "no vocabulary": b'{"model": {"type": "BPE", "vocab": {}, "merges": []}}',
    "a prefix that the merges lack": '{"model": {"type": "BPE", "vocab": {"a": 0, "ł": 1, "ał": 2}, '
    '"continuing_subword_prefix": "x", "merges": [["a", "ł"]]}}'.encode(),
    "rules that are a list": b'{"normalizer": ["NFC"], "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}',
    "no model": b'{"version": "1.0", "added_tokens": []}',
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_refused_by_name_and_fast(kind, tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(BROKEN[kind])
    start = time.process_time()
    with pytest.raises(DataError, match=r"tokenizer\.json: ") as refused:
        Tokenizer.load(tmp_path)
    assert time.process_time() - start < 2
    assert refused.value.exit_code == 2
    assert len(str(refused.value)) < 500 + len(str(tmp_path))


def test_a_missing_file_a_folder_in_its_place_and_a_huge_one_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"tokenizer\.json: there is no such file"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").mkdir()
    with pytest.raises(DataError, match=r"tokenizer\.json: cannot be read"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").rmdir()
    with (tmp_path / "tokenizer.json").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(DataError, match=r"tokenizer\.json: has .* MB"):
        Tokenizer.load(tmp_path)


# Where tiktoken may be used


def with_rules(file, **changes):
    return json.dumps(json.loads(file) | changes)


LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def cut_by(pattern):
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def test_another_known_regex_goes_through_tiktoken_with_hfs_ids(small, tmp_path):
    hf = HFTokenizer.from_buffer(small.file)
    hf.pre_tokenizer = cut_by(LLAMA3)
    tokenizer = loaded(tmp_path, hf.to_str())
    hf.encode_special_tokens = True
    assert tokenizer._bulk is not None
    for text in [SAMPLE, *NASTY, "12345 DON'T\r\n\r\n  x"]:
        assert tokenizer.encode(text) == hf.encode(text).ids


def test_what_spells_a_special_token_has_hfs_ordinary_ids_also_where_hf_encodes(small, tmp_path):
    grown = loaded(tmp_path, with_rules(small.file, normalizer={"type": "NFC"})).with_special(["Citizens"])
    hf = HFTokenizer.from_buffer(grown.file)
    hf.encode_special_tokens = True
    assert grown._bulk is None
    assert grown.encode("Citizens <|im_end|>") == hf.encode("Citizens <|im_end|>").ids


def test_what_tiktoken_would_do_otherwise_goes_through_hf(small, tmp_path):
    model = json.loads(small.file)["model"]
    swapped = dict(model, merges=[*model["merges"][1::-1], *model["merges"][2:]])
    added = [*json.loads(small.file)["added_tokens"], dict(json.loads(small.file)["added_tokens"][0], special=False)]
    added[-1] |= {"content": "  ", "id": 400}
    prefixed = dict(json.loads(small.file)["pre_tokenizer"], add_prefix_space=True)
    other = HFTokenizer.from_buffer(small.file)
    other.pre_tokenizer = cut_by(r"\p{L}+|.")
    files = {
        "a normalizer": with_rules(small.file, normalizer={"type": "NFC"}),
        "an unknown regex": other.to_str(),
        "a prefix space": with_rules(small.file, pre_tokenizer=prefixed),
        "an added token that is not special": with_rules(small.file, added_tokens=added),
        "merges in another order": with_rules(small.file, model=swapped),
    }
    for why, file in files.items():
        tokenizer = loaded(tmp_path, file)
        hf = HFTokenizer.from_str(file)
        hf.encode_special_tokens = True
        assert tokenizer._bulk is None, why
        assert tokenizer.encode(SAMPLE + "  e\u0301") == hf.encode(SAMPLE + "  e\u0301").ids, why


def test_a_vocabulary_on_which_a_probe_differs_goes_through_hf(tmp_path):
    """`abc` is only ever made of ab+c; tiktoken makes it of a+bc as well, and in `abc` bc is merged first."""
    ids = {bpe.to_symbols(token): number for number, token in enumerate(bpe.byte_order())}
    ids |= {"bc": 256, "ab": 257, "abc": 258}
    file = json.loads(Tokenizer.train([], 256, ()).file)
    file["model"] |= {"vocab": ids, "merges": ["b c", "a b", "ab c"]}
    tokenizer = loaded(tmp_path, file)
    assert tokenizer._bulk is None
    assert tokenizer.encode("abc") == [ids["a"], ids["bc"]]


def test_the_verdict_is_remembered_and_a_cache_that_cannot_be_written_does_not_matter(small, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert Tokenizer(small.file)._bulk is not None
    (remembered,) = (tmp_path / "cache").rglob("*/tokenizers/*")
    assert remembered.read_text() == "equal"
    remembered.write_text("different")
    assert Tokenizer(small.file)._bulk is None
    remembered.write_bytes(b"\xff")
    assert Tokenizer(small.file)._bulk is not None
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert Tokenizer(small.file)._bulk is not None


def test_the_probes_hold_every_token_twice(small):
    ids = {piece: number for number, piece in enumerate(small._pieces[:397])}
    texts = bulk.probes(ids)
    assert len(texts) == 2000
    assert texts == bulk.probes(ids)
    for token in ids:
        assert sum(token.decode("utf-8", "replace") in text for text in texts) >= 2


# Streams


@given(st.lists(st.integers(0, 399), max_size=40))
@settings(deadline=None)
def test_streamed_pieces_joined_are_the_decoded_whole(small, ids):
    decoder = small.decoder()
    assert "".join([decoder.push(number) for number in ids]) + decoder.flush() == small.decode(ids)


@given(text_of_any_kind)
@settings(deadline=None)
def test_a_stream_never_shows_half_a_character(small, text):
    decoder = small.decoder()
    shown = ""
    for number in small.encode(text):
        shown += decoder.push(number)
        assert text.startswith(shown)
    assert shown == text
    assert decoder.flush() == ""


def test_a_character_that_is_truly_cut_ends_in_the_replacement_character(small):
    decoder = small.decoder()
    ids = [small.encode("é")[0]] if len(small.encode("é")) == 2 else small.encode("\U0001f99c")[:-1]
    assert "".join(map(decoder.push, ids)) == ""
    assert decoder.flush() == "\ufffd" == small.decode(ids)
    assert decoder.flush() == ""


# Seams


@pytest.mark.parametrize(
    ("left", "right", "cut"),
    [
        ("Assistant:", " Paris", True),
        ("Assistant: ", "Paris", False),  # the space belongs to the word
        ("Assistant:", "Paris", True),
        ("Assistant", "Paris", False),
        ("Response:\n", "Paris", True),
        ("Response:\n", "\nParis", True),
        ("Response:\n", "\n", False),
        ("don", "'t", True),
        ("😀", "😀", False),
        ("Zażółć:", " gęślą", True),
        ("", "x", True),
    ],
)
def test_a_seam_is_a_boundary_where_the_pre_tokenizer_cuts(small, left, right, cut):
    assert small.splits_before(left, right) is cut
    if cut:
        assert small.encode(left) + small.encode(right) == small.encode(left + right)


# The verb


def test_the_verb_learns_a_vocabulary_from_a_file(tmp_path):
    from chatwright.commands import run

    (tmp_path / "corpus.txt").write_text(SAMPLE, encoding="utf-8")
    settings = {"data": [str(tmp_path / "corpus.txt")], "vocab_size": 300, "out": str(tmp_path / "out")}
    report = run("tokenizer", settings)
    tokenizer = Tokenizer.load(tmp_path / "out")
    assert report["vocab_size"] == tokenizer.vocab_size == 300
    assert tokenizer.special_tokens == {token: 297 + number for number, token in enumerate(CHAT)}
    assert report["tokens"] == len(tokenizer.encode(SAMPLE))
    assert run("tokenizer", settings)["fingerprint"] == report["fingerprint"] == tokenizer.fingerprint
