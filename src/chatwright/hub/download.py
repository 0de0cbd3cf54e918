"""A model by its hub id: asked for, fetched where the cache lacks it, linked by the hub's client, found offline."""

import glob
import re
from functools import partial
from pathlib import Path
from typing import Any

from chatwright import console
from chatwright.errors import ConfigError
from chatwright.hub.fetch import Place, RemoteFile, check, fetch
from chatwright.hub.names import is_model_file, split
from chatwright.hub.sentences import explained, reason_of

DIGEST = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
PICKLE = re.compile(r"[^/]+\.(bin|pt|pth)")


def download(name: str) -> Path:
    """The local folder of a model's files, fetched where the cache does not hold them.

    Where the hub cannot be asked, a cache that holds them all is enough. Raises ConfigError in one sentence, or
    DiskFull; what was fetched until then is kept, and nothing unfinished can be taken for whole.
    """
    from huggingface_hub.errors import HTTPError, RevisionNotFoundError

    repo, revision = split(name)
    with explained(repo, revision):
        try:
            commit, files = _listed(repo, revision)
        except RevisionNotFoundError:
            raise
        except (HTTPError, OSError) as error:  # offline, no network, or a hub that refuses or fails
            folder = _cached(repo, revision, reason_of(error))
            if folder is None:
                raise
            return folder
        new = _fetched(repo, commit, files)
        return _linked(repo, revision, commit, files, new)


def _listed(repo: str, revision: str | None) -> tuple[str, list[RemoteFile]]:
    """The commit that a revision stands for now, and the files of it that are wanted."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HFValidationError

    timeout = constants.HF_HUB_ETAG_TIMEOUT
    try:
        info = HfApi().model_info(repo, revision=revision, files_metadata=True, timeout=timeout)
    except (HFValidationError, OSError):
        raise
    except (ValueError, TypeError, KeyError) as error:  # the page of a proxy, or another program
        what = f"what answers at {constants.ENDPOINT} is no hub ({type(error).__name__})"
        raise ConfigError(f"{what}; set HF_ENDPOINT to one, or unset it") from None
    found = info.siblings or []
    pickles = [one.rfilename for one in found if PICKLE.fullmatch(one.rfilename)]
    wanted = [one for one in found if is_model_file(one.rfilename)]
    if pickles and not any(one.rfilename.endswith(".safetensors") for one in wanted):
        branch = f" --revision {revision}" if revision else ""
        console.note(
            f"{repo} has weights only as a pickle ({pickles[0]}), which is not fetched; to convert it: "
            f"hf download {repo}{branch} --local-dir DIR, then chatwright convert DIR --out NEW"
        )
    digests = [one.lfs.sha256 if one.lfs else one.blob_id or "" for one in wanted]
    files = [RemoteFile(one.rfilename, one.size or 0, digest) for one, digest in zip(wanted, digests, strict=True)]
    return str(info.sha), files


def _cached(repo: str, revision: str | None, reason: str) -> Path | None:
    """The snapshot that the cache holds, or None. ConfigError where it is known to lack something."""
    from huggingface_hub import constants, get_cached_repo_tree, snapshot_download
    from huggingface_hub.errors import CachedRepoTreeNotFoundError, LocalEntryNotFoundError

    names: list[str] = []
    try:
        folder = Path(snapshot_download(repo, revision=revision, local_files_only=True, allow_patterns=[]))
        names = [file.path for file in get_cached_repo_tree(repo, revision=revision)]
    except LocalEntryNotFoundError:
        return None
    except CachedRepoTreeNotFoundError:
        pass  # another program fetched it, and what is missing shows when it is read
    missing = [name for name in names if is_model_file(name) and not (folder / name).is_file()]
    if missing:
        lacks = f"the cache holds {repo} without {' and '.join(missing)}"
        raise ConfigError(f"{lacks}, and the hub could not be asked ({reason}); run it once with a connection")
    if not constants.is_offline_mode():
        console.note(f"{repo} comes from the cache, as it was when it was last fetched ({reason})")
    return folder


def _fetched(repo: str, commit: str, files: list[RemoteFile]) -> list[RemoteFile]:
    """Puts into the cache what it lacks; the files that the snapshot does not have yet, wherever they came from."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    cache, folder = Path(constants.HF_HUB_CACHE), repo_folder_name(repo_id=repo, repo_type="model")
    snapshot = cache / folder / "snapshots" / commit
    place = Place(repo, commit, cache / folder / "blobs", cache / ".locks" / folder)
    new = [file for file in files if not (snapshot / file.name).is_file()]
    missing = [file for file in new if DIGEST.fullmatch(file.digest) and not (place.blobs / file.digest).is_file()]
    if missing:
        fetch(place, missing)
    return new


def _linked(repo: str, revision: str | None, commit: str, files: list[RemoteFile], new: list[RemoteFile]) -> Path:
    """The snapshot, made by the client, which finds the blobs there; what it fetched all the same is checked here."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import tqdm

    names = [glob.escape(file.name) for file in files]
    silent: Any = partial(tqdm, disable=True)
    folder = Path(snapshot_download(repo, revision=revision, allow_patterns=names, tqdm_class=silent))
    if folder.name != commit:
        raise ConfigError(f"{repo} was changed on the hub while it was fetched; run the same command again")
    for file in new:
        if DIGEST.fullmatch(file.digest) and (folder / file.name).resolve().name != file.digest:
            check(repo, file, folder / file.name)
    return folder
