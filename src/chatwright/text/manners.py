"""Rules about one text that a reader can check by eye: does it repeat itself, does it speak for someone else?

Replies are measured by them, and answers to learn are filtered by them.
"""

import re
from collections import Counter

import numpy

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
LONGEST_SPAN = 500  # words: each length is looked for by itself, and an answer may be a whole book
SENTENCE_REPEATS, SENTENCE_WORDS = 3, 4
LETTERLESS_WORDS = 40  # "0 0 0 0 0 0 0 0 0 0" may be a row of a matrix


def loops(text: str) -> bool:
    """Whether a text repeats itself. True when any of these holds:

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
    """Whether a text writes a control token, or a role marker at the start of a line outside fenced code."""
    return _CONTROL_TOKEN.search(text) is not None or _ROLE_LINE.search(_FENCE.sub("\n", text)) is not None


def points(text: str) -> int:
    """The items of numbered or bulleted lists outside fenced code: `points("1. Sleep.\\n2. Walk.") -> 2`."""
    return len(_LIST_MARK.findall(_FENCE.sub("\n", text)))


def words(text: str) -> list[str]:
    """The words of a text without case and punctuation."""
    return _WORD.findall(text.casefold())


def _repeats(found: list[str], times: int, least: int) -> bool:
    """Whether a span repeats `times` in a row and fills at least `least` words (many more when it has no letter)."""
    if len(found) < least or max(Counter(zip(found, found[1:], found[2:], strict=False)).values()) < times:
        return False  # three words of such a span stand there as often: this is quick to see
    numbers: dict[str, int] = {}
    ids = numpy.array([numbers.setdefault(word, len(numbers)) for word in found])
    for period in range(1, min(LONGEST_SPAN, len(found) // times) + 1):
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
    pieces = _SENTENCE_END.split(prose)
    if len(pieces) < SENTENCE_REPEATS:
        return False
    sentences = (tuple(words(sentence)) for sentence in pieces)
    counts = Counter(sentence for sentence in sentences if len(sentence) >= SENTENCE_WORDS)
    return any(count >= SENTENCE_REPEATS for count in counts.values())


def _looks_like_code(prose: str) -> bool:
    """Whether unfenced text has an indented block under a line that opens one, as Python and C-like languages do."""
    return re.search(r"[:{(\[][ \t]*\n(?:\t| {2,})\S", prose) is not None
