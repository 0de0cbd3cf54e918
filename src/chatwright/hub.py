"""Models from the Hugging Face hub (or the one that HF_ENDPOINT names), through its own client and cache."""

import re
from pathlib import Path

from chatwright.errors import ConfigError

# what a model of ours is made of; pickles (.bin, .pth) are never fetched
FILES = ["*.json", "*.safetensors", "*.jinja", "merges.txt", "vocab.*"]


def is_repo_id(name: str) -> bool:
    """`gpt2` and `owner/name` can be hub ids; a path with more or other parts cannot."""
    return re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) is not None and not name.startswith((".", "/"))


def download(repo: str, revision: str | None = None) -> Path:
    """The local folder of a model's files, fetched where the cache does not hold them; ConfigError says why not."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.errors import HTTPError as BrokenConnection  # type: ignore[attr-defined]  # its HTTP client's

    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=FILES))
    except GatedRepoError:
        raise ConfigError(f"{repo} is gated: accept its licence on its hub page, then set HF_TOKEN") from None
    except RepositoryNotFoundError:
        raise ConfigError(
            f"{repo!r} is no folder here and no model on the hub; check the spelling, or set HF_TOKEN if it is private"
        ) from None
    except RevisionNotFoundError:
        raise ConfigError(f"{repo} has no revision {revision!r}") from None
    except HFValidationError:
        raise ConfigError(f"{repo!r} is no folder here, and cannot be a model's name on the hub") from None
    except (BrokenConnection, OSError) as error:  # a broken connection, or offline without this model in the cache
        reason = str(error).strip().split("\n")[0]
        raise ConfigError(
            f"{repo!r} is no folder here, and the hub could not be asked for it ({type(error).__name__}: {reason})"
        ) from None
