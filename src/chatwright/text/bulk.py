"""Encoding at tiktoken's speed, where that is known to give the same ids as `tokenizers`.

In: the tokens by their bytes, the regex and a referee. Out: an encoder, or None where the two disagree on one of
2,000 probes. tiktoken merges any two neighbours that spell a token, HF only the pairs in its list: few vocabularies
can tell the difference.
"""

import hashlib
import os
import random
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import tiktoken

from chatwright.text.bpe import GPT2_PATTERN

PROBES = 2_000
_LETTERS_DIGITS_SIGNS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{digits}"
    r"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# The regexes as tokenizer.json spells them, and as tiktoken gets them: `++` matches the same without stepping back.
KNOWN_PATTERNS = {
    GPT2_PATTERN: r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
    **{p: p for p in (_LETTERS_DIGITS_SIGNS.format(digits=d) for d in ("{1,3}", ""))},  # Llama 3, Qwen 2
}
# tiktoken's regex gives up (it panics) where it has to step back over a million white-space characters.
_FLOOD = 65_536


def encoder(
    token_ids: dict[bytes, int],
    pattern: str,
    fingerprint: str,
    referee: Callable[[Sequence[str]], list[list[int]]],
) -> tiktoken.Encoding | None:
    """An encoder with the referee's ids, or None when it has others for a probe or the regex is unknown.

    The verdict is remembered by `fingerprint` (of the vocabulary's file) and the versions of both libraries.
    """
    known = KNOWN_PATTERNS.get(pattern)
    if known is None:
        return None
    found = tiktoken.Encoding(fingerprint, pat_str=known, mergeable_ranks=token_ids, special_tokens={})
    memory = _memory(fingerprint)
    verdict = _recall(memory)
    if verdict is None:
        texts = probes(token_ids)
        verdict = [found.encode_ordinary(text) for text in texts] == referee(texts)
        _remember(memory, verdict)
    return found if verdict else None


def is_flood(text: str) -> bool:
    """Whether white space runs on for so long that tiktoken might fail: it fills an aligned window."""
    return any(text[i : i + _FLOOD].isspace() for i in range(0, len(text) - _FLOOD + 1, _FLOOD))


def probes(token_ids: dict[bytes, int]) -> list[str]:
    """2,000 strings that hold every token twice, as a word of its own and run together; and rare characters."""
    rng = random.Random(0)
    tokens = [token.decode("utf-8", "replace") for token in token_ids]
    texts = []
    for between in ("\n", ""):
        rng.shuffle(tokens)
        for number in range(PROBES // 2):
            rare = [rng.choice((rng.randrange(0xD800), rng.randrange(0xE000, sys.maxunicode + 1))) for _ in range(8)]
            some = tokens[number :: PROBES // 2] + [chr(code) for code in rare]
            rng.shuffle(some)
            texts.append(between.join(some))
    return texts


def _memory(fingerprint: str) -> Path:
    """The file that remembers whether the probes were equal."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    key = f"{fingerprint} tiktoken {version('tiktoken')} tokenizers {version('tokenizers')} probes {PROBES}"
    return Path(cache) / "chatwright" / "tokenizers" / hashlib.sha256(key.encode()).hexdigest()


def _recall(memory: Path) -> bool | None:
    """What was found the last time; None when nothing readable was."""
    try:
        return {"equal": True, "different": False}.get(memory.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None


def _remember(memory: Path, verdict: bool) -> None:
    """Kept if it can be; a read-only home only means that the probes run again."""
    temporary = memory.with_name(f"{memory.name}.{os.getpid()}")
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text("equal" if verdict else "different", encoding="utf-8")
        temporary.replace(memory)
    except OSError:
        return
