"""Text to ids and back, for any `tokenizer.json` (HF's fast format), byte-level or not.

What a text spells never becomes a special id: those are placed by the templates alone. Encoding goes through tiktoken
where `bulk.py` found its ids equal to HF's, and through HF's `tokenizers` everywhere else.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

from tokenizers import AddedToken
from tokenizers import Tokenizer as HFTokenizer

from chatwright import disk
from chatwright.errors import ConfigError, DataError
from chatwright.text import bpe, bulk, tokenizer_json
from chatwright.text.records import check_text
from chatwright.text.streaming import ByteStream, StreamDecoder, WindowStream

END_OF_TEXT = "<|endoftext|>"


class Tokenizer:
    """A vocabulary with its rules; make one with `load`, `train` or `from_gpt2_files`. Not changed once made.

    vocab_size: the highest id plus one, added tokens included: the embedding rows that are needed.
    special_tokens: spelling -> id. end_of_text: the id that ends a document, or None. fingerprint: SHA-256 of the file.
    begin_of_text: the id that the model has seen before every text (Llama, Mistral, Gemma), or None.
    spaces_every_run: HF puts its space before the text after each special token, not before the first text alone.
    """

    def __init__(self, file: bytes, *, name: str = "tokenizer.json", eos_token: str | None = None) -> None:
        """Reads the bytes of a tokenizer.json; `name` is for messages. Raises DataError when they are none."""
        self.file = file
        self.fingerprint = hashlib.sha256(file).hexdigest()
        self._description = tokenizer_json.parse(file, name)
        tokenizer_json.check(self._description, name)
        self._hf = _build(file, name)
        self._eos_token = eos_token if eos_token and self._hf.token_to_id(eos_token) is not None else None
        known = {token.content for token in self._hf.get_added_tokens_decoder().values() if token.special}
        if self._eos_token is not None and self._eos_token not in known:
            self._hf.add_special_tokens([AddedToken(self._eos_token, special=True, normalized=False)])
        added = sorted(self._hf.get_added_tokens_decoder().items())
        self._added = {token.content: number for number, token in added}
        self._strips = {token.content: (token.lstrip, token.rstrip) for _, token in added}
        self.special_tokens = {token.content: number for number, token in added if token.special}
        ends = (END_OF_TEXT, self._eos_token)
        self.end_of_text = next((self.special_tokens[end] for end in ends if end in self.special_tokens), None)
        self.begin_of_text = self.special_tokens.get(tokenizer_json.first_of_every_text(self._description) or "")
        self.spaces_every_run = tokenizer_json.spaces_every_run(self._description)
        vocabulary = self._hf.get_vocab(with_added_tokens=True)
        self._longest_token = max(map(len, vocabulary), default=0)
        self.vocab_size = max(vocabulary.values(), default=-1) + 1
        # Byte strings, lists and caches are as long as the highest id: one absurd id must not fill the memory.
        if not vocabulary or self.vocab_size > 4 * len(vocabulary) + 1024:
            raise DataError(
                f"{name}: has {len(vocabulary)} tokens, but ids up to {self.vocab_size - 1}; get a whole copy"
            )
        self._special_ids = frozenset(self.special_tokens.values())
        self._never_from_text = self._special_ids - {tokenizer_json.unknown_id(self._description, self.special_tokens)}
        inputs = tokenizer_json.bulk_inputs(self._description)
        usable = inputs is not None and self._special_ids.isdisjoint(inputs[0].values())
        self._bulk = bulk.encoder(*inputs, self.fingerprint, self._encode_by_hf) if inputs and usable else None

    # Making one

    @classmethod
    def is_in(cls, folder: Path) -> bool:
        """Whether a folder holds a tokenizer."""
        return (Path(folder) / "tokenizer.json").is_file()

    @classmethod
    def load(cls, folder: Path) -> "Tokenizer":
        """The tokenizer.json of a folder, with the eos token that the files beside it name; DataError when broken."""
        path = Path(folder) / "tokenizer.json"
        file = tokenizer_json.read_file(path)
        return cls(file, name=str(path), eos_token=tokenizer_json.named_eos(path.parent))

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int, special: Sequence[str] = (END_OF_TEXT,)) -> "Tokenizer":
        """Learns a byte-level BPE of `vocab_size` bytes, merges and special tokens, or fewer if the texts give no more.

        Raises ConfigError for a size without room for the 256 bytes, DataError for lone surrogates.
        """
        special = _checked_specials(special)
        if vocab_size < 256 + len(special):
            raise ConfigError(
                f"the vocabulary size is {vocab_size}; 256 bytes and {len(special)} special tokens come first, "
                f"so give more than {256 + len(special)}"
            )
        vocabulary = bpe.train(texts, vocab_size - len(special))
        ids = {bpe.to_symbols(token): number for number, token in enumerate(vocabulary.tokens)}
        merges = [f"{bpe.to_symbols(left)} {bpe.to_symbols(right)}" for left, right in vocabulary.merges]
        specials = {token: len(ids) + number for number, token in enumerate(special)}
        for token in ids.keys() & specials.keys():
            raise ConfigError(f"the special token {token!r} is an ordinary token of these texts; give it a rarer name")
        return cls(tokenizer_json.write(tokenizer_json.byte_level(ids, merges, specials)))

    @classmethod
    def from_gpt2_files(cls, encoder_json: Path, vocab_bpe: Path) -> "Tokenizer":
        """GPT-2's own two files: `encoder.json` (token -> id) and `vocab.bpe` (a version line, then the merges)."""
        ids = tokenizer_json.parse(tokenizer_json.read_file(encoder_json), str(encoder_json))
        lines = tokenizer_json.read_file(vocab_bpe).decode("utf-8", "replace").split("\n")
        merges = [line for line in lines if line and not line.startswith("#version")]
        specials = {END_OF_TEXT: ids[END_OF_TEXT]} if END_OF_TEXT in ids else {}
        return cls(tokenizer_json.write(tokenizer_json.byte_level(ids, merges, specials)), name=str(encoder_json))

    def with_special(self, tokens: Sequence[str]) -> "Tokenizer":
        """A copy where these are special tokens; those that are new get the ids after the highest, in this order."""
        numbers: dict[str, int] = {}
        highest = self.vocab_size - 1
        for token in _checked_specials(tokens):
            known = self._hf.token_to_id(token)
            highest += known is None
            numbers[token] = highest if known is None else known
        if all(token in self.special_tokens for token in numbers):
            return self
        file = tokenizer_json.write(tokenizer_json.with_special(self._description, numbers))
        return Tokenizer(file, eos_token=self._eos_token)

    def save(self, folder: Path) -> None:
        """Writes tokenizer.json, byte for byte what was read or made; it appears whole or not at all."""
        disk.write(Path(folder) / "tokenizer.json", self.file)

    # Text to ids

    def encode(self, text: str, *, continues: bool = False) -> list[int]:
        """Ordinary ids only, whatever the text spells; raises DataError for lone surrogates.

        continues: the text goes on from an earlier run, so a vocabulary that begins a text with a space does not here.
        """
        return self.encode_batch([text], continues=continues)[0]

    def encode_batch(self, texts: Sequence[str], *, continues: bool = False) -> list[list[int]]:
        """As `encode`, for many texts at once."""
        for text in texts:
            check_text(text, "the text")
        if self._bulk is None:
            return self._encode_by_hf(texts, continues)
        encode = self._bulk.encode_ordinary
        return [self._encode_by_hf([text])[0] if bulk.is_flood(text) else encode(text) for text in texts]

    def splits_before(self, left: str, right: str) -> bool:
        """Whether no token reaches over the seam left|right: the pre-tokenizer, which sees both, cuts just there.

        SentencePiece's vocabularies cut at no line ends; there it is enough that no token fits over the seam.
        """
        if not left or not right:
            return True
        whole = left + right
        if self._hf.normalizer is not None:
            whole, left = (self._hf.normalizer.normalize_str(text) for text in (whole, left))
        if not whole.startswith(left):
            return False
        cut = self._hf.pre_tokenizer.pre_tokenize_str if self._hf.pre_tokenizer is not None else _in_one
        words = [(word, start) for word, (start, _) in cut(whole)]
        if any(start == len(left) for _, start in words) or tokenizer_json.is_byte_level(self._description):
            return any(start == len(left) for _, start in words)
        before, start = next(((word, start) for word, (start, _) in reversed(cut(left))), ("", 0))
        joined = next((word for word, begins in words if begins == start), "")
        return joined.startswith(before) and not self._reaches_over(before, joined[len(before) :])

    def _reaches_over(self, left: str, right: str) -> bool:
        """Whether some token could be made of the end of one text and the start of the other, as the model has them."""
        if not tokenizer_json.joins_only_known_tokens(self._description):
            return True
        longest = self._longest_token
        ends = [left[-size:] for size in range(1, min(len(left), longest) + 1)]
        starts = [right[:size] for size in range(1, min(len(right), longest) + 1)]
        return any(self._hf.token_to_id(end + start) is not None for end in ends for start in starts)

    def _encode_by_hf(self, texts: Sequence[str], continues: bool = False) -> list[list[int]]:
        hf = self._hf_continuing if continues else self._hf
        try:
            rows = [found.ids for found in hf.encode_batch_fast(list(texts), add_special_tokens=False)]
        except Exception as error:  # a bare one again: a word is unknown and the vocabulary has no token for that
            raise DataError(f"the text cannot be written with this vocabulary ({error}); use another one") from None
        return [
            ids if self._never_from_text.isdisjoint(ids) else self._encode_in_parts(text, continues)
            for text, ids in zip(texts, rows, strict=True)
        ]

    def _encode_in_parts(self, text: str, continues: bool) -> list[int]:
        """Where the model knows special tokens as words (Unigram, WordLevel): cuts each after its first letter."""
        spellings = sorted(self.special_tokens, key=len, reverse=True)
        cuts = [found.start() + 1 for found in re.finditer("|".join(map(re.escape, spellings)), text)]
        parts = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        ids = list(self._hf.encode(parts[0], add_special_tokens=False).ids) if not continues else []
        for part in parts if continues else parts[1:]:
            ids += self._hf_continuing.encode(part, add_special_tokens=False).ids
        if not self._never_from_text.isdisjoint(ids):
            raise DataError(f"the text {text[:40]!r}… cannot be written without a special token; take that text out")
        return ids

    @cached_property
    def _hf_continuing(self) -> HFTokenizer:
        """The same vocabulary without the space that it puts before a text."""
        description = tokenizer_json.without_prefix_space(self._description)
        if description == self._description:
            return self._hf
        return _build(tokenizer_json.write(description), "tokenizer.json")

    # Ids to text

    def decode(self, ids: Sequence[int], *, skip_special: bool = False) -> str:
        """The text of these ids; bytes that are no UTF-8 become U+FFFD. Raises ConfigError for an id out of range."""
        self._check(ids)
        if not tokenizer_json.is_byte_level(self._description):
            return str(self._hf.decode(list(ids), skip_special_tokens=skip_special))
        skipped = self._special_ids if skip_special else frozenset()
        pieces = self._pieces
        return b"".join([pieces[number] for number in ids if number not in skipped]).decode("utf-8", "replace")

    def bytes_of(self, number: int) -> bytes:
        """What the id stands for inside a text, also where that is a part of a character. Raises ConfigError as `decode`."""
        self._check((number,))
        if tokenizer_json.is_byte_level(self._description):
            return self._pieces[number]
        if self._is_byte(number):
            return bytes([int(str(self._hf.id_to_token(number))[3:5], 16)])
        before = self.encode("a")  # decoders strip the space of the first
        return self.decode([*before, number])[len(self.decode(before)) :].encode()

    def decoder(self) -> StreamDecoder:
        """Decodes one stream of ids: `.push(id)` gives the text that is certain by now, `.flush()` what is left."""
        if tokenizer_json.is_byte_level(self._description):
            return ByteStream(self._pieces, self._check)
        return WindowStream(self.decode)

    def id_of(self, token: str) -> int | None:
        """The id of an added token (special or not) by its spelling, or None."""
        return self._added.get(token)

    def spelling_of(self, number: int | None) -> str | None:
        """The spelling of an added token (special or not) by its id, or None."""
        return next((token for token, known in self._added.items() if known == number), None)

    def strips(self, token: str) -> tuple[bool, bool]:
        """Whether an added token takes the white space before it, and after it, along (Phi-3's `<|end|>` the latter)."""
        return self._strips.get(token, (False, False))

    @cached_property
    def byte_lengths(self) -> list[int]:
        """How many UTF-8 bytes each id stands for inside a text; 0 for special and for unused ids."""
        if tokenizer_json.is_byte_level(self._description):
            lengths = [len(piece) for piece in self._pieces]
        else:  # what the id adds behind another one, because decoders strip the space of the first
            before = self.encode("a")
            rows = self._hf.decode_batch([before, *([*before, number] for number in range(self.vocab_size))])
            lengths = [len(text.encode()) - len(rows[0].encode()) for text in rows[1:]]
            lengths = [1 if self._is_byte(number) else length for number, length in enumerate(lengths)]
        return [0 if number in self._special_ids else length for number, length in enumerate(lengths)]

    @cached_property
    def _pieces(self) -> list[bytes]:
        """The bytes of each id of a byte-level vocabulary; b"" for one that is not used."""
        spelled = (self._hf.id_to_token(number) for number in range(self.vocab_size))
        return [bpe.from_symbols(token or "") for token in spelled]

    def _is_byte(self, number: int) -> bool:
        """Whether the id is a single byte of a vocabulary that falls back to them: `<0x0A>`."""
        return re.fullmatch(r"<0x[0-9A-F]{2}>", self._hf.id_to_token(number) or "") is not None

    def _check(self, ids: Sequence[int]) -> None:
        """Raises ConfigError for an id that the vocabulary does not reach."""
        for number in (min(ids), max(ids)) if len(ids) else ():
            if not 0 <= number < self.vocab_size:
                raise ConfigError(
                    f"the token id is {number}, but the ids of this vocabulary are 0 to {self.vocab_size - 1}; "
                    "use the tokenizer that belongs to the model"
                )


def _in_one(text: str) -> list[tuple[str, tuple[int, int]]]:
    """What a pre-tokenizer that never cuts would say."""
    return [(text, (0, len(text)))]


def _checked_specials(tokens: Sequence[str]) -> list[str]:
    """Each once; raises ConfigError for one that nobody could see."""
    for token in tokens:
        check_text(token, "a special token")
        if not token or token != token.strip():
            raise ConfigError(f"a special token is {token!r}; it must be visible, without white space at its ends")
    return list(dict.fromkeys(tokens))


def _build(file: bytes, name: str) -> HFTokenizer:
    """HF's tokenizer with everything off that would change what a text becomes: cutting, padding, dropout, specials."""
    try:
        found = HFTokenizer.from_buffer(file)
    except Exception as error:  # it raises bare Exceptions with the parser's message
        raise DataError(f"{name}: is no tokenizer.json ({error}); save it again with save_pretrained") from None
    found.no_truncation()
    found.no_padding()
    found.encode_special_tokens = True  # not kept in the file, so it is set on every load
    return found
