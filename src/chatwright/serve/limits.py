"""How much, how long and how many: every limit of the server in one place, and the count of what is being answered."""

import sys
from dataclasses import dataclass, replace

from chatwright.serve import errors


@dataclass(frozen=True)
class Limits:
    """Sizes in bytes, times in seconds. The defaults are safe on a network; tests make them small."""

    body: int = 2 * 2**20
    bodies: int = 64 * 2**20  # of all requests together whose bodies are being read
    headers: int = 64 * 2**10
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    send_seconds: float = 30.0  # a reader that takes nothing for so long is gone
    idle_seconds: int = 5  # between two requests on one connection
    linger_seconds: float = 2.0  # how long the rest of a refused body is thrown away before the connection closes
    ping_seconds: float = 15.0
    requests: int = 160  # being read, queued or answered
    connections: int = 4096  # open at once, whatever they say

    def check_headers(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Raises Refused for a head that came whole, and is larger than the parser would have waited for."""
        if sum(len(name) + len(value) + 4 for name, value in headers) > self.headers:
            raise errors.too_large(f"the headers are larger than {self.headers:,} bytes", 431)

    def check_body(self, size: int) -> None:
        """Raises Refused for more than is read."""
        if size > self.body:
            raise errors.too_large(f"the body is larger than {self.body:,} bytes; send less")


ACCEPTED = 16  # connections in one turn of the loop: each needs some turns until it can be closed again
SPARE_FILES = 32 + 6 * ACCEPTED  # for everything else, and for those that are about to be turned away


def within_files(limits: Limits) -> Limits:
    """No more connections than this process may have files, after asking for as many as are wanted. Where files run out,
    nobody is answered any more, and asyncio writes thousands of lines a second about it."""
    if sys.platform == "win32":
        return limits
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.connections + SPARE_FILES
    if resource.RLIM_INFINITY != soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    most = wanted if soft == resource.RLIM_INFINITY else soft
    return replace(limits, connections=min(limits.connections, max(1, most - SPARE_FILES)))


class Places:
    """What is taken of something that there is only so much of; for one thread, the event loop's."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0

    def take(self, count: int = 1) -> None:
        """Raises Refused (429) where there is no room for so many; nothing is taken then."""
        if self.taken + count > self.most:
            raise errors.busy(1)
        self.taken += count

    def leave(self, count: int = 1) -> None:
        """Gives them back."""
        self.taken -= count
        assert self.taken >= 0
