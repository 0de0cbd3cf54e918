"""What hub ids look like, which files of a repository make a model, and what a folder of the cache looks like."""

import re
from pathlib import Path

_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?(@[\w.-]+(/[\w.-]+)*)?")
# Only what lies at the top: the folders of a repository (onnx/, original/) hold the same again for other programs.
_FILES = re.compile(r"(adapter_)?model(-\d+-of-\d+)?\.safetensors|[^/]+\.(json|jinja)|merges\.txt|vocab\.[^/]+")
_COMMIT = re.compile("[0-9a-f]{40}")


def is_repo_id(name: str) -> bool:
    """`gpt2`, `owner/name` and `owner/name@revision` can be hub ids; a path with more or other parts cannot."""
    return _NAME.fullmatch(name) is not None and not name.startswith(".") and ".." not in name


def split(name: str) -> tuple[str, str | None]:
    """`owner/name@revision` as two; the revision is a branch, a tag or a commit, None for the main branch."""
    repo, _, revision = name.partition("@")
    return repo, revision or None


def is_model_file(path: str) -> bool:
    """Whether a file of a repository is part of a model of ours: weights, JSON, vocabulary, template; never a pickle."""
    return _FILES.fullmatch(path) is not None


def is_cache(folder: Path) -> bool:
    """Whether this is a snapshot in a hub's cache, `models--*/snapshots/<commit>`.

    Its files are links into the `blobs` of its repository, which may link on into the `blobs` of the whole cache.
    """
    path = folder.absolute()
    inside = path.parent.name == "snapshots" and path.parent.parent.name.startswith("models--")
    return inside and _COMMIT.fullmatch(path.name) is not None
