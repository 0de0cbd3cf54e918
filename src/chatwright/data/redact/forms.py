"""The forms in which the people of an export are written: whole names, first and last names, handles.

In come names as exports show them ("Anna-Lena Meyer (@anna_m)"), out come words to look for, folded (letters.py).
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from chatwright.data.redact.letters import WORD, Folding, variants
from chatwright.data.redact.words import EMPTY, GIVEN, ORDINARY

SHORTEST = 3  # letters of a part that is hidden in any case; "Jo" needs its capital, as a first, last or whole name
HANDLE = re.compile(r"@[\w.\-]{2,64}(?:#\d{1,6})?")
_ADDRESS = re.compile(r"([\w.+'-]+)@[\w-]+\.[\w.-]+")
_JOINED = re.compile(r"(?<=[a-z])(?=[A-Z][a-z])")  # the space that signal-export takes out of BenMoor
_BRACKETS = re.compile(r"\([^()]*\)|\[[^\[\]]*\]|\|.*$")
# Scripts without spaces between words: a name is looked for anywhere in the text.
_UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_HANGUL = re.compile(r"[\uac00-\ud7a3]+")  # particles are attached to a name: only its beginning is a boundary


@dataclass(frozen=True)
class Form:
    """Words that follow each other and stand for person number `person`; `strict`: only with a capital letter."""

    words: tuple[str, ...]
    person: int
    strict: bool = False
    exact: bool = False  # with `strict`: "Ed", neither "ED" nor "Ed2"
    ending: int = 0  # letters at the end that are no part of the name: the s of "Annas"
    anywhere: bool = False  # also inside a word


def people(names: Iterable[str], folding: Folding) -> dict[str, int]:
    """Every name -> the number of its person, from 0, where names differ in case, accents or a handle only.

    "Ana (@ana1)" says that Ana and @ana1 are one, unless there is an "Ana (@ana2)" as well: then they are two.
    """
    names = list(dict.fromkeys(names))
    keys = {name: key(name, folding) for name in names}
    handles: dict[str, set[str]] = {}
    for rest, handle in keys.values():
        if handle:
            handles.setdefault(rest, set()).add(handle)
    known = {handle for some in handles.values() for handle in some}
    numbers: dict[str, int] = {}
    found: dict[str, int] = {}
    for name, (rest, handle) in keys.items():
        only = next(iter(handles[rest])) if len(handles.get(rest, ())) == 1 else ""
        whose = handle or only or (rest if rest in known else "")
        found[name] = numbers.setdefault(f"@{whose}" if whose else rest, len(numbers))
    return found


def key(name: str, folding: Folding) -> tuple[str, str]:
    """What two spellings of one name share, and the handle beside it: `("ana", "ana1")`."""
    handles, rest = _handles(name)
    words = " ".join(_words(rest, folding))
    handle = " ".join(_words(handles[0], folding)) if handles else ""
    return words or handle or name.strip(), handle


def forms(name: str, person: int, folding: Folding) -> Iterator[Form]:
    """Every form of one name as an export shows it."""
    handles, rest = _handles(name)
    for handle in handles:
        yield from _of_handle(handle, person, folding)
    for variant in variants(_JOINED.sub(" ", rest)) if " " not in rest else variants(rest):
        whole = _words(variant, folding)
        inner = _trimmed(_words(_BRACKETS.sub(" ", variant), folding))
        if _is_handle(rest):
            yield from _of_handle(rest, person, folding)
        elif not any(character.isalpha() for character in rest):
            digits = "".join(word for word in whole if word.isdigit())
            yield from [Form((digits,), person)] if len(digits) >= 6 else []  # a number that is mentioned as @49151…
        else:
            yield from _of_name(whole, inner, person)
            for part in variant.split():  # O'Neil, Meyer-Schmidt
                if len(joined := _words(part, folding)) > 1 and any(len(word) >= SHORTEST for word in joined):
                    yield from (Form(tuple(joined), person), Form(("".join(joined),), person))


def exactly(words: str, person: int, folding: Folding, *, strict: bool = False) -> Iterator[Form]:
    """What somebody wants hidden, as it is written; its parts are left alone. `strict`: an ordinary word by itself needs
    its capital letter."""
    for variant in variants(words):
        found = tuple(_words(variant, folding))
        literal = folding.fold(variant).text.strip()
        if literal and (not found or _UNSPACED.search(literal) or _HANGUL.search(literal)):
            yield Form((literal,), person, anywhere=True)
        elif strict and len(found) == 1 and (found[0] in ORDINARY or found[0] in EMPTY or len(found[0]) < SHORTEST):
            yield Form(found, person, strict=True)
        else:
            yield from _several(found, person)


def _of_name(whole: list[str], inner: list[str], person: int) -> Iterator[Form]:
    """`inner` is the name without titles and what stands in brackets; its particles ("van der") are no names."""
    core = [word for place, word in enumerate(inner) if word not in EMPTY or (place == 0 and word in GIVEN)]
    ends = [core[0], core[-1]] if len(core) > 1 else []
    for several in (whole, inner, core, ends):
        if len(several) > 1:
            yield from _several(tuple(several), person)
    if ends:
        yield from (Form((glued,), person) for glued in {core[0] + core[-1], "".join(core)})  # annameyer
    for word in core:
        yield from _part(word, person, alone=len(whole) == 1)
    for word in ends:
        if len(word) < SHORTEST and word.isalpha():
            yield from [Form((word,), person, strict=True, exact=True)] if len(word) > 1 else []


def _trimmed(words: list[str]) -> list[str]:
    """Without the words at both ends that name nobody, but with an "Al" in front."""
    named = [i for i, word in enumerate(words) if word not in EMPTY]
    if not named:
        return [word for word in words if word in GIVEN][:1]
    first = named[0] - 1 if named[0] and words[named[0] - 1] in GIVEN else named[0]
    return words[first : named[-1] + 1]


def _part(word: str, person: int, *, alone: bool) -> Iterator[Form]:
    """A first name, a last name, or the only one; `alone`: it is the whole name."""
    if _UNSPACED.search(word) or _HANGUL.fullmatch(word):
        if len(word) > 1:
            yield Form((word,), person, anywhere=True)
        if len(word) == 3 and alone:  # surname and given name in one, as in Chinese and Korean
            yield Form((word[1:],), person, anywhere=True)
    elif word.isdigit() or (len(word) < SHORTEST and not alone) or len(word) < 2:
        return
    elif word in ORDINARY or len(word) < SHORTEST:
        yield Form((word,), person, strict=True)
    else:
        yield from _several((word,), person)


def _of_handle(handle: str, person: int, folding: Folding) -> Iterator[Form]:
    """A handle as it is, and its words where they are written like names: "anna_m" may also be Anna, but not "anna"."""
    words = _words(handle, folding)
    if len("".join(words)) >= SHORTEST:
        yield Form(tuple(words), person, strict=len(words) == 1 and (words[0] in ORDINARY or words[0] in EMPTY))
    for word in words:
        if len(words) > 1 and word.isalpha() and len(word) >= SHORTEST and word not in EMPTY:
            yield Form((word,), person, strict=True)


def _several(words: tuple[str, ...], person: int) -> Iterator[Form]:
    """The words, and the same with the s that several languages add to a name."""
    if not words:
        return
    yield Form(words, person)
    last = words[-1]
    if last.isalpha() and len(last) >= SHORTEST and last not in ORDINARY:
        yield Form((*words[:-1], f"{last}s"), person, ending=1)


def is_no_name(name: str) -> bool:
    """Whether what stands for somebody is an ordinary word: "Me", "You"."""
    return name.strip().casefold() in EMPTY - GIVEN


def plain(name: str) -> str:
    """A name without its handles and marks of direction, on one line."""
    visible = "".join(c for c in _handles(name)[1] if unicodedata.category(c) != "Cf")
    return " ".join(re.sub(r"\(\s*\)|\[\s*\]", " ", visible).split())


def _handles(name: str) -> tuple[list[str], str]:
    """The handles in a name, and the rest of it: "Anna Meyer (@anna_m)"; the name of an address counts as a handle."""
    if address := _ADDRESS.fullmatch(name.strip()):
        return [address[1]], ""
    found = [match[0][1:] for match in HANDLE.finditer(name)]
    return found, HANDLE.sub(" ", name).strip() if found else name


def _is_handle(name: str) -> bool:
    """Whether a name is written as people call themselves online: no space, and a digit or a mark inside."""
    return re.fullmatch(r"(?=.*[\d_.#])[\w.\-#]+", name.strip().rstrip(".")) is not None


def _words(text: str, folding: Folding) -> list[str]:
    return WORD.findall(folding.fold(text).text)
