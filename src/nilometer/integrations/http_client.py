"""What all HTTP clients have in common: timer, span, and whom our headers may reach.

Keys never travel, but a signature is something to guess a weak key from, and OSProfiler's form
of it never expires. So onward headers go to neighbours only: this machine, private addresses,
names without a dot, and names of cluster-internal zones. `send_to` names further hosts.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv6Address, ip_address
from socket import inet_aton
from typing import TYPE_CHECKING, Any, Final, Self

from nilometer.clock import elapsed_ns
from nilometer.integrations import costs
from nilometer.integrations.http_words import METHODS
from nilometer.measure import REGISTRY
from nilometer.model import SpanKind, Status
from nilometer.trace import CURRENT, headers, span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from nilometer.measure import Registry

NEIGHBOURS: Final = (
    *("localhost", "*.localhost"),  # RFC 6761
    *("*.local", "*.internal", "*.home.arpa", "*.test"),  # RFC 6762, ICANN 2024, 8375, 6761
    *("*.svc", "*.cluster.local"),  # Kubernetes
)
HOSTS_KEPT_MAX: Final = 1000  # decisions remembered, 100 bytes each


class Hosts:
    """Which hosts get our headers."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self._patterns = tuple(pattern.lower() for pattern in (*NEIGHBOURS, *patterns))
        self._known: dict[str, bool] = {}

    def admit(self, host: str) -> bool:
        """Whether a host is a neighbour, or was named.

        >>> hosts = Hosts(["*.example.com"])
        >>> [hosts.admit(host) for host in ("10.0.0.7", "a.example.com", "8.8.8.8")]
        [True, True, False]
        """
        known = self._known.get(host)
        if known is None:
            known = self._judge(host.lower().strip("[]").rstrip("."))
            if len(self._known) < HOSTS_KEPT_MAX:
                self._known[host] = known
        return known

    def _judge(self, host: str) -> bool:
        if any(fnmatchcase(host, pattern) for pattern in self._patterns):
            return True
        if not host.isascii():
            return False  # may hold another sign that counts as a dot
        address = _address(host.partition("%")[0])
        if address is None:
            return bool(host) and "." not in host
        if isinstance(address, IPv6Address):
            if address.teredo is not None:  # is private, and leads to any host
                return False
            address = address.ipv4_mapped or address
        return address.is_loopback or address.is_private or address.is_link_local


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a host is, also where it is spelt as one number (0x08080808)."""
    try:
        return ip_address(host)
    except ValueError:
        pass  # a name, or as inet_aton spells it
    try:
        return IPv4Address(inet_aton(host))
    except (OSError, ValueError):
        return None


hosts = Hosts()

watcher: Callable[[str, str, str], None] | None = None
"""Told of each request (method, host, path) before it is sent; it must not raise. For tests
that say how many requests something may take."""


def send_to(patterns: Iterable[str]) -> None:
    """Further hosts that get our headers, as shell patterns; ``*`` is every host."""
    global hosts
    hosts = Hosts(patterns)


class Client:
    """The instruments of outgoing requests in one registry.

    Of requests that nobody sends, to see what they cost, `watcher` is not told.
    """

    def __init__(self, registry: Registry = REGISTRY, *, is_watched: bool = True) -> None:
        self.is_watched = is_watched
        self._timer = registry.timer(
            "http.client.request", description="From the request to the head of its response."
        )
        self._errors = registry.counter(
            "http.client.request.errors", unit="{error}", description="Attempts that raised."
        )
        self._records: dict[tuple[str, str], Any] = {}
        registry.costs_also("http.client.request", costs.client_request)

    def request(self, method: object, host: object, path: str = "") -> Request:
        """One request, to be used in a ``with`` statement."""
        text = str(method).upper()
        return Request(self, METHODS.get(text, "_OTHER"), str(host or ""), path)

    def record(self, method: str, host: str, elapsed: int, error: BaseException | None) -> None:
        """Count one request."""
        record = self._records.get((method, host))
        if record is None:
            record = self._timer.bind(
                **{"http.request.method": method, "server.address": host}
            ).record
            if len(self._records) < HOSTS_KEPT_MAX:
                self._records[method, host] = record
        record(elapsed)
        if error is not None:
            self._errors.bind(**{"error.type": type(error).__name__}).add()


class Request:
    """One outgoing request; its span and its time end with the ``with`` statement."""

    __slots__ = ("_client", "_method", "_host", "_path", "_span", "_started")

    def __init__(self, client: Client, method: str, host: str, path: str) -> None:
        self._client = client
        self._method = method
        self._host = host
        self._path = path
        self._span: Any = None

    def __enter__(self) -> Self:
        if watcher is not None and self._client.is_watched:
            watcher(self._method, self._host, self._path)
        if CURRENT.get() is not None:
            self._span = span(self._method)
            if self._span.recording:
                self._span.kind = SpanKind.CLIENT
                self._span.set_attribute("http.request.method", self._method)
                self._span.set_attribute("server.address", self._host)
                self._span.set_attribute("url.path", self._path.partition("?")[0])
            self._span.start()
        self._started = elapsed_ns()
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        elapsed = elapsed_ns() - self._started
        self._client.record(self._method, self._host, elapsed, error)
        if self._span is not None:
            self._span.finish(error)

    def onward(self, present: Mapping[str, str]) -> dict[str, str]:
        """The headers to add to a copy of those `present`; none where the caller set one.

        If he set one of them he set the trace: a half of it from us would make it a wrong one.
        A copy, because a client may send what is `present` again, and along a redirect: to a
        stranger, or with a nonce that was used.
        """
        if self._span is None or not hosts.admit(self._host):
            return {}
        ours = headers()
        names = {name.lower() for name in present}
        return {} if any(name.lower() in names for name in ours) else ours

    def answered(self, status: int) -> None:
        """The head of the response is there."""
        if self._span is not None and self._span.recording:
            self._span.set_attribute("http.response.status_code", status)
            if status >= 400:
                self._span.set_attribute("error.type", str(status))
                self._span.set_status(Status.ERROR)
