"""What all HTTP clients have in common: timer, span, and whom our headers may reach.

Keys never travel, but a signature is something to guess a weak key from, and OSProfiler's form
of it never expires. So onward headers go to neighbours only: this machine, private addresses,
names without a dot, and names of cluster-internal zones. `send_to` names further hosts.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv6Address, ip_address
from socket import inet_aton
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations import http_costs
from nilometer.integrations.callers import where
from nilometer.integrations.calls import Call, Calls, Operation
from nilometer.integrations.http_words import METHODS
from nilometer.measure import REGISTRY
from nilometer.model import Status
from nilometer.trace import headers, span
from nilometer.trace.twin import UNTRACED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nilometer.measure import Registry
    from nilometer.measure.pure import Counter

NEIGHBOURS: Final = (
    *("localhost", "*.localhost"),  # RFC 6761
    *("*.local", "*.internal", "*.home.arpa", "*.test"),  # RFC 6762, ICANN 2024, 8375, 6761
    *("*.svc", "*.cluster.local"),  # Kubernetes
)
OURS: Final = frozenset(["traceparent", "tracestate", "x-trace-info", "x-trace-hmac"])
HOSTS_KEPT_MAX: Final = 1000  # decisions remembered, 100 bytes each; targets, 1 KiB each
CLASSES: Final = range(1, 6)  # of a status: 1xx to 5xx


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


has_handed_out = False
"""Whether anybody was given our headers to send them on himself."""


class HandedOut(str):
    """The text of a header that we made for somebody who did not say to whom he sends it.

    It stays ours, until it is known whom a request is for; elsewhere it is a text like others.
    """

    __slots__ = ()

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)


def hand_out(onward: dict[str, str]) -> dict[str, str]:
    """These headers, for somebody who sends them on himself."""
    global has_handed_out
    has_handed_out = True
    return {name: HandedOut(value) for name, value in onward.items()}


def without_handed_out(present: Any) -> Any:
    """A mapping of headers without those handed out; itself where it has none of them."""
    handed_out = [name for name, value in present.items() if type(value) is HandedOut]
    if not handed_out:
        return present
    left = present.copy()
    for name in handed_out:
        del left[name]
    return left


def send_to(patterns: Iterable[str]) -> None:
    """Further hosts that get our headers, as shell patterns; ``*`` is every host."""
    global hosts
    hosts = Hosts(patterns)


class Answers(dict[int, "Callable[[], None]"]):
    """What counts a response of a target, by the first digit of its status."""

    __slots__ = ("_responses", "_host")

    def __init__(self, responses: Counter, host: str) -> None:
        super().__init__()
        self._responses = responses
        self._host = host

    def __missing__(self, digit: int) -> Callable[[], None]:
        status_class = f"{digit}xx" if digit in CLASSES else "other"
        count = self._responses.bind(
            **{"server.address": self._host, "http.response.status_class": status_class}
        ).add
        if digit in CLASSES:
            self[digit] = count
        return count


class Target(Operation):
    """Requests by one method to one host."""

    __slots__ = ("host", "answers")

    def __init__(self, calls: Calls, responses: Counter, method: str, host: str) -> None:
        dimensions = {"http.request.method": method, "server.address": host}
        super().__init__(calls, method, dimensions, dict(dimensions))
        self.host = host
        self.answers = Answers(responses, host)

    def span(self, path: str) -> Any:
        """The span of one request, not yet started; one that does nothing where none may be."""
        made: Any = span(self.name, **self.attributes)
        if made.recording:
            made.kind = self.calls.kind
            if self.calls.depth.deep:
                made.set_attributes(where())
            made.set_attribute("url.path", path.partition("?")[0] if "?" in path else path)
        return made

    def onward(self, present: Iterable[str]) -> dict[str, str]:
        """The headers to add to a copy of those `present`; none where the caller set one.

        If he set one of them he set the trace: a half of it from us would make it a wrong one.
        A copy, because a client may send what is `present` again, and along a redirect: to a
        stranger, or with a nonce that was used. Names are given in lower case.
        """
        if not hosts.admit(self.host):
            return {}
        ours = headers()
        if OURS.isdisjoint(present):
            return ours
        his = OURS.intersection(present)
        return {} if any(name.lower() in his for name in ours) else ours

    def answered(self, its_span: Any, status: int) -> None:
        """The head of the response is there."""
        self.answers[status // 100]()
        its_span.set_attribute("http.response.status_code", status)
        if status >= 400:
            its_span.set_attribute("error.type", str(status))
            its_span.set_status(Status.ERROR)


class Client:
    """The instruments of outgoing requests of one integration.

    Of requests that nobody sends, to see what they cost, `watcher` is not told.
    """

    __slots__ = ("depth", "calls", "_is_watched", "_responses", "_targets")

    def __init__(
        self,
        integration: str,
        registry: Registry = REGISTRY,
        *,
        is_watched: bool = True,
        costs: Callable[[], float] = http_costs.request,
    ) -> None:
        self._is_watched = is_watched
        self.calls = Calls(
            integration,
            "http.client.request",
            description="From the request to the head of its response.",
            registry=registry,
            costs=costs,
        )
        self.depth = self.calls.depth
        self._responses = registry.counter(
            "http.client.responses",
            unit="{response}",
            description="Responses by the class of their status.",
        )
        self._targets: dict[tuple[object, object], Target] = {}

    def request(self, method: object, host: object, path: str = "") -> Request:
        """One request, to be used in a ``with`` statement."""
        target = self._targets.get((method, host)) or self.target(method, host)
        if watcher is not None:
            self.tell(target, path)
        return Request(target, path)

    def tell(self, target: Target, path: str) -> None:
        """Let the watcher know of a request, if there is one."""
        if watcher is not None and self._is_watched:
            watcher(target.name, target.host, path)

    def target(self, method: object, host: object) -> Target:
        """Requests by this method, as the caller spells it, to this host."""
        target = Target(
            self.calls,
            self._responses,
            METHODS.get(str(method).upper(), "_OTHER"),
            str(host or ""),
        )
        if len(self._targets) < HOSTS_KEPT_MAX:
            self._targets[method, host] = target
        return target


class Sends(dict[tuple[object, object], "tuple[Callable[..., Any], Target]"]):
    """By method and host: what sends a request, timed, and its target. In C where there is C:
    a third of what a `Request` takes."""

    __slots__ = ("_client", "_send")

    def __init__(self, client: Client, send: Callable[..., Any]) -> None:
        super().__init__()
        self._client = client
        self._send = send

    def __missing__(self, key: tuple[object, object]) -> tuple[Callable[..., Any], Target]:
        target = self._client.target(*key)
        made = self._client.calls.timed(target.dimensions)(self._send), target
        if len(self) < HOSTS_KEPT_MAX:
            self[key] = made
        return made


class Request(Call):
    """One outgoing request; its span and its time end with the ``with`` statement."""

    __slots__ = ("_target", "_path")

    def __init__(self, target: Target, path: str) -> None:
        self._operation = self._target = target
        self._path = path
        self.span: Any = None

    def _begin_span(self) -> None:
        self.span = self._target.span(self._path).start()

    def onward(self, present: Iterable[str]) -> dict[str, str]:
        """The headers to add to those `present`, as `Target.onward`."""
        return self._target.onward(present)

    def answered(self, status: int) -> None:
        """The head of the response is there."""
        self._target.answered(UNTRACED if self.span is None else self.span, status)
