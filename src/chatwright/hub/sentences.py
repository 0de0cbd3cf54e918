"""What the hub's client raises, as the one sentence that the user gets."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chatwright import disk
from chatwright.errors import ChatwrightError, ConfigError


@contextmanager
def explained(repo: str, revision: str | None = None, *, reading: bool = True) -> Iterator[None]:
    """Turns a refusal or a failure of the hub into a ConfigError of one sentence, and a full disk into DiskFull.

    While reading, a name may be a folder that is misspelt, and the sentence says so.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import HFValidationError, HTTPError

    try:
        with disk.room(Path(constants.HF_HUB_CACHE)):
            yield
    except ChatwrightError:
        raise
    except HFValidationError:
        raise ConfigError(f"{_named(repo, reading)} cannot be a model's name on the hub") from None
    except (HTTPError, OSError) as error:
        raise ConfigError(_sentence(error, repo, revision, reading)) from None


def reason_of(error: Exception) -> str:
    """What went wrong, in a few words; a line that shows the header with the token is left out."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set"
    if isinstance(error, HfHubHTTPError):
        return f"{error.response.status_code} {error.response.reason_phrase}".strip()
    line = str(error).strip().partition("\n")[0].rstrip(".")
    return type(error).__name__ + (f": {line}" if line and "Bearer" not in line else "")


def wanted_wait(error: Exception) -> float:
    """The seconds that an answer asks to wait, 0 where it does not say."""
    from huggingface_hub.errors import HfHubHTTPError

    text = error.response.headers.get("Retry-After", "") if isinstance(error, HfHubHTTPError) else ""
    return float(text) if text.isdecimal() else 0.0


def _sentence(error: Exception, repo: str, revision: str | None, reading: bool) -> str:
    """Why a repository cannot be had, and what to do about it."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if isinstance(error, HfHubHTTPError):
        return _refused(error, repo, revision, reading)
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}; the hub's files are kept where HF_HOME says"
    offline = isinstance(error, OfflineModeIsEnabled)
    advice = "run it once without" if offline else "check the connection and run the same command again"
    where = f"the hub at {constants.ENDPOINT} could not be asked for it ({reason_of(error)})"
    return f"{_named(repo, reading)} {where}; {advice}"


def _named(repo: str, reading: bool) -> str:
    return f"{repo!r} is no folder here, and" if reading else f"{repo!r}:"


def _refused(error: Exception, repo: str, revision: str | None, reading: bool) -> str:
    """The sentence for an answer that is an error."""
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    assert isinstance(error, HfHubHTTPError)
    status, token = error.response.status_code, get_token()
    if isinstance(error, GatedRepoError):
        how = "with the account of your token" if token else "then set HF_TOKEN"
        return f"{repo} is gated: accept its licence on its hub page, {how}"
    if isinstance(error, RevisionNotFoundError):
        return f"{repo} has no revision {revision!r}; give a branch, a tag or a commit of it"
    if status == 401 and token:
        where = f"make a new one at {constants.ENDPOINT}/settings/tokens"
        return f"the hub does not accept the token of HF_TOKEN, --token or `hf auth login` ({repo}); {where}"
    if isinstance(error, RepositoryNotFoundError) or status == 401:
        return (
            f"{repo!r} is no folder here and no model on the hub; check the spelling, or set HF_TOKEN if it is private"
        )
    if status == 403:
        return f"{repo} is not open to {'your token' if token else 'everybody'}; it needs a token with the right to it"
    said = reason_of(error)
    if status == 429:
        wait = wanted_wait(error)
        when = f"in {wait:.0f} seconds" if wait else "later"
        return (
            f"the hub has had too many requests ({repo}: {said}); try again {when}, or set HF_TOKEN, which may do more"
        )
    if status >= 500:
        return f"the hub failed ({repo}: {said}); try again later{', what was fetched is kept' if reading else ''}"
    server = " ".join((error.server_message or "").split())[:200]
    return f"the hub refused {repo} ({said}{': ' if server else ''}{server})"
