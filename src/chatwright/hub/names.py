"""What hub ids look like, which files of a repository make a model, and what a folder of the cache looks like."""

import re
from pathlib import Path

_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?(@[\w.-]+(/[\w.-]+)*)?")
# Only what lies at the top: the folders of a repository (onnx/, original/) hold the same again for other programs.
# An allow-list, because what is pushed is for others: beside a model may lie anything, such as keys or notes in JSON.
_MODEL = re.compile(
    r"(adapter_)?model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json"
    r"|((adapter|generation|tokenizer)_)?config\.json|training_metadata\.json"
    r"|tokenizer\.(json|model)|(special_tokens_map|added_tokens)\.json|vocab\.(json|txt)|merges\.txt"
    r"|chat_template\.(jinja|json)"
)
_ABOUT = re.compile(r"README\.md|(LICENSE|NOTICE)(\.md|\.txt)?")
_COMMIT = re.compile("[0-9a-f]{40}")


def is_repo_id(name: str) -> bool:
    """`gpt2`, `owner/name` and `owner/name@revision` can be hub ids; a path with more or other parts cannot."""
    return _NAME.fullmatch(name) is not None and not name.startswith(".") and ".." not in name


def split(name: str) -> tuple[str, str | None]:
    """`owner/name@revision` as two; the revision is a branch, a tag or a commit, None for the main branch."""
    repo, _, revision = name.partition("@")
    return repo, revision or None


def is_model_file(path: str) -> bool:
    """Whether a file is part of a model, here or on the hub: weights, settings, vocabulary, template; never a pickle."""
    return _MODEL.fullmatch(path) is not None


def is_about_model(path: str) -> bool:
    """Whether a file is for the people who use a model: its card or its licence."""
    return _ABOUT.fullmatch(path) is not None


def is_cache(folder: Path) -> bool:
    """Whether this is a snapshot in a hub's cache, `models--*/snapshots/<commit>`.

    Its files are links into the `blobs` of its repository, which may link on into the `blobs` of the whole cache.
    """
    path = folder.absolute()
    inside = path.parent.name == "snapshots" and path.parent.parent.name.startswith("models--")
    return inside and _COMMIT.fullmatch(path.name) is not None
