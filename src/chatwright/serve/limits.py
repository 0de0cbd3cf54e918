"""How much, how long and how many: every limit of the server in one place, and the count of what is being answered."""

from dataclasses import dataclass

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

    def check_headers(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Raises Refused for a head that came whole, and is larger than the parser would have waited for."""
        if sum(len(name) + len(value) + 4 for name, value in headers) > self.headers:
            raise errors.too_large(f"the headers are larger than {self.headers:,} bytes", 431)

    def check_body(self, size: int) -> None:
        """Raises Refused for more than is read."""
        if size > self.body:
            raise errors.too_large(f"the body is larger than {self.body:,} bytes; send less")


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
