"""The process that opens pickles. It is run as a script, `python -P unpickle.py WHERE FILE…`, and imports nothing of ours.

The tensors of each FILE go to WHERE/0.safetensors, WHERE/1.safetensors, …; one JSON object on stdout holds the numbers
and texts that stood beside them, or says why a file is refused. torch.load(weights_only=True) builds tensors and plain
data and calls nothing that a file names; memory, time and file sizes are limited before the first byte is read.
"""

import errno
import itertools
import json
import math
import os
import pickle
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

PLACES = ("model", "model_state_dict", "state_dict", "module")  # where training programs put the weights
# what the writer knows and some layout may want; bool and whole numbers are the masks that old files carry along
TYPES = {
    torch.float64, torch.float32, torch.float16, torch.bfloat16,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
}  # fmt: skip
MOST_ENTRIES, LONGEST_TEXT = 500, 1000
HEADROOM = 512 * 2**20  # bytes of memory beside the file's own contents
SLOWEST = 10 * 2**20  # bytes of file for which one second of computing is enough
INSTEAD = "save model.state_dict() there, where it was made"


class Refused(Exception):
    """Why a file is not read; the rest of a sentence that begins with its name."""


def main(where: Path, files: list[Path]) -> dict[str, Any]:
    """Reads one file after the other; the answer for whoever started this process."""
    beside: dict[str, Any] = {}
    for number, file in enumerate(files):
        try:
            beside |= convert(file, where / f"{number}.safetensors")
        except Refused as refused:
            return {"file": str(file), "refused": str(refused)}
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            return {"file": str(file), "full": full, "refused": f"cannot be read ({error.strerror})"}
    return {"entries": beside}


def convert(file: Path, target: Path) -> dict[str, Any]:
    """Writes the tensors of one file; returns what stood beside them. Raises Refused, or OSError for a full disk."""
    contents = opened(file)
    found = weights(contents)
    plain = writable(found, file.stat().st_size)
    try:
        save_file(plain, target)
    except SafetensorError as error:
        if any(words in str(error) for words in ("No space left", "quota")):
            raise OSError(errno.ENOSPC, "No space left on device") from None
        raise Refused(f"cannot be written as safetensors ({_first_line(error)})") from None
    return entries(contents)


def opened(file: Path) -> Any:
    """What the file holds, tensors mapped from it where its format allows."""
    with file.open("rb") as opened_file:
        zipped = opened_file.read(4) == b"PK\x03\x04"
    if zipped:
        _check_archive(file)
    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S{1,200})", str(error))
        if named:
            raise Refused(f"asks for {named[1]}, which is code and is not run; {INSTEAD}") from None
        raise Refused(f"is no file of torch.save, or is cut short or damaged; {INSTEAD}") from None
    except MemoryError:
        raise Refused(_too_large(file)) from None
    except OSError:
        raise
    except Exception as error:  # bytes at will make the reader raise anything
        if "allocate" in str(error):
            raise Refused(_too_large(file)) from None
        reason = f"{type(error).__name__}: {_first_line(error)}".rstrip(".: ")
        raise Refused(f"is no file of torch.save, or is cut short ({reason}); get a whole copy") from None


def weights(contents: Any) -> dict[Any, Any]:
    """The state dict: the contents themselves, or what a training program keeps under one of its usual names."""
    if not isinstance(contents, dict):
        raise Refused(f"holds one {type(contents).__name__}, not tensors by name; {INSTEAD}")
    inside = [dict.get(contents, place) for place in PLACES]
    for found in [*(one for one in inside if isinstance(one, dict)), contents]:
        if any(isinstance(value, Tensor) for value in dict.values(found)):
            return found
    raise Refused(f"holds no tensors, neither by itself nor under {', '.join(PLACES)}; {INSTEAD}")


def writable(found: dict[Any, Any], size: int) -> dict[str, Tensor]:
    """The tensors as plain contiguous ones, each with memory of its own. Refuses what a file of `size` cannot hold."""
    plain: dict[str, Tensor] = {}
    written: set[int] = set()
    total = 0
    for name, value in dict.items(found):
        if not isinstance(value, Tensor):
            continue
        if type(name) is not str or not 0 < len(name) <= LONGEST_TEXT:
            raise Refused(f"names a tensor {str(name)[:80]!r}; names are texts")
        tensor = torch.Tensor.detach(value)  # a new object, without attributes that the file may have given the old one
        _check_tensor(name, tensor)
        total += tensor.numel() * tensor.element_size()
        if total > 2 * size + 2**20:  # a tied head counts twice
            raise Refused(f"claims more than twice its {size:,} bytes for its tensors; get the file again")
        memory = tensor.untyped_storage().data_ptr()
        tensor = tensor.resolve_neg().contiguous()
        plain[name] = tensor.clone() if memory in written else tensor
        written.add(memory)
    return plain


def _check_tensor(name: str, tensor: Tensor) -> None:
    """Refuses what has no numbers of its own, or other ones than a weight file holds."""
    kinds = {
        "a meta tensor, which has no numbers": tensor.is_meta,
        "nested": tensor.is_nested,
        "quantised": tensor.is_quantized,
        "sparse": tensor.layout != torch.strided,
        f"of the type {tensor.dtype}": tensor.dtype not in TYPES,
    }
    wrong = next((kind for kind, found in kinds.items() if found), None)
    if wrong:
        raise Refused(f"the tensor {name[:80]!r} is {wrong}; save it as plain floats, there where it was made")
    stored = tensor.untyped_storage().nbytes()
    if tensor.numel() * tensor.element_size() > stored:
        shape = tuple(tensor.shape)
        raise Refused(
            f"the tensor {name[:80]!r} claims the shape {shape}, but has {stored:,} bytes; get the file again"
        )


def entries(contents: Any) -> dict[str, Any]:
    """Numbers, texts and truth values of the top, and of the dictionaries in it: settings such as model_args."""
    found: dict[str, Any] = {}
    for key, value in itertools.islice(dict.items(contents), MOST_ENTRIES):
        if type(key) is not str or len(key) > LONGEST_TEXT:
            continue
        if _is_simple(value):
            found[key] = value
        elif isinstance(value, dict):
            inner = itertools.islice(dict.items(value), MOST_ENTRIES)
            simple = {name: one for name, one in inner if type(name) is str and _is_simple(one)}
            found |= {key: simple} if simple else {}
    return found


def _is_simple(value: Any) -> bool:
    """Whether JSON can hold it in a few bytes."""
    if type(value) is str:
        return len(value) <= LONGEST_TEXT
    if type(value) is int:
        return abs(value) < 2**63
    return value is None or type(value) is bool or (type(value) is float and math.isfinite(value))


def _check_archive(file: Path) -> None:
    """Refuses what torch.save never writes: TorchScript, which is code, and compressed entries, which may swell."""
    try:
        with zipfile.ZipFile(file) as archive:
            listed = archive.infolist()
    except Exception as error:
        raise Refused(f"is cut short or damaged ({_first_line(error)}); get a whole copy") from None
    if any(entry.filename.endswith("/constants.pkl") for entry in listed):
        raise Refused(f"is a TorchScript archive, which is code and is not run; {INSTEAD}")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in listed):
        raise Refused("holds compressed entries, which torch.save does not write; get the original file")


def limit(size: int) -> None:
    """Bounds memory, computing time, file sizes and core dumps by the size of the largest file."""
    if sys.platform == "win32":
        return
    import resource

    bounds = {
        resource.RLIMIT_CPU: 60 + size // SLOWEST,
        resource.RLIMIT_FSIZE: 2 * size + 2**22,
        resource.RLIMIT_CORE: 0,
    }
    pages = Path("/proc/self/statm")
    if pages.exists():  # elsewhere what torch itself has taken is not known, and the system sets no such limit anyway
        taken = int(pages.read_text().split()[0]) * resource.getpagesize()
        bounds[resource.RLIMIT_AS] = taken + 4 * size + HEADROOM
    for kind, bound in bounds.items():
        _, hardest = resource.getrlimit(kind)
        bound = bound if hardest == resource.RLIM_INFINITY else min(bound, hardest)
        resource.setrlimit(kind, (bound, bound))


def _too_large(file: Path) -> str:
    return f"asks for more memory than a file of {file.stat().st_size:,} bytes can need; get the file again"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else ""


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answer:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a library prints must not mix with the answer
        paths = [Path(name) for name in sys.argv[2:]]
        limit(max(path.stat().st_size for path in paths))
        json.dump(main(Path(sys.argv[1]), paths), answer)
