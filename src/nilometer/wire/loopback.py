"""Which requests can only be from this machine, though they came in by a loopback address.

A browser on the machine may carry a stranger's: a page whose name was rebound to 127.0.0.1
shows in Host, a page that posts across origins shows in Origin.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable


def is_loopback_name(host: str) -> bool:
    """Whether a Host header's value, with or without port, can only mean this machine.

    >>> [is_loopback_name(h) for h in ("localhost:4318", "[::1]", "127.0.0.1", "evil.example")]
    [True, True, True, False]
    """
    try:
        parts = urlsplit(f"//{host}")
        name = parts.hostname or ""
        _ = parts.port  # raises where it is no number
    except ValueError:
        return False
    if parts.netloc != host or "@" in host:
        return False
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_foreign_host(hosts: Iterable[str]) -> bool:
    """Whether the values of a request's Host, of which one is meant, are another machine's."""
    told = list(hosts)
    return len(told) > 1 or not all(map(is_loopback_name, told))


def is_foreign_origin(origins: Iterable[str]) -> bool:
    """Whether a page of another machine asks."""
    return not all(is_loopback_name(origin.partition("://")[2]) for origin in origins)
