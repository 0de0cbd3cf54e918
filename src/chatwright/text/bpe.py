"""Byte-level BPE: texts in, a vocabulary of byte strings out, and a reference encoder to read beside it.

Sennrich et al. 2016 (arXiv:1508.07909) on bytes, as GPT-2 does it. Texts are first cut into pre-tokens (words with
their leading space, numbers, signs, white space); merges never cross such a cut. `tokenizer.py` encodes in bulk.
"""

import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise

from tokenizers import pre_tokenizers

from chatwright.errors import ConfigError
from chatwright.text.records import check_text

# How GPT-2 cuts a text. The cut itself is left to `tokenizers`: the regex module knows a newer Unicode, in which 17,480
# code points are of another class, so that its words, and then the ids, would not be those of the bulk encoders.
GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# The same where there is nothing but ASCII, about which no two versions of Unicode differ: ten times faster to count.
_ASCII_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+"

Pair = tuple[int, int]


@dataclass(frozen=True)
class Vocabulary:
    """What each id stands for (`tokens[id]`), and the merges in the order in which they are applied."""

    tokens: tuple[bytes, ...]
    merges: tuple[tuple[bytes, bytes], ...]

    @cached_property
    def ids(self) -> dict[bytes, int]:
        """The id of each byte string."""
        return {token: number for number, token in enumerate(self.tokens)}

    @cached_property
    def ranks(self) -> dict[tuple[bytes, bytes], int]:
        """When a pair is merged: 0 is first."""
        return {pair: rank for rank, pair in enumerate(self.merges)}

    def encode(self, text: str) -> list[int]:
        """The ids of a text in plain Python: the referee of the fast encoders. Raises DataError for lone surrogates."""
        check_text(text, "the text")
        return [self.ids[part] for word in split(text) for part in encode_word(word, self.ranks)]


def encode_word(word: bytes, ranks: dict[tuple[bytes, bytes], int]) -> list[bytes]:
    """Merges the neighbours of lowest rank, all of them from left to right, until no pair is known.

    With the merges l+o (rank 0), lo+w (1), e+r (2), the word `lower`:

        l o w e r  ->  lo w e r  ->  low e r  ->  low er
    """
    parts = [word[i : i + 1] for i in range(len(word))]
    while len(parts) > 1:
        best = min(pairwise(parts), key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        parts = _join(parts, best)
    return parts


def train(texts: Iterable[str], vocab_size: int, *, min_count: int = 2) -> Vocabulary:
    """Learns up to `vocab_size` tokens (256 bytes, then merges), merging the most frequent pair again and again.

    Among equally frequent pairs the one with the lower ids wins (left, then right), the rule of `tokenizers`, whose
    BpeTrainer gives the same merges. Ends early when no pair is left that occurs `min_count` times.
    Raises ConfigError when `vocab_size` has no room for the 256 bytes, DataError for lone surrogates.
    """
    if vocab_size < 256:
        raise ConfigError(f"the vocabulary size is {vocab_size}; the 256 bytes come first, so give 257 or more")
    counted = _count_words(texts)
    tokens = list(byte_order())
    ids = {token: number for number, token in enumerate(tokens)}
    words = [[ids[word[i : i + 1]] for i in range(len(word))] for word in counted]
    trainer = _PairCounts(words, list(counted.values()))
    merges = []
    while len(tokens) < vocab_size:
        found = trainer.most_frequent(min_count)
        if found is None:
            break
        (left, right), where = found
        merged = tokens[left] + tokens[right]
        new = ids.setdefault(merged, len(tokens))  # two different pairs can spell the same token
        if new == len(tokens):
            tokens.append(merged)
        merges.append((tokens[left], tokens[right]))
        trainer.merge(left, right, new, where)
    return Vocabulary(tuple(tokens), tuple(merges))


class _PairCounts:
    """How often each pair of neighbours occurs and in which words, kept up to date merge by merge.

    The heap is lazy: an entry whose count has fallen since it was pushed is put back with the count of now. Counts of
    a pair rise only in the merge that makes the newer of its two tokens, and that merge pushes the entry.
    """

    def __init__(self, words: list[list[int]], counts: list[int]) -> None:
        self.words, self.counts = words, counts
        self.pairs: defaultdict[Pair, int] = defaultdict(int)
        where: defaultdict[Pair, set[int]] = defaultdict(set)
        for number, word in enumerate(words):
            for pair in pairwise(word):
                self.pairs[pair] += counts[number]
                where[pair].add(number)
        self.heap = [(-self.pairs[pair], pair, numbers) for pair, numbers in where.items()]
        heapq.heapify(self.heap)

    def most_frequent(self, min_count: int) -> tuple[Pair, set[int]] | None:
        """The next pair to merge and the words it is in, or None when none occurs `min_count` times."""
        while self.heap:
            negative, pair, where = heapq.heappop(self.heap)
            count = self.pairs[pair]
            if count == -negative:
                return (pair, where) if count >= max(1, min_count) else None
            heapq.heappush(self.heap, (-count, pair, where))
        return None

    def merge(self, left: int, right: int, new: int, where: set[int]) -> None:
        """Replaces left+right by new in these words; only the pairs beside a replacement change their counts."""
        pairs, risen = self.pairs, defaultdict(set)
        for number in where:
            word, count = self.words[number], self.counts[number]
            out: list[int] = []
            i, last = 0, len(word) - 1
            while i <= last:
                if i == last or word[i] != left or word[i + 1] != right:
                    out.append(word[i])
                    i += 1
                    continue
                if out:
                    pairs[out[-1], left] -= count
                    pairs[out[-1], new] += count
                    risen[out[-1], new].add(number)
                i += 2
                if i <= last:
                    pairs[right, word[i]] -= count
                    pairs[new, word[i]] += count
                    risen[new, word[i]].add(number)
                out.append(new)
            self.words[number] = out
        for pair, numbers in risen.items():
            if pairs[pair] > 0:
                heapq.heappush(self.heap, (-pairs[pair], pair, numbers))


def split(text: str) -> list[bytes]:
    """The pre-tokens of a text by GPT-2's rule: `"It's 5 o'clock" -> [b"It", b"'s", b" 5", b" o", b"'", b"clock"]`."""
    pieces = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True).pre_tokenize_str(text)
    return [from_symbols(piece) for piece, _ in pieces]


@cache
def byte_order() -> tuple[bytes, ...]:
    """The 256 bytes in the order of GPT-2's vocabulary: those that print as one visible character, then the others."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return tuple(bytes([byte]) for byte in [*visible, *sorted(set(range(256)) - set(visible))])


@cache
def symbols() -> dict[int, str]:
    """The visible character by which vocabulary files write a byte: a space is `Ġ`, a newline `Ċ`, `a` is `a`."""
    visible = 256 - 68
    return {token[0]: chr(token[0]) if i < visible else chr(256 + i - visible) for i, token in enumerate(byte_order())}


@cache
def _symbol_table() -> dict[int, str | int]:
    """The other way round, as `str.translate` wants it; what is no symbol becomes a character that is no byte."""
    foreign: dict[int, str | int] = dict.fromkeys(range(256), "\uffff")
    return foreign | {ord(symbol): byte for byte, symbol in symbols().items()}


def to_symbols(token: bytes) -> str:
    """How a vocabulary file writes a token: `b" the" -> "Ġthe"`."""
    return "".join(map(symbols().__getitem__, token))


def from_symbols(written: str) -> bytes:
    """The bytes of a token as a vocabulary file writes it; what is written with other characters stands for itself."""
    try:
        return written.translate(_symbol_table()).encode("latin-1")
    except UnicodeEncodeError:
        return written.encode()


def _count_words(texts: Iterable[str]) -> Counter[bytes]:
    """How often each pre-token occurs."""
    plain: Counter[str] = Counter()
    words: Counter[bytes] = Counter()
    find = re.compile(_ASCII_PATTERN, re.ASCII).findall
    for text in texts:
        check_text(text, "a training text")
        if text.isascii():
            plain.update(find(text))
        else:
            words.update(split(text))
    for word, count in plain.items():
        words[word.encode()] += count
    return words


def _join(parts: Sequence[bytes], pair: tuple[bytes, bytes]) -> list[bytes]:
    """The parts with every occurrence of the pair, from left to right, made one."""
    out: list[bytes] = []
    i = 0
    while i < len(parts):
        if i + 1 < len(parts) and (parts[i], parts[i + 1]) == pair:
            out.append(parts[i] + parts[i + 1])
            i += 2
        else:
            out.append(parts[i])
            i += 1
    return out
