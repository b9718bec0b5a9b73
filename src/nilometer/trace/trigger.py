"""Which requests are traced: those that someone who knows a key has signed, within a budget.

Nothing a sender writes makes `Triggers.accept` raise, or cost more than the checks below: what
is oversized is refused before any cryptography, and there are at most `KEYS_MAX` keys to try.
Each refusal is counted in ``nilometer.trigger`` by its reason. There is no default key.
"""

from __future__ import annotations

import os
from _thread import allocate_lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import WeakSet

from nilometer.clock import Clock
from nilometer.errors import ConfigError
from nilometer.measure import REGISTRY
from nilometer.trace.budget import REQUESTS_PER_SECOND, Nonces
from nilometer.trace.current import Joined
from nilometer.trace.limits import SPANS_PER_TRACE_MAX, cut
from nilometer.trace.onward import Signer
from nilometer.trace.signing import (
    INFO_CHARS_MAX,
    TRACEPARENT_CHARS_MAX,
    TRACESTATE_CHARS_MAX,
    Key,
    Signature,
    Traceparent,
    id_bytes,
    key_of_osprofiler,
    key_of_signature,
    parse_signature,
    parse_traceparent,
    read_osprofiler,
    split_tracestate,
    uuid_bytes,
    uuid_text,
)
from nilometer.trace.twin import Budget, Trace, osprofiler_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

KEYS_MAX: Final = 16
"""Keys to try on one header: rotation needs two per sender. 16 HMACs take about 20 us,
so that a header which is wrong in both forms costs 40."""

HEADERS: Final = ("traceparent", "tracestate", "x-trace-info", "x-trace-hmac")
"""All that is ever looked at."""

EXPIRY_AHEAD_S_MAX: Final = 900
"""How far ahead an expiry may lie. A header is made to be sent, not to be kept: each nonce has
to be remembered until its expiry. One minute more is allowed for clocks that differ."""

CLOCK_SKEW_S: Final = 60

RESULTS: Final = frozenset(
    [
        "accepted",
        "accepted_unsigned",
        "joined",
        "bad_signature",
        "expired",
        "expiry_too_far",
        "replayed",
        "nonces_full",
        "budget_requests",
        "not_sampled",
        "malformed_traceparent",
        "malformed_tracestate",
        "malformed_osprofiler",
        "oversize",
        "fault",
    ]
)
"""What ``nilometer.trigger`` counts; docs/tracing.md explains each."""

TTL_S: Final = 300
"""Validity of what we sign ourselves: enough for a request that waits in a queue."""

_signer: Final = tuple.__new__  # makes a NamedTuple in a third of the time


class Header(NamedTuple):
    """A trigger to send with one request, and the trace it asks for."""

    trace_id: str
    headers: dict[str, str]


def parse_keys(keys: Sequence[bytes | str], *, origin: str = "keys") -> tuple[Key, ...]:
    """Keys to sign and verify with; texts as UTF-8. Raises ConfigError, which shows none."""
    if isinstance(keys, str | bytes):
        raise ConfigError(
            f"{origin}: a list of keys is needed, not one text", slug="trigger-keys"
        )
    if len(keys) > KEYS_MAX:
        raise ConfigError(
            f"{origin}: {len(keys)} keys, at most {KEYS_MAX} are tried on a header",
            slug="trigger-keys",
        )
    return tuple(_parse_key(key, origin) for key in keys)


def _parse_key(key: bytes | str, origin: str) -> Key:
    try:
        secret = key.encode("utf-8") if isinstance(key, str) else key
    except UnicodeEncodeError:
        secret = None  # raised below, for the error of the encoding holds the key
    if secret is None:
        raise ConfigError(f"{origin}: a key is not UTF-8", slug="trigger-keys")
    if not isinstance(secret, bytes):
        raise ConfigError(
            f"{origin}: a key is text or bytes, not {type(key).__name__}", slug="trigger-keys"
        )
    if not secret.strip():
        raise ConfigError(
            f"{origin}: an empty key, with which anyone could sign", slug="trigger-key-empty"
        )
    return Key(secret)


def new_trigger(
    key: bytes | str, *, ttl_s: int = TTL_S, clock: Clock | None = None, origin: str = "key"
) -> Header:
    """Headers of both forms that ask for one request to be traced, and its trace id."""
    if not 1 <= ttl_s <= EXPIRY_AHEAD_S_MAX:
        raise ConfigError(
            f"{origin}: a trigger is valid for 1 to {EXPIRY_AHEAD_S_MAX} s, not {ttl_s}",
            slug="trigger-ttl",
        )
    clock = clock or Clock()
    trace_id = os.urandom(16).hex()
    expiry_s = clock.wall_ns() // 1_000_000_000 + ttl_s
    signer = Signer(_parse_key(key, origin), "", expiry_s, "", clock)
    return Header(trace_id, signer.headers(trace_id, trace_id[16:]))  # no parent, see signing


_ALL: Final[WeakSet[Triggers]] = WeakSet()


class Triggers:
    """The door: says of each request whether it is traced, joined or neither.

    Args:
        keys: any one of them may have signed; more than one while keys are being exchanged.
        requests_per_second: traced requests that this process takes on.
        spans_per_trace: spans recorded of one request in this process.
        join: record a sampled ``traceparent`` that nobody signed, within the same budget.
        osprofiler: understand and send OSProfiler's headers, which neither expire nor carry a
            nonce.

    Raises ConfigError for keys or budgets that cannot be.
    """

    def __init__(
        self,
        keys: Sequence[bytes | str] = (),
        *,
        clock: Clock | None = None,
        requests_per_second: float = REQUESTS_PER_SECOND,
        spans_per_trace: int = SPANS_PER_TRACE_MAX,
        join: bool = False,
        osprofiler: bool = True,
        origin: str = "keys",
    ) -> None:
        if not 0 < requests_per_second <= 1e6 or spans_per_trace < 1:
            raise ConfigError(
                f"{origin}: a budget of {requests_per_second} requests a second with "
                f"{spans_per_trace} spans each; both must be above 0",
                slug="trigger-budget",
            )
        self._keys = parse_keys(keys, origin=origin)
        self._clock = clock or Clock()
        self._spans_max = spans_per_trace
        self._join = join
        self._osprofiler = osprofiler
        self._budget = Budget(requests_per_second, self._clock.elapsed_ns)
        self._nonces = Nonces()
        self._lock = allocate_lock()
        self._add: dict[str, Callable[[], None]] = {}
        _ALL.add(self)

    def __repr__(self) -> str:
        return f"Triggers({len(self._keys)} keys)"

    def reset_after_fork(self) -> None:
        """The lock may be held by a thread that did not survive."""
        self._lock = allocate_lock()
        self._budget.reset_after_fork()

    def accept(
        self, headers: Callable[[str], str | None], names: Sequence[str] = HEADERS
    ) -> Trace | Joined | None:
        """What becomes of a request: a `Trace` is recorded, a `Joined` has ids, None neither.

        `headers` gives the value of a header by its lower-case name, or None; where it knows
        them by other names, `names` are those of `HEADERS`, in that order. Never raises.
        """
        try:
            traceparent = headers(names[0])
            info = headers(names[2])
            if traceparent:
                return self._accept(headers, names, traceparent, info)
            if info and self._osprofiler and self._keys:
                return self._from_osprofiler(info, headers(names[3]), "")
            return None
        except Exception:  # noqa: BLE001 -- tracing must not cost a request
            self._count("fault")
            return None

    def begin(self) -> Trace:
        """A trace that begins here, for `start_root`; its onward requests the first key signs.

        Without keys they are not, and whoever receives them joins the trace without recording.
        No budget is asked: it is the service itself that wants this.
        """
        key = self._keys[0] if self._keys else None
        signer = Signer(key, "", None, "", self._clock, self._osprofiler)
        return Trace(os.urandom(16), signer=signer, spans_max=self._spans_max)

    def _accept(
        self,
        headers: Callable[[str], str | None],
        names: Sequence[str],
        traceparent: str,
        info: str | None,
    ) -> Trace | Joined | None:
        others = ""
        if (
            len(traceparent) <= TRACEPARENT_CHARS_MAX
        ):  # a megabyte of blanks takes 7 ms to strip
            traceparent = traceparent.strip(" \t")
        parent = parse_traceparent(traceparent)
        if parent is None:
            self._count("malformed_traceparent")
        else:
            ours, others = self._tracestate(headers(names[1]))
            if ours is not None:
                trace, final = self._signed(traceparent, parent, ours, others)
                if trace is not None:
                    return trace
                info = None if final else info  # else it would outlive its expiry
        if info and self._osprofiler and self._keys:
            trace = self._from_osprofiler(info, headers(names[3]), others)
            if trace is not None:
                return trace
        if parent is None:
            return None
        return self._unsigned(traceparent, parent, others)

    def _tracestate(self, text: str | None) -> tuple[str | None, str]:
        if not text:
            return None, ""
        if len(text) > TRACESTATE_CHARS_MAX:
            self._count("oversize")
        return split_tracestate(text)

    def _signed(
        self, traceparent: str, parent: Traceparent, ours: str, others: str
    ) -> tuple[Trace | None, bool]:
        """A trace, or None and whether that is the last word on this request."""
        signed = parse_signature(ours)
        if signed is None:
            self._count("malformed_tracestate")
            return None, False
        key = key_of_signature(traceparent, signed, self._keys)
        if key is None:
            self._count("bad_signature")
            return None, False
        reason = self._refusal(signed) if parent.sampled else "not_sampled"
        self._count(reason or "accepted")
        if reason:
            return None, True
        onward = (key, "", signed.expiry_s, others, self._clock, self._osprofiler)
        signer = _signer(Signer, onward)
        return self._trace(parent, signer), True

    def _refusal(self, signed: Signature) -> str | None:
        """Why a correctly signed header is refused all the same; if not, its nonce is spent."""
        now_s = self._clock.wall_ns() // 1_000_000_000
        if signed.expiry_s < now_s:
            return "expired"
        if signed.expiry_s > now_s + EXPIRY_AHEAD_S_MAX + CLOCK_SKEW_S:
            return "expiry_too_far"
        with self._lock:
            if signed.nonce in self._nonces:
                return "replayed"
            if not self._nonces.make_room(now_s):
                return "nonces_full"
            if not self._budget.take():
                return "budget_requests"
            self._nonces.add(signed.nonce, signed.expiry_s)
        return None

    def _from_osprofiler(self, info: str, mac: str | None, others: str) -> Trace | None:
        mac = mac or ""
        if len(info) > INFO_CHARS_MAX or len(mac) > INFO_CHARS_MAX:
            return self._refused("oversize")
        mac = mac.strip()
        if not mac or not info.isascii() or not mac.isascii():
            return self._refused("malformed_osprofiler")
        key = key_of_osprofiler(info, mac, self._keys)
        if key is None:
            return self._refused("bad_signature")
        ids, attributes = osprofiler_ids(info), None
        if ids is None:
            sent = read_osprofiler(info)
            if sent is None:
                return self._refused("malformed_osprofiler")
            ids, attributes = _ids_of(sent)
        if not self._budget.take():
            return self._refused("budget_requests")
        self._count("accepted")
        base_id, trace_id, parent = ids
        return Trace(
            trace_id,
            parent,
            base_id=base_id,
            signer=_signer(Signer, (key, base_id, None, others, self._clock, True)),
            attributes=attributes,
            spans_max=self._spans_max,
        )

    def _unsigned(self, traceparent: str, parent: Traceparent, others: str) -> Trace | Joined:
        if self._join and parent.sampled:
            may = self._budget.take()
            self._count("accepted_unsigned" if may else "budget_requests")
            if may:
                # Not signed by us either: that would make of anyone's header a key holder's.
                signer = Signer(None, "", None, others, self._clock)
                return self._trace(parent, signer)
        else:
            self._count("joined")
        onward = {"traceparent": traceparent}
        if others:
            onward["tracestate"] = others
        return Joined(parent.trace_id, parent.parent_id, onward)

    def _trace(self, parent: Traceparent, signer: Signer) -> Trace:
        trace_id, parent_id, _ = parent
        return Trace(
            trace_id,
            b"" if parent_id == trace_id[8:] else parent_id,
            signer=signer,
            spans_max=self._spans_max,
        )

    def _refused(self, reason: str) -> Trace | None:
        self._count(reason)
        return None

    def _count(self, result: str) -> None:
        try:
            self._add[result]()
        except KeyError:
            counter = REGISTRY.counter(
                "nilometer.trigger",
                description="What became of requests that asked for a trace.",
            )
            add = self._add[result] = counter.bind(result=result).add
            add()


def _ids_of(
    sent: dict[str, Any],
) -> tuple[tuple[str, bytes, bytes], dict[str, object] | None]:
    """The ids as `osprofiler_ids` gives them, and attributes for the root span.

    What is empty there is made up or follows from the base id, as OSProfiler does.
    """
    base_id = _text(sent.get("base_id")) or uuid_text(os.urandom(16).hex())
    parent_id = _text(sent.get("parent_id")) or base_id
    trace_id = id_bytes(base_id, 16)
    parent = b"" if parent_id == base_id else id_bytes(parent_id, 8)
    if parent == trace_id[8:]:
        parent = b""
    attributes: dict[str, object] | None = None
    if uuid_bytes(base_id) != trace_id:
        attributes = {"osprofiler.base_id": base_id}
    return (base_id, trace_id, parent), attributes


def _text(value: Any) -> str:
    """An id as text; OSProfiler takes any JSON value, and takes an empty one for none."""
    if not value:
        return ""
    return value if isinstance(value, str) else cut(str(value), INFO_CHARS_MAX)


def after_fork() -> None:
    """Start afresh in a child; also called where a server forks without telling Python."""
    for triggers in _ALL:
        triggers.reset_after_fork()


os.register_at_fork(after_in_child=after_fork)
