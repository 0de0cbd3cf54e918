"""Who may ask, and under which name: API keys, the allow-list of hosts, and what is refused at the start.

Keys are kept as SHA-256 digests and compared in constant time, all of them each time. A page in a browser can make its
own name point at this machine (DNS rebinding): a host that is a name has to be on the list.
"""

import hashlib
import hmac
import ipaddress
import re
import socket
from collections.abc import Iterable
from pathlib import Path

from chatwright.errors import ConfigError
from chatwright.serve import errors

LOOPBACK = ("localhost", "127.0.0.1", "::1")
LONGEST_KEY_FILE = 2**20


class Keys:
    """The keys that are known; with none, everybody may ask."""

    def __init__(self, keys: Iterable[str]) -> None:
        """Raises ConfigError for a key that no header could carry."""
        self._digests = []
        for number, key in enumerate(keys, start=1):
            if not re.fullmatch(r"[!-~]+", key):  # the key itself is never shown
                raise ConfigError(
                    f"API key {number} is empty or has spaces or other than ASCII letters; make a new one"
                )
            self._digests.append(hashlib.sha256(key.encode()).digest())

    def __len__(self) -> int:
        return len(self._digests)

    def check(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Raises Refused (401) unless there are no keys or `Authorization: Bearer` brings one of them."""
        if not self._digests:
            return
        given = [value for name, value in headers if name == b"authorization"]
        scheme, _, key = (given[0] if len(given) == 1 else b"").partition(b" ")
        digest = hashlib.sha256(key.strip()).digest()
        known = [hmac.compare_digest(digest, one) for one in self._digests]  # all of them: no early end to be timed
        if scheme.lower() != b"bearer" or not any(known):
            raise errors.bad_key(bool(given))


def keys_of(given: Iterable[str], file: Path | None) -> Keys:
    """The keys of the settings and of a file with one a line (empty lines and those with # are none)."""
    keys = list(given)
    if file is not None:
        try:
            if file.stat().st_size > LONGEST_KEY_FILE:
                raise ConfigError(f"--api-key-file {file} is larger than 1 MB; give a file with one key a line")
            lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise ConfigError(
                f"--api-key-file {file} cannot be read ({reason}); give a file with one key a line"
            ) from None
        found = [line for line in lines if line and not line.startswith("#")]
        if not found:  # nobody meant to have no key at all
            raise ConfigError(f"--api-key-file {file} has no key; put one on a line")
        keys += found
    return Keys(keys)


class Hosts:
    """The names under which the server answers: loopback, this machine's, those given, and every address in digits."""

    def __init__(self, given: Iterable[str] = ()) -> None:
        self._names = {name.lower() for name in (*LOOPBACK, socket.gethostname(), *given)}

    def check(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Raises Refused (403) unless the one Host header names this server."""
        given = [value for name, value in headers if name == b"host"]
        if len(given) == 1 and self._allows(given[0].decode("latin-1").lower()):
            return
        raise errors.forbidden("the Host header names no host of this server; start it with --allowed-hosts NAME")

    def _allows(self, host: str) -> bool:
        found = re.fullmatch(r"(\[[0-9a-f:.]+\]|[^:\[\]]+)(:\d{1,5})?", host)
        name = found.group(1).strip("[]").rstrip(".") if found else ""
        return name in self._names or _is_address(name)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that is bound to it."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def check_exposure(host: str, keys: Keys, insecure: bool) -> None:
    """Raises ConfigError for a server that everybody on the network could use."""
    if not is_loopback(host) and not keys and not insecure:
        raise ConfigError(
            f"--host {host} is open to the network and there is no API key; give --api-key KEY, or --insecure"
        )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
