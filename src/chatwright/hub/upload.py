"""Files to a repository of the hub, in one commit: whoever loads it sees the model before or the model after."""

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chatwright import console
from chatwright.errors import ConfigError
from chatwright.hub.sentences import explained, reason_of

if TYPE_CHECKING:
    from huggingface_hub import HfApi

MAIN = "main"
# Files that decide how a folder is read: one that a former model left there would be taken for part of this one.
DECIDING = re.compile(
    r"(adapter_)?model(-\d+-of-\d+)?\.safetensors|[^/]+\.index\.json|(adapter_)?config\.json|[^/]+\.jinja"
)


@dataclass(frozen=True)
class Pushed:
    """Where the files are now, and what was removed of those before."""

    url: str
    commit: str
    removed: tuple[str, ...]


def upload(
    repo: str, files: Mapping[str, Path | bytes], *, private: bool, revision: str | None, message: str
) -> Pushed:
    """Makes the repository (and the branch) if need be and puts the files there, in place of a model that was there.

    Raises ConfigError in one sentence; then nothing of what the repository held has changed.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants, get_token

    if get_token() is None:
        where = f"make one with the right to write at {constants.ENDPOINT}/settings/tokens"
        raise ConfigError(f"pushing needs a token of the hub; {where}, then set HF_TOKEN or run `hf auth login`")
    api = HfApi()
    with explained(repo, revision, reading=False), _calm(repo):
        api.create_repo(repo, private=private or None, exist_ok=True)
        if private and not api.model_info(repo).private:
            raise ConfigError(f"{repo} is there already, for everybody to see; make it private on its page first")
        if revision not in (None, MAIN):
            api.create_branch(repo, branch=str(revision), exist_ok=True)
        removed = [name for name in _names(api, repo, revision) if DECIDING.fullmatch(name) and name not in files]
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            *(CommitOperationAdd(name, contents) for name, contents in files.items()),
            *(CommitOperationDelete(name) for name in removed),
        ]
        done = api.create_commit(repo, operations, commit_message=message, revision=revision)
    branch = "" if revision in (None, MAIN) else f"/tree/{revision}"
    return Pushed(f"{constants.ENDPOINT}/{repo}{branch}", done.oid, tuple(removed))


def _names(api: "HfApi", repo: str, revision: str | None) -> list[str]:
    """The files that a branch holds."""
    return [one.rfilename for one in api.model_info(repo, revision=revision).siblings or []]


@contextmanager
def _calm(repo: str) -> Iterator[None]:
    """The client's warnings as ours, its bars only on a terminal, and what it wraps into other errors unwrapped."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HTTPError
    from huggingface_hub.utils import disable_progress_bars

    with ExitStack() as stack:
        caught = stack.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("always")
        if constants.HF_HUB_DISABLE_PROGRESS_BARS is None and not console.err().is_terminal:
            stack.enter_context(disable_progress_bars())
        try:
            yield
        except (ConfigError, HTTPError, OSError):
            raise
        except (RuntimeError, ValueError) as error:  # an upload that broke; a README.md with front matter that is none
            if isinstance(error.__cause__, HTTPError | OSError):
                raise error.__cause__ from None
            reason = reason_of(ValueError(" ".join(str(error).split())))
            raise ConfigError(f"{repo} could not be written ({reason}); run the same command again") from None
        finally:
            for warning in caught or ():
                if issubclass(warning.category, UserWarning):
                    console.warn(" ".join(str(warning.message).split()))
