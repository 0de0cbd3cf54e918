"""Small vocabularies of the kinds that models have: byte-level, and SentencePiece's as `tokenizers` writes them.

Each function gives the text of a tokenizer.json. They are trained on a few lines; bytes make up for the rest. For tests.
"""

import json
from functools import cache
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

LINES = [
    "user assistant system model tool Assistant User the of and a to in is it don't 42 2024",
    "[INST] What is the capital of France? [/INST] Paris is the capital of France.",
    "<|user|> Hello! How are you today? <|assistant|> I am well, thank you. **bold** `code` (a) 1. one",
    "<<SYS>> Be kind. Answer briefly. <</SYS>> Below is an instruction. ### Response: école été naïve 東京",
    "Cutting Knowledge Date: December 2023 Today Date: 26 Jul 2024 You are a helpful AI assistant",
] * 3


def special(content: str, number: int, *, rstrip: bool = False, is_special: bool = True) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": rstrip, "normalized": False, "special": is_special}
    return {"id": number, "content": content, **flags}


@cache
def byte_level(specials: tuple[str, ...], strips: bool = False, begin: str = "") -> str:
    """GPT-2's regex; the special tokens come last."""
    small = Tokenizer(models.BPE())
    small.pre_tokenizer, small.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False)
    small.train_from_iterator(LINES, trainer)
    description = json.loads(small.to_str())
    first = len(description["model"]["vocab"])
    return _with_specials(description, specials, first, strips, begin)


@cache
def sentencepiece(kind: str, specials: tuple[str, ...], strips: bool = False, begin: str = "") -> str:
    """`prepend`: Llama-2's file, with the space before every stretch of text. `first`: Mistral's newer ones, with it
    before the first alone. `gemma`: without it, and with line ends as added tokens. Special tokens first, then bytes."""
    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    learned.train_from_iterator(LINES, trainers.BpeTrainer(vocab_size=330, show_progress=False))
    description = json.loads(learned.to_str())
    tokens = [*specials, *(f"<0x{byte:02X}>" for byte in range(256)), *description["model"]["vocab"]]
    description["model"] |= {
        "vocab": {token: number for number, token in enumerate(tokens)},
        "byte_fallback": True,
        "fuse_unk": True,
        "unk_token": "<unk>",
    }
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    description["normalizer"], description["pre_tokenizer"] = {
        "prepend": ({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, spaces]}, None),
        "first": (None, {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}),
        "gemma": (
            spaces,
            {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False},
        ),
    }[kind]
    back = [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]
    description["decoder"] = {"type": "Sequence", "decoders": back}
    if kind == "gemma":
        size = len(tokens)
        lines = [special("\n" * length, size + length - 1, is_special=False) for length in (1, 2, 3)]
        description["model"]["vocab"] |= {line["content"]: line["id"] for line in lines}
        description["added_tokens"] = lines
    return _with_specials(description, specials, 0, strips, begin)


def _with_specials(description: dict[str, Any], specials: tuple[str, ...], first: int, strips: bool, begin: str) -> str:
    entries = [special(token, first + place, rstrip=strips) for place, token in enumerate(specials)]
    description["added_tokens"] = [*entries, *description["added_tokens"]]
    description["model"]["vocab"] |= {entry["content"]: entry["id"] for entry in entries}
    if begin:
        text = {"Sequence": {"id": "A", "type_id": 0}}
        number = next(entry["id"] for entry in entries if entry["content"] == begin)
        description["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": begin, "type_id": 0}}, text],
            "pair": [text, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {begin: {"id": begin, "ids": [number], "tokens": [begin]}},
        }
    return json.dumps(description, ensure_ascii=False)
