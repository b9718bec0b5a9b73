"""Names without what is random in them: `reply_<hex>` is of scope reply, whichever hex it is.

Programs make a new name at each start: of queues, of metrics' labels. What stays the same from
run to run is the name's *scope*; figures are summed by it. A user's own rules come first, then
what we know of random ids and of hosts, until nothing more changes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME_CHARS_MAX: Final = 512
"""AMQP's longest name has 255 bytes; twice that is looked at, and the rest cut off."""

ID: Final = "id"
"""The scope of a name that is nothing but a random id."""

SEPARATORS: Final = "._:/@#~-"

# Letters and digits next to an id would make it part of a word.
_BEGIN: Final = r"(?<![0-9A-Za-z])"
_END: Final = r"(?![0-9A-Za-z])"

RANDOM: Final[Sequence[re.Pattern[str]]] = tuple(
    re.compile(f"{_BEGIN}(?:{body}){_END}")
    for body in (
        r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}",  # uuid
        r"[0-9a-fA-F]{16,}",  # half a uuid and more, as 32 hex digits have no dashes
        # A container's short id: no word of twelve letters has digits in it, no number letters.
        r"(?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])[0-9a-f]{12}",
    )
)
SERVER_NAMED: Final = re.compile(r"^(amq\.(?:gen|ctag))-[A-Za-z0-9_-]{22}$")
"""Queues that the broker names itself: 128 random bits in base64."""

OSLO: Final = (
    re.compile(r"^(reply)_.+", re.DOTALL),
    re.compile(r"^(.+?_fanout)_[^:]+:[^:]+:\d+$", re.DOTALL),
)
"""Queues of oslo.messaging: replies to whomever, as os-collect-counters takes them together,
and fan-outs to ``host:process:number``, as its queue manager calls processes."""

# A pod of a Kubernetes deployment: replica set and pod, in the alphabet without vowels.
POD: Final = re.compile(
    r"-(?=[bcdf-hj-np-tv-z2-9]*[0-9])[bcdf-hj-np-tv-z2-9]{8,10}-[bcdf-hj-np-tv-z2-9]{5}"
    rf"{_END}"
)
# `compute.node-7.example.org@lvm#pool`: a word of three letters or more with a number behind
# it, or an address; what follows it says more of the same host. `v2` and `p1` are no hosts.
HOST: Final = re.compile(
    r"[.@](?:[a-zA-Z][a-zA-Z-]{2,}(?:-?\d+)+|\d{1,3}(?:\.\d{1,3}){3})"
    rf"{_END}(?:[.@#][\w-]+)*$"
)


class Rule(NamedTuple):
    """What a user says of a scope: names that match `pattern` are of scope `scope`.

    In the pattern ``*`` stands for any text; in the scope ``{1}`` for what the first ``*``
    matched, ``{2}`` for the second.
    """

    pattern: str
    scope: str

    def applied(self, name: str) -> str | None:
        """The scope of the name, or None if it does not match."""
        found = _compiled(self.pattern).match(name)
        if found is None:
            return None
        scope = self.scope
        for number, text in enumerate(found.groups(), 1):
            scope = scope.replace(f"{{{number}}}", text)
        return scope


class Scopes:
    """Tells the scope of names; the same name is looked at once.

    `hosts` are names of machines that are known to be such. `hidden` replaces what is random;
    empty takes it away, with the separator before or behind it.
    """

    def __init__(
        self, rules: Sequence[Rule] = (), *, hosts: Sequence[str] = (), hidden: str = ""
    ) -> None:
        self._rules = tuple(rules)
        names = "|".join(re.escape(h) for h in sorted(hosts, key=len, reverse=True) if h)
        self._host = re.compile(rf"[.@](?:{names}){_END}(?:[.@#][\w-]+)*$") if names else None
        self._hidden = hidden
        self._known: dict[str, str] = {}

    def of(self, name: str) -> str:
        """The scope of a name; itself if nothing in it is random. Never empty for a name."""
        known = self._known.get(name)
        if known is not None:
            return known
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        scope = self._known[name] = self._told(name[:NAME_CHARS_MAX])
        return scope

    def _told(self, name: str) -> str:
        for rule in self._rules:
            scope = rule.applied(name)
            if scope is not None:
                return scope or ID
        before = None
        while before != name:
            before, name = name, self._folded(name)
        return name

    def _folded(self, name: str) -> str:
        if self._hidden:
            for random in RANDOM:
                name = random.sub(self._hidden, name)
            return name
        for pattern in (SERVER_NAMED, *OSLO):
            name = pattern.sub(r"\1", name)
        for random in RANDOM:
            name = _without(random, name)
        for ending in (POD, HOST, self._host):
            if ending is not None and (found := ending.search(name)) and found.start():
                name = name[: found.start()] + (name[found.end() :] if ending is POD else "")
        return name


KNOWN_MAX: Final = 10_000
"""Names whose scope is remembered: 1 MB, and more queues than most brokers ever have."""


def _without(random: re.Pattern[str], name: str) -> str:
    """The name without an id, and without the separator that joined it to the rest."""
    found = random.search(name)
    if found is None:
        return name
    head, tail = name[: found.start()], name[found.end() :]
    if head and head[-1] in SEPARATORS:
        head = head[:-1]
    elif tail and tail[0] in SEPARATORS:
        tail = tail[1:]
    return head + tail or ID


_COMPILED: Final[dict[str, re.Pattern[str]]] = {}


def _compiled(pattern: str) -> re.Pattern[str]:
    if pattern not in _COMPILED:
        stars = "(.*)".join(re.escape(text) for text in pattern.split("*"))
        _COMPILED[pattern] = re.compile(rf"(?s:{stars})\Z")
    return _COMPILED[pattern]
