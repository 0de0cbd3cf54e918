"""Rows out of a dataset on the Hugging Face hub (or the one that HF_ENDPOINT names), through the extra `datasets`.

Streamed when only the first records are wanted, so that `#5000` of a large dataset does not fetch all of it.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from chatwright import console
from chatwright.data.rows import Row
from chatwright.data.spec import similar_file
from chatwright.errors import DataError

PREFERRED = {"conversations": "_sft", "documents": "_sft", "preferences": "_prefs"}


@dataclass(frozen=True)
class HubRows:
    """The rows of one split, and what identifies them."""

    name: str  # owner/name:split
    rows: Callable[[], Iterator[Row]]  # from the beginning, each time
    fingerprint: str
    note: str


def read(dataset: str, config: str, split: str, kind: str, limit: int | None) -> HubRows:
    """Opens one split of a hub dataset; raises DataError in one sentence when that cannot be done."""
    try:
        import datasets
    except ImportError:
        raise DataError(
            f"{dataset!r} is no file here, and reading it from the hub needs the package datasets: "
            f"pip install 'chatwright[data]'{similar_file(dataset)}"
        ) from None
    console.note(f"{dataset!r} is no path here, so the hub is asked for it{similar_file(dataset)}")
    try:
        names = [str(name) for name in datasets.get_dataset_split_names(dataset, config or None)]
        chosen = choose_split(dataset, names, split, kind)
        # what has been fetched before can be read without the hub; a stream cannot
        streaming = limit is not None and not datasets.config.HF_HUB_OFFLINE
        opened: Iterable[dict[str, Any]] = datasets.load_dataset(
            dataset, config or None, split=chosen, streaming=streaming
        )
    except DataError:
        raise
    except datasets.exceptions.DatasetNotFoundError as error:
        raise DataError(_not_found(dataset, str(error))) from None
    except (datasets.exceptions.DatasetsError, ValueError, OSError, RuntimeError) as error:
        raise DataError(_failed(dataset, error)) from None
    note = "" if chosen == split else f"{dataset}: the split is {chosen}, of {', '.join(names)}"
    rows = partial(_numbered, dataset, opened)
    return HubRows(f"{dataset}:{chosen}", rows, f"{dataset}/{config}:{chosen}@{_revision(dataset, opened)}", note)


def choose_split(dataset: str, names: list[str], split: str, kind: str) -> str:
    """The split that was asked for, else `train`, else the only one that starts with it and serves the purpose."""
    if split:
        if split not in names:
            raise DataError(f"{dataset} has no split {split!r}; it has {', '.join(names)}")
        return split
    if "train" in names:
        return "train"
    starting = [name for name in names if name.startswith("train")]
    wanted = [name for name in starting if name.endswith(PREFERRED.get(kind, "_sft"))]
    for found in (wanted, starting, names):
        if len(found) == 1:
            return found[0]
    raise DataError(f"{dataset} has the splits {', '.join(names)}; give one, as in {dataset}:{names[0]}")


def _revision(dataset: str, opened: Any) -> str:
    """What tells one state of the hub's data from a later one: the commit or, of what was fetched, its folder."""
    import datasets

    if isinstance(opened, datasets.Dataset):
        return " ".join(sorted({Path(file["filename"]).parent.name for file in opened.cache_files}))
    from huggingface_hub import HfApi

    try:
        return str(HfApi().dataset_info(dataset).sha)
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(_failed(dataset, error)) from None


def _numbered(dataset: str, opened: Iterable[dict[str, Any]]) -> Iterator[Row]:
    """Rows by their number, since they have no lines; a connection that breaks is said in one sentence."""
    iterator = enumerate(opened, start=1)
    while True:
        try:
            line, value = next(iterator)
        except StopIteration:
            return
        except (OSError, ValueError, RuntimeError) as error:
            raise DataError(_failed(dataset, error)) from None
        yield Row(line, value)


def _not_found(dataset: str, reason: str) -> str:
    if "gated" in reason:
        return f"{dataset} is gated: accept its terms on its hub page, then set HF_TOKEN"
    advice = similar_file(dataset) or "; check the spelling, or set HF_TOKEN if it is private"
    return f"{dataset!r} is no file here and no dataset on the hub{advice}"


def _failed(dataset: str, error: Exception) -> str:
    """What `datasets` said, in one line; a missing config is the commonest reason and lists the configs."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if "config" in lines[0].lower() and "missing" in lines[0].lower():
        return f"{dataset} has several configs; give one, as in {dataset}/CONFIG ({' '.join(lines)[:300]})"
    if isinstance(error, OSError):
        reason = f"{type(error).__name__}: {lines[0][:200]}"
        return f"{dataset!r} is no file here, and the hub could not be asked for it ({reason}){similar_file(dataset)}"
    return f"{dataset} cannot be read from the hub ({type(error).__name__}: {lines[0][:200]})"
