"""A tokenizer without training or files: the ids 0 to 255 are the bytes, the special tokens follow. For tests.

It has the surface of the real Tokenizer; `save` writes a tokenizer.json that gives the same ids elsewhere.
"""

import codecs
import json
from collections.abc import Sequence
from pathlib import Path

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


class ByteTokenizer:
    """`ByteTokenizer().encode("Hi") -> [72, 105]`; every seam between characters is a boundary."""

    def __init__(self, special: Sequence[str] = SPECIAL) -> None:
        self.special_tokens = {token: 256 + i for i, token in enumerate(special)}
        self.vocab_size = 256 + len(self.special_tokens)
        self.end_of_text = self.special_tokens.get("<|endoftext|>")
        self.begin_of_text: int | None = None
        self.spaces_every_run = False
        self.fingerprint = "bytes " + " ".join(special)
        self.byte_lengths = [1] * 256 + [0] * len(self.special_tokens)

    def encode(self, text: str, *, continues: bool = False) -> list[int]:
        return list(text.encode("utf-8"))

    def encode_batch(self, texts: Sequence[str], *, continues: bool = False) -> list[list[int]]:
        return [self.encode(text) for text in texts]

    def decode(self, ids: Sequence[int], *, skip_special: bool = False) -> str:
        return b"".join(self._bytes(i, skip_special) for i in ids).decode("utf-8", "replace")

    def bytes_of(self, number: int) -> bytes:
        return self._bytes(number, False)

    def decoder(self) -> "ByteStreamDecoder":
        return ByteStreamDecoder(self)

    def id_of(self, token: str) -> int | None:
        return self.special_tokens.get(token)

    def spelling_of(self, number: int | None) -> str | None:
        return next((token for token, known in self.special_tokens.items() if known == number), None)

    def with_special(self, tokens: Sequence[str]) -> "ByteTokenizer":
        return ByteTokenizer(tuple(dict.fromkeys((*self.special_tokens, *tokens))))

    def strips(self, token: str) -> tuple[bool, bool]:
        return False, False

    def splits_before(self, left: str, right: str) -> bool:
        return True

    def save(self, folder: Path) -> None:
        added = [
            {"id": i, "content": token, "special": True, "normalized": False}
            | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
            for token, i in self.special_tokens.items()
        ]
        spelled = {character: byte for byte, character in enumerate(_printable_bytes())}
        byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
        model = {"type": "BPE", "vocab": spelled, "merges": []}
        parts = {"added_tokens": added, "pre_tokenizer": byte_level, "decoder": byte_level, "model": model}
        unused = dict.fromkeys(("truncation", "padding", "normalizer", "post_processor"))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0"} | unused | parts), encoding="utf-8")

    def _bytes(self, i: int, skip_special: bool) -> bytes:
        if i < 256:
            return bytes([i])
        return b"" if skip_special else list(self.special_tokens)[i - 256].encode()


class ByteStreamDecoder:
    """Gives back whole characters only."""

    def __init__(self, tokenizer: ByteTokenizer) -> None:
        self.tokenizer = tokenizer
        self.pending = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, i: int) -> str:
        return self.pending.decode(self.tokenizer._bytes(i, False))

    def flush(self) -> str:
        return self.pending.decode(b"", final=True)


def _printable_bytes() -> list[str]:
    """How byte-level vocabularies spell the bytes: printable ones as themselves, the others from U+0100 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return [chr(b) if b in printable else chr(256 + others.index(b)) for b in range(256)]
