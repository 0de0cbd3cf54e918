"""Large pages for the weights: a matrix that is read from front to back comes up to a seventh faster (Linux only)."""

import ctypes
import sys
from collections.abc import Iterable, Iterator

from torch import Tensor

PAGE, LARGE = 4096, 2 << 20  # bytes
NEAR = LARGE // 4  # what is no further apart can share a large page
HUGEPAGE, COLLAPSE = 14, 25  # of <sys/mman.h>: may be large; is to be made so now (since Linux 6.1)


def ask(tensors: Iterable[Tensor]) -> None:
    """For memory that nothing has been written to yet; no refusal matters."""
    _advise(tensors, (HUGEPAGE,))


def enlarge(tensors: Iterable[Tensor]) -> None:
    """For memory in use, which is copied where it is not in large pages yet: half a second for a gigabyte."""
    _advise(tensors, (HUGEPAGE, COLLAPSE))


def _advise(tensors: Iterable[Tensor], what: tuple[int, ...]) -> None:
    if sys.platform != "linux":
        return
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for begin, end in _stretches(tensors):
        for one in what:
            advise(begin, end - begin, one)


def _stretches(tensors: Iterable[Tensor]) -> Iterator[tuple[int, int]]:
    """Where whole pages of them begin and end, neighbours together, if that is long enough for a large page."""
    here = [one for one in tensors if one.device.type == "cpu" and not one.is_mkldnn and one.nbytes >= PAGE]
    places = sorted((one.data_ptr(), one.data_ptr() + one.nbytes) for one in here)
    while places:
        begin, end = places.pop(0)
        while places and places[0][0] - end <= NEAR:
            end = max(end, places.pop(0)[1])
        begin, end = -(-begin // PAGE) * PAGE, end // PAGE * PAGE
        if end - begin >= LARGE:
            yield begin, end
