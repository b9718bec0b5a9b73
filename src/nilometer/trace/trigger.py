"""Which requests are traced: those that someone who knows a key has signed, within a budget.

Nothing a sender writes makes `Triggers.accept` raise, or cost more than the checks below: what
is oversized is refused before any cryptography, and there are at most `KEYS_MAX` keys to try.
Each refusal is counted in ``nilometer.trigger`` by its reason. There is no default key.
"""

from __future__ import annotations

import os
from hmac import compare_digest
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from nilometer.clock import Clock
from nilometer.errors import ConfigError
from nilometer.measure import REGISTRY
from nilometer.trace.asking import EXPIRY_AHEAD_S_MAX as EXPIRY_AHEAD_S_MAX
from nilometer.trace.asking import Header as Header
from nilometer.trace.asking import new_trigger as new_trigger
from nilometer.trace.budget import NONCES_MAX, REQUESTS_PER_SECOND
from nilometer.trace.current import Joined
from nilometer.trace.ids import ids_of
from nilometer.trace.keys import KEYS_MAX, parse_key, parse_keys
from nilometer.trace.limits import SPANS_PER_TRACE_MAX
from nilometer.trace.onward import Signer
from nilometer.trace.possible import may_trace
from nilometer.trace.signing import (
    INFO_CHARS_MAX,
    MEMBER,
    Key,
    Traceparent,
    key_of_osprofiler,
    parse_traceparent,
    read_osprofiler,
    read_signed,
    sender_of,
)
from nilometer.trace.twin import Budget, Nonces, Trace, osprofiler_ids, signed_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nilometer.trace.signed_pure import Parts

HEADERS: Final = ("traceparent", "tracestate", "x-trace-info", "x-trace-hmac")
"""All that is ever looked at."""

CLOCK_SKEW_S: Final = 60

_signer: Final = tuple.__new__  # makes a NamedTuple in a third of the time


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
        clear_key: on message buses do as OSProfiler does, where the key itself travels.

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
        clear_key: bool = False,
        origin: str = "keys",
    ) -> None:
        if not 0 < requests_per_second <= 1e6 or spans_per_trace < 1:
            raise ConfigError(
                f"{origin}: a budget of {requests_per_second} requests a second with "
                f"{spans_per_trace} spans each; both must be above 0",
                slug="trigger-budget",
            )
        self._keys = self._own = parse_keys(keys, origin=origin)
        self._trusted: tuple[bytes | str, ...] = ()
        self._is_shut = False  # without keys nobody is believed
        self._clear = dict(zip(self._own, keys, strict=True)) if clear_key else None
        self._clock = clock or Clock()
        self._spans_max = spans_per_trace
        self._join = join
        self.osprofiler = osprofiler
        self._budget = Budget(requests_per_second, self._clock.elapsed_ns)
        self._nonces = Nonces(NONCES_MAX)
        self._add: dict[str, Callable[[], None]] = {}
        _ALL.add(self)
        if self._keys or join:
            may_trace()

    def __repr__(self) -> str:
        return f"Triggers({len(self._keys)} keys)"

    def reset_after_fork(self) -> None:
        """Locks may be held by threads that did not survive."""
        self._nonces.reset_after_fork()
        self._budget.reset_after_fork()

    def become(self, other: Triggers) -> Triggers:
        """Do as `other` from now on, for all who hold this one already; answers itself.

        Nonces seen stay seen, and whom a service trusts stays trusted.
        """
        # Shut all the while: requests come meanwhile, and whose keys are gone believes nobody.
        kept = {"_nonces", "_add", "_trusted", "_is_shut"}
        vars(self).update((k, v) for k, v in vars(other).items() if k not in kept)
        if self._is_shut:
            self.trust(self._trusted[: KEYS_MAX - len(self._own)])
        return self

    def trust(self, keys: Sequence[bytes | str], *, origin: str = "keys") -> None:
        """Let these sign, too, instead of those trusted before; without any key none opens.

        Raises ConfigError; then, too, nobody is believed who is not known.
        """
        self._is_shut = True
        trusted = parse_keys(keys, origin=origin)
        if len(self._own) + len(trusted) > KEYS_MAX:
            raise ConfigError(
                f"{origin}: with the {len(self._own)} configured these are more than the "
                f"{KEYS_MAX} keys that are tried on a header",
                slug="trigger-keys",
            )
        self._trusted = tuple(keys)
        self._keys = (*self._own, *trusted)
        may_trace()
        if self._clear is not None:
            self._clear |= zip(trusted, keys, strict=True)

    def accept(
        self, headers: Callable[[str], str | None], names: Sequence[str] = HEADERS
    ) -> Trace | Joined | None:
        """What becomes of a request: a `Trace` is recorded, a `Joined` has ids, None neither.

        `headers` gives the value of a header by its lower-case name, or None; where it knows
        them by other names, `names` are those of `HEADERS`, in that order. Never raises.
        """
        try:
            traceparent = headers(names[0])
            if traceparent:
                tracestate = headers(names[1])
                parts = signed_parts(traceparent, tracestate) if tracestate else None
                if parts is None:
                    return self._unusual(headers, names, traceparent, tracestate)
                trace, final = self._signed(parts, "")
                if trace is not None:
                    return trace
                parent = parse_traceparent(traceparent)
                return self._other(headers, names, traceparent, parent, "", final)
            info = headers(names[2])
            if info and self.osprofiler and self._keys:
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
        may_trace()
        key = self._keys[0] if self._keys else None
        signer = Signer(key, "", None, "", self._clock, self.osprofiler)
        return Trace(os.urandom(16), signer=signer, spans_max=self._spans_max)

    def handed(
        self,
        key: str,
        base_id: str,
        parent_id: str = "",
        *,
        verified: bool = False,
        own: bool = False,
    ) -> Trace | Joined | None:
        """What becomes of work whose ids and right to be traced are handed over in code.

        `key` is what `to_hand_on` gave on the other side, or a key itself: where keys are
        configured, one of these. Unless the ids are the caller's `own`, that is OSProfiler's
        convention on message buses and believed only with `clear_key`, or if the caller says
        that he `verified` it. Where nobody ever named one it is a client's. Never raises.
        """
        try:
            return self._handed(key, base_id, parent_id, verified, own)
        except Exception:  # noqa: BLE001 -- tracing must not cost a request
            self._count("fault")
            return None

    def _handed(
        self, key: str, base_id: str, parent_id: str, verified: bool, own: bool
    ) -> Trace | Joined | None:
        may_trace()
        ids, attributes = ids_of({"base_id": base_id, "parent_id": parent_id})
        base_id, trace_id, parent = ids
        if key.startswith(f"{MEMBER}="):
            traceparent = f"00-{trace_id.hex()}-{(parent or trace_id[8:]).hex()}-01"
            return self.accept({"traceparent": traceparent, "tracestate": key}.get)
        signing = parse_key(key, "key") if key else None
        if self._keys:
            signing = None if signing is None else self._same(signing)
            if signing is None:
                return self._refused("bad_signature")
            if not own and not verified and self._clear is None:
                return self._refused("clear_key")
        elif self._is_shut and not verified:
            return self._refused("bad_signature")
        if not own and not self._budget.take():
            return self._refused("budget_requests")
        if self._keys:
            self._count("accepted")
        signer = Signer(signing, base_id, None, "", self._clock, self.osprofiler)
        return Trace(
            trace_id,
            parent,
            base_id=base_id,
            signer=signer,
            attributes=attributes,
            spans_max=self._spans_max,
        )

    def _same(self, key: Key) -> Key | None:
        """The key of ours that it is; it is compared as a signature would be."""
        mac = key.mac_sha256(b"")
        same = (one for one in self._keys if compare_digest(one.mac_sha256(b""), mac))
        return next(same, None)

    @property
    def has_keys(self) -> bool:
        """Whether anybody may sign at all."""
        return bool(self._keys)

    def to_hand_on(self, trace: Trace, span_id: str) -> str:
        """What vouches for that span elsewhere: a signature, or the key with `clear_key`."""
        key = self._clear.get(trace.signer.key) if self._clear else None
        if key is not None:
            return key if isinstance(key, str) else key.decode("utf-8", "replace")
        signed = trace.signer.headers(trace.trace_id.hex(), span_id, osprofiler=False)
        return str(signed.get("tracestate", ""))

    def _unusual(
        self,
        headers: Callable[[str], str | None],
        names: Sequence[str],
        traceparent: str,
        tracestate: str | None,
    ) -> Trace | Joined | None:
        """A traceparent that is not signed, or spelled as we do not spell it."""
        read = read_signed(traceparent, tracestate, self._count)
        traceparent, parent, parts, others = read
        trace, final = (None, False) if parts is None else self._signed(parts, others)
        if trace is not None:
            return trace
        return self._other(headers, names, traceparent, parent, others, final)

    def _other(
        self,
        headers: Callable[[str], str | None],
        names: Sequence[str],
        traceparent: str,
        parent: Traceparent | None,
        others: str,
        final: bool,
    ) -> Trace | Joined | None:
        """What is left where nobody whom we know has signed the traceparent.

        If that is `final`, OSProfiler's form is not looked at: it would outlive its expiry.
        """
        info = None if final else headers(names[2])
        if info and self.osprofiler and self._keys:
            trace = self._from_osprofiler(info, headers(names[3]), others)
            if trace is not None:
                return trace
        return None if parent is None else self._unsigned(traceparent, parent, others)

    def _signed(self, parts: Parts, others: str) -> tuple[Trace | None, bool]:
        """A trace, or None and whether that is the last word on this request."""
        trace_id, parent_id, sampled, expiry_s, nonce, mac, message = parts
        for key in self._keys:
            if compare_digest(key.mac_sha256(message), mac):
                break
        else:
            self._count("bad_signature")
            return None, False
        now_s = self._clock.wall_ns() // 1_000_000_000
        if not sampled:
            reason: str | None = "not_sampled"
        elif expiry_s < now_s:
            reason = "expired"
        elif expiry_s > now_s + EXPIRY_AHEAD_S_MAX + CLOCK_SKEW_S:
            reason = "expiry_too_far"
        else:
            reason = self._nonces.spend(nonce, expiry_s, now_s, self._budget.take)
        if reason:
            self._count(reason)
            return None, True
        (self._add.get("accepted") or self._adding("accepted"))()
        onward = (key, "", expiry_s, others, self._clock, self.osprofiler)
        signer = _signer(Signer, onward)
        return Trace(trace_id, parent_id, signer=signer, spans_max=self._spans_max), True

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
            ids, attributes = ids_of(sent)
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
        return Trace(
            parent.trace_id, sender_of(parent), signer=signer, spans_max=self._spans_max
        )

    def _refused(self, reason: str) -> Trace | None:
        self._count(reason)
        return None

    def _count(self, result: str) -> None:
        (self._add.get(result) or self._adding(result))()

    def _adding(self, result: str) -> Callable[[], None]:
        counter = REGISTRY.counter(
            "nilometer.trigger",
            description="What became of requests that asked for a trace.",
        )
        add: Callable[[], None] = counter.bind(result=result).add
        self._add[result] = add
        return add


def after_fork() -> None:
    """Start afresh in a child; also called where a server forks without telling Python."""
    for triggers in _ALL:
        triggers.reset_after_fork()


os.register_at_fork(after_in_child=after_fork)
