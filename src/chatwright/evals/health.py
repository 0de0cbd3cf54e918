"""Chat health: does a reply end, repeat itself, or speak for the user?

In come completions, out goes a `Health`. Every rule is a plain function of the text, so that a reader can
check by eye what was counted; nothing here asks a model.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy

if TYPE_CHECKING:
    from chatwright.generate.engine import Completion

# One word: a run of letters and digits, or one character of a script that puts no spaces between words.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_]+")
_LIST_MARK = re.compile(r"^[ \t]*(?:[-*+•]|\(?\d{1,3}[.)]|\(?[a-zA-Z][.)])[ \t]+", re.MULTILINE)
_INLINE_NUMBER = re.compile(r"(?<!\S)\d{1,3}[.)](?=\s)")
_FENCE = re.compile(r"^[ \t]*```.*?(?:^[ \t]*```[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"^(?:\t| {2,})(?!\s*(?:[-*+•]|\d)).*$", re.MULTILINE)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+|[。！？]")
_CHARACTER_RUN = re.compile(r"([^\s\d\-=_*#~.|+][^\s]{0,7}?)\1{9,}")
_ROLE_LINE = re.compile(
    r"^[ \t>]*(?:\*\*|#{1,4}[ \t]*)?(?:"
    r"(?:User|Human|Assistant|USER|HUMAN|ASSISTANT)(?:\*\*)?[ \t]*:"
    r"|#{2,4}[ \t]*(?:Instruction|Response|Input|User|Human|Assistant)[ \t]*(?:\*\*)?:?[ \t]*$)",
    re.MULTILINE,
)
_CONTROL_TOKEN = re.compile(
    r"<\|(?:im_start|im_end|endoftext|user|assistant|system|end|eot_id|start_header_id|end_header_id)\|>"
    r"|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>"
)

SPAN_REPEATS, SPAN_WORDS = 3, 9  # prose: three times in a row, nine words in all
CODE_REPEATS, CODE_WORDS = 8, 24  # code repeats honestly: eight times in a row
SENTENCE_REPEATS, SENTENCE_WORDS = 3, 4
LETTERLESS_WORDS = 40  # "0 0 0 0 0 0 0 0 0 0" may be a row of a matrix


@dataclass(frozen=True)
class Health:
    """What `n` replies look like. Counts are replies; `mean_words` is per reply; distinct-n is a share in [0, 1].

    `stopped` ended by themselves, `by_string` at a stop string; all others ran into a limit. `distinct_1` and
    `distinct_2` are the share of different words and word pairs within a reply, averaged over replies long
    enough to have any (after Li et al. 2016, who pool all replies: then it falls with n); NaN when none is.
    """

    n: int
    stopped: int
    by_string: int
    loops: int
    role_leaks: int
    empty: int
    mean_words: float
    distinct_1: float
    distinct_2: float

    @property
    def stop_rate(self) -> float:
        """Share of the replies that stopped by themselves."""
        return self._share(self.stopped)

    @property
    def loop_rate(self) -> float:
        """Share of the replies that repeat themselves."""
        return self._share(self.loops)

    @property
    def leak_rate(self) -> float:
        """Share of the replies that write a role marker, that is, begin to speak for someone."""
        return self._share(self.role_leaks)

    def _share(self, count: int) -> float:
        return count / self.n if self.n else math.nan


def measure(completions: Sequence[Completion]) -> Health:
    """The health of a list of replies."""
    texts = [completion.text for completion in completions]
    finishes = Counter(completion.finish for completion in completions)
    return Health(
        n=len(texts),
        stopped=finishes["stop"],
        by_string=finishes["string"],
        loops=sum(map(loops, texts)),
        role_leaks=sum(map(leaks_role, texts)),
        empty=sum(not text.strip() for text in texts),
        mean_words=_mean([len(words(text)) for text in texts]),
        distinct_1=_mean([distinct(text, 1) for text in texts]),
        distinct_2=_mean([distinct(text, 2) for text in texts]),
    )


def loops(text: str) -> bool:
    """Whether a reply repeats itself. True when any of these holds:

    - in prose, a span of words stands three or more times in a row and fills nine or more words
      ("very very good" is style, nine times "very" is not); list numbers do not hide a repetition;
    - in code (fenced or indented), the same eight times in a row, filling 24 words;
    - a sentence or line of four or more words stands three times anywhere in prose;
    - a piece of one to eight characters stands ten times in a row ("hahaha…"), rules such as "-----" apart.
    """
    prose = _FENCE.sub("\n", text)
    code = [*_FENCE.findall(text), "\n".join(_INDENTED.findall(prose))]
    prose = _INDENTED.sub("", prose) if _looks_like_code(prose) else prose
    prose = _INLINE_NUMBER.sub(" ", _LIST_MARK.sub("", prose))
    return (
        _repeats(words(prose), SPAN_REPEATS, SPAN_WORDS)
        or any(_repeats(words(block), CODE_REPEATS, CODE_WORDS) for block in code)
        or _repeats_a_sentence(prose)
        or _CHARACTER_RUN.search(prose) is not None
    )


def leaks_role(text: str) -> bool:
    """Whether a reply writes a control token, or a role marker at the start of a line outside fenced code."""
    return _CONTROL_TOKEN.search(text) is not None or _ROLE_LINE.search(_FENCE.sub("\n", text)) is not None


def distinct(text: str, n: int) -> float:
    """The share of a reply's word n-grams that differ: `distinct("a b a b", 2) -> 2 / 3`; NaN when it has none."""
    found = words(text)
    grams = [tuple(found[i : i + n]) for i in range(len(found) - n + 1)]
    return len(set(grams)) / len(grams) if grams else math.nan


def words(text: str) -> list[str]:
    """The words of a text without case and punctuation."""
    return _WORD.findall(text.casefold())


def _repeats(found: list[str], times: int, least: int) -> bool:
    """Whether a span repeats `times` in a row and fills at least `least` words (many more when it has no letter)."""
    if len(found) < least:
        return False
    numbers: dict[str, int] = {}
    ids = numpy.array([numbers.setdefault(word, len(numbers)) for word in found])
    for period in range(1, len(found) // times + 1):
        same = numpy.concatenate([[False], ids[period:] == ids[:-period], [False]])
        edges = numpy.flatnonzero(same[1:] != same[:-1]).reshape(-1, 2)  # (runs, 2): where a run starts and ends
        for start, end in edges.tolist():
            filled = (end - start + period) // period * period  # whole repetitions only
            letters = any(word.isalpha() for word in found[start : start + period])
            if filled >= times * period and filled >= (least if letters else LETTERLESS_WORDS):
                return True
    return False


def _repeats_a_sentence(prose: str) -> bool:
    """Whether one sentence or line of enough words stands three times, next to each other or not."""
    sentences = (tuple(words(sentence)) for sentence in _SENTENCE_END.split(prose))
    counts = Counter(sentence for sentence in sentences if len(sentence) >= SENTENCE_WORDS)
    return any(count >= SENTENCE_REPEATS for count in counts.values())


def _looks_like_code(prose: str) -> bool:
    """Whether unfenced text has an indented block under a line that opens one, as Python and C-like languages do."""
    return re.search(r"[:{(\[][ \t]*\n(?:\t| {2,})\S", prose) is not None


def _mean(values: Sequence[float]) -> float:
    real = [value for value in values if not math.isnan(value)]
    return math.fsum(real) / len(real) if real else math.nan
