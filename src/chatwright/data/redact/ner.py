"""Names in free text, found by a model that was trained for it, through spaCy, which is installed only by who wants it."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from chatwright.errors import ConfigError

LABELS = {"PERSON", "PER", "persName", "person"}  # how pipelines of different languages call a person
BATCH = 256  # texts that the model reads together
LONGEST = 10_000  # characters of one text that are read at once; a pipeline's memory grows with them


def names_in(texts: Iterable[str], model: str) -> list[str]:
    """Every name of a person that `model`, a spaCy pipeline by name or folder, sees in the texts, the commonest first.

    Raises ConfigError where spaCy or the pipeline is missing, or where the pipeline finds no names.
    """
    pipeline = _load(model)
    found: Counter[str] = Counter()
    pieces = (text[start : start + LONGEST] for text in texts for start in range(0, len(text), LONGEST))
    for document in pipeline.pipe(pieces, batch_size=BATCH):
        found.update(" ".join(entity.text.split()) for entity in document.ents if entity.label_ in LABELS)
    return [name for name, _ in found.most_common() if any(character.isalpha() for character in name)]


def _load(model: str) -> Any:
    try:
        import spacy
    except ImportError:
        raise ConfigError(
            f"--redact.ner is {model}, but spaCy, which reads such models, is not installed; "
            "pip install spacy, and a pipeline for the language of the chats"
        ) from None
    try:
        pipeline = spacy.load(model)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"--redact.ner is {model}, which is no spaCy pipeline that can be loaded here ({reason[:200]}); "
            "give the name of one that is installed, or its folder"
        ) from None
    if not {"ner", "entity_ruler", "span_ruler"} & set(pipeline.pipe_names):
        parts = ", ".join(pipeline.pipe_names) or "nothing"
        raise ConfigError(f"--redact.ner is {model}, which finds no names (it has {parts}); give a pipeline with 'ner'")
    return pipeline
