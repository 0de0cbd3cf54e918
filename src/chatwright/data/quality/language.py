"""Which language a row is written in: a code such as "en", or "unknown" where it is too short or mixed to tell."""

from functools import lru_cache
from typing import Any

from chatwright.errors import DataError

UNKNOWN = "unknown"
LONGEST = 400  # characters that are looked at: more seldom change the answer, and each costs a tenth of a microsecond
SHORTEST = 20  # bytes of UTF-8: five Latin words or seven Chinese characters
SURE = 0.5  # probability


class Languages:
    """Tells languages. DataError without the library."""

    def __init__(self) -> None:
        self._identifier = _identifier()

    def of(self, texts: tuple[str, ...]) -> str:
        """The language of the beginning of a row."""
        start = " ".join(text[:LONGEST] for text in texts[:LONGEST])[:LONGEST]
        if len(start.encode()) < SHORTEST:
            return UNKNOWN
        language, probability = self._identifier.classify(start)
        return str(language) if probability >= SURE else UNKNOWN


@lru_cache(maxsize=1)
def _identifier() -> Any:
    """The library's model; reading it takes half a second."""
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError:
        raise DataError("languages are told with py3langid, which is missing; pip install 'chatwright[data]'") from None
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
