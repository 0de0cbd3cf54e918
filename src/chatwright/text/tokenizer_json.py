"""What stands in a `tokenizer.json`: the half of `tokenizer.py` that knows the format.

In: the bytes of a file, or tokens and merges. Out: the parsed description, changed copies of it, and bytes again.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from chatwright.errors import DataError
from chatwright.text import bpe

Description = dict[str, Any]
LARGEST_FILE = 256 * 2**20  # bytes; the largest vocabularies in use take about 35 MB


def read_file(path: Path) -> bytes:
    """The bytes of a file; raises DataError with its name when it is missing, unreadable or absurdly large."""
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise DataError(f"{path}: has {size >> 20} MB; a vocabulary's file has less than {LARGEST_FILE >> 20} MB")
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file; give a model folder that holds a tokenizer.json") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check what it is") from None


def parse(file: bytes, name: str) -> Description:
    """A JSON object; raises DataError when the bytes are none."""
    try:
        found = json.loads(file)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name}: is not valid JSON ({error}); fetch or save it again") from None
    if not isinstance(found, dict):
        raise DataError(f"{name}: holds {type(found).__name__}; it must be a JSON object")
    return found


def check(description: Description, name: str) -> None:
    """Raises DataError for what HF's reader lets pass, or dies of, and what is read here later."""
    model = description.get("model")
    if not isinstance(model, dict):
        raise DataError(f"{name}: has no model with a vocabulary; it is no tokenizer.json")
    for key in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        _check_rule(description.get(key), f"{name}: the {key}")
    # A merge that lacks the prefix makes `tokenizers` 0.23 cut inside a character, which ends the process.
    prefix = model.get("continuing_subword_prefix")
    merges = model.get("merges")
    if prefix and isinstance(prefix, str) and isinstance(merges, list):
        for merge in merges:
            right = str(merge).split(" ")[-1] if isinstance(merge, str) else merge[-1:]
            if not "".join(map(str, right)).startswith(prefix):
                raise DataError(f"{name}: the merge {merge!r} goes without the prefix {prefix!r}; get the file again")


def _check_rule(rule: Any, what: str) -> None:
    """A rule is nothing or an object with a type; a sequence is a list of them."""
    if rule is None:
        return
    if not isinstance(rule, dict) or not isinstance(rule.get("type"), str):
        raise DataError(f"{what} is {str(rule)[:40]!r}; it must be an object with a type")
    for key in ("pretokenizers", "normalizers", "processors", "decoders"):
        parts = rule.get(key, [])
        if not isinstance(parts, list):
            raise DataError(f"{what} has {key} that are no list; get the file again")
        for part in parts:
            if part is None:
                raise DataError(f"{what} has an empty part; get the file again")
            _check_rule(part, what)


def write(description: Mapping[str, Any]) -> bytes:
    """The bytes of a file, laid out as HF's `save(pretty=True)` does."""
    return json.dumps(description, ensure_ascii=False, indent=2).encode()


def special_entry(token: str, number: int) -> Description:
    """How a special token is listed under `added_tokens`."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": number, "content": token, **flags}


def byte_level(ids: Mapping[str, int], merges: Sequence[str], special: Mapping[str, int]) -> Description:
    """A GPT-2-like vocabulary. Merges are written as "a b", which readers of every age understand."""
    rules = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [special_entry(token, number) for token, number in special.items()],
        "normalizer": None,
        "pre_tokenizer": rules,
        "post_processor": None,
        "decoder": rules,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {**ids, **special},
            "merges": list(merges),
        },
    }


def with_special(description: Description, tokens: Mapping[str, int]) -> Description:
    """A copy that lists these special tokens, in the model's vocabulary too: then the ids before may have gaps."""
    entries = {entry["content"]: entry for entry in description.get("added_tokens") or []}
    entries |= {token: special_entry(token, number) for token, number in tokens.items()}
    model = dict(description["model"])
    if isinstance(model["vocab"], dict):
        model["vocab"] = {**model["vocab"], **tokens}
    added = sorted(entries.values(), key=lambda entry: int(entry["id"]))
    return {**description, "added_tokens": added, "model": model}


def bulk_inputs(description: Description) -> tuple[dict[bytes, int], str] | None:
    """The ids by their bytes and the regex, if this is a byte-level BPE that tiktoken could do; else None.

    Asked for: no normalizer, no added tokens but special ones, all 256 bytes, ids in merge order.
    """
    model, pattern = description["model"], _byte_level_pattern(description.get("pre_tokenizer"))
    added = description.get("added_tokens") or []
    changed = ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback")
    if (
        pattern is None
        or model.get("type") != "BPE"
        or description.get("normalizer") is not None
        or any(model.get(key) for key in changed)
        or not all(entry.get("special") for entry in added)
    ):
        return None
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    vocabulary = model["vocab"]
    merged = [vocabulary[left + right] for left, right in pairs]
    written = [bpe.to_symbols(byte) for byte in bpe.byte_order()] + [left + right for left, right in pairs]
    complete = {entry["content"] for entry in added}.union(written).issuperset(vocabulary)
    increasing = all(before < after for before, after in pairwise(merged))
    if not complete or not increasing or any(token not in vocabulary for token in written[:256]):
        return None
    token_ids = {bpe.from_symbols(token): vocabulary[token] for token in written}
    return (token_ids, pattern) if len(set(token_ids.values())) == len(token_ids) else None


def _byte_level_pattern(rules: Description | None) -> str | None:
    """The regex of a byte-level pre-tokenizer, or None for any other kind."""
    if rules is None:
        return None
    parts = rules["pretokenizers"] if rules["type"] == "Sequence" else [rules]
    if not parts:
        return None
    *cuts, last = parts
    if last["type"] != "ByteLevel" or last.get("add_prefix_space"):
        return None
    if last.get("use_regex", True):
        return None if cuts else bpe.GPT2_PATTERN
    if len(cuts) != 1 or cuts[0]["type"] != "Split" or cuts[0]["behavior"] != "Isolated" or cuts[0].get("invert"):
        return None
    found = cuts[0]["pattern"].get("Regex")
    return found if isinstance(found, str) else None


def is_byte_level(description: Description) -> bool:
    """Whether ids stand for byte strings that are simply joined."""
    decoder = description.get("decoder")
    return isinstance(decoder, dict) and decoder.get("type") == "ByteLevel"


def unknown_id(description: Description, special_tokens: Mapping[str, int]) -> int | None:
    """The id that a model gives to what it cannot write, which a text may yield; Unigram names it by its number."""
    model = description["model"]
    number: int | None = model.get("unk_id", special_tokens.get(model.get("unk_token") or ""))
    return number


def without_prefix_space(description: Description) -> Description:
    """A copy that puts no space before a text: for the runs after the first one."""
    return {
        **description,
        "pre_tokenizer": _unprefixed(description.get("pre_tokenizer")),
        "normalizer": _unprefixed(description.get("normalizer")),
    }


def _unprefixed(rules: Description | None) -> Description | None:
    """One rule, or a sequence of them, with the prefix switched off."""
    if rules is None or rules["type"] == "Prepend":
        return None
    if rules["type"] == "Sequence":
        key = "pretokenizers" if "pretokenizers" in rules else "normalizers"
        return {**rules, key: [rule for part in rules[key] if (rule := _unprefixed(part)) is not None]}
    if rules["type"] == "Metaspace":
        return {**rules, "add_prefix_space": False, "prepend_scheme": "never"}
    if rules["type"] == "ByteLevel":
        return {**rules, "add_prefix_space": False}
    return rules


def spaces_every_run(description: Description) -> bool:
    """Whether the space before a text comes again after each special token; Metaspace's scheme `first` has it once."""
    return any(
        rule["type"] == "Prepend"
        or (rule["type"] == "ByteLevel" and bool(rule.get("add_prefix_space")))
        or (rule["type"] == "Metaspace" and _metaspace_scheme(rule) == "always")
        for rule in [*_rules(description.get("normalizer")), *_rules(description.get("pre_tokenizer"))]
    )


def _metaspace_scheme(rule: Description) -> str:
    """Older files say only whether there is a space at all."""
    return str(rule.get("prepend_scheme") or ("always" if rule.get("add_prefix_space", True) else "never"))


def _rules(rule: Any) -> list[Description]:
    """One rule as it stands, or those of a sequence."""
    if rule is None:
        return []
    parts = rule.get("pretokenizers") or rule.get("normalizers") or rule.get("processors") or []
    return [inner for part in parts for inner in _rules(part)] if rule["type"] == "Sequence" else [rule]


def first_of_every_text(description: Description) -> str | None:
    """The spelling of the token that the post-processor puts before a text, or None."""
    for rule in _rules(description.get("post_processor")):
        first, *_ = [*(rule.get("single") or []), {}] if rule["type"] == "TemplateProcessing" else [{}]
        if "SpecialToken" in first:
            return str(first["SpecialToken"]["id"])
    return None


def joins_only_known_tokens(description: Description) -> bool:
    """Whether two texts become the ids of both, one after the other, if no token can be made across their seam."""
    model = description["model"]
    marked = model.get("continuing_subword_prefix") or model.get("end_of_word_suffix")
    return model.get("type") in ("BPE", "Unigram") and not marked


def named_eos(folder: Path) -> str | None:
    """The spelling of the token that ends a document, in tokenizer_config.json or special_tokens_map.json.

    That is their eos token; in a chatbot's folder the eos token ends a turn, and `end_of_text` names the other one.
    """
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        path = folder / name
        if not path.is_file():
            continue
        settings = parse(read_file(path), str(path))
        token = settings.get("end_of_text") or settings.get("eos_token")
        spelling = token.get("content") if isinstance(token, dict) else token
        if isinstance(spelling, str) and spelling:
            return spelling
    return None
