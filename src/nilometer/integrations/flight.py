"""The flight recorder: each request in memory, kept only if it failed or was slow.

A request that nobody's signature asked for is recorded into a ring of its own. When it has
ended, its spans go to the process's ring, or nowhere. Memory is bounded for all requests
together: each takes grants of spans and bytes out of one store, and gives them back at its end.
Nothing here takes a lock: a request may end wherever Python collects garbage.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from struct import Struct
from typing import TYPE_CHECKING, Final

from nilometer.clock import elapsed_ns
from nilometer.integrations.attendance import attend_for
from nilometer.trace.budget import REQUESTS_PER_SECOND
from nilometer.trace.limits import SPANS_PER_TRACE_MAX, SPANS_RING_MAX
from nilometer.trace.possible import may_trace
from nilometer.trace.twin import RING, Budget, Ring, Trace, new_id

if TYPE_CHECKING:
    from nilometer.integrations.exchange import AsgiExchange, WsgiExchange
    from nilometer.trace import Joined

SPANS_MAX: Final = SPANS_RING_MAX
"""Spans of all requests in flight: as many as wait for the pump, so 7 MB more."""

BYTES_MAX: Final = SPANS_MAX * 1024
"""What all of them hold, 16 MiB: one with three attributes is taken for 600 bytes."""

GRANT: Final = 16
"""Spans that a request gets at once: few need a second grant; 16,384 / 16 = 1,024 in flight.
With them go as many bytes, 16 MiB / 1,024 = 16 KiB. One that needs more doubles what it has."""

KEPT: Final = "nilometer.flight"
"""The root span's attribute that says why it was kept: "failed", "5xx" or "slow"."""


class Onward:
    """What goes with onward requests: ids, so that neighbours' recordings are of one trace.

    Nobody signed for it, so neither do we; whoever did not ask for samples gets none.
    """

    __slots__ = ("_flags", "_others")

    key: Final = None
    osprofiler: Final = False

    def __init__(self, joined: Joined | None) -> None:
        came = {} if joined is None else joined.onward
        self._flags = came.get("traceparent", "")[53:55] or "00"  # 00-<32>-<16>-<2>
        self._others = came.get("tracestate", "")

    def headers(
        self,
        trace_id: str,
        span_id: str,
        *,
        osprofiler: bool = True,  # noqa: ARG002 -- nobody's key, so nothing of OSProfiler's
    ) -> dict[str, str]:
        """The headers for a request that is sent by that span."""
        onward = {"traceparent": f"00-{trace_id}-{span_id}-{self._flags}"}
        if self._others:
            onward["tracestate"] = self._others
        return onward


_UNASKED: Final = Onward(None)
_IDS: Final = Struct(">QQ").pack


class Recording:
    """One request that is recorded as `trace`, until it is kept or forgotten."""

    __slots__ = ("trace", "_recorder", "_store", "_taken", "_is_over")

    def __init__(self, recorder: FlightRecorder, joined: Joined | None, grant: None) -> None:
        self._recorder = recorder
        self._store = recorder.store
        self._taken = [grant]
        self._is_over = False
        spans_max = recorder.spans_at_once
        ring = Ring(spans_max, recorder.bytes_at_once)
        if joined is None:
            trace_id = _IDS(new_id(), new_id())
            trace = Trace(trace_id, signer=_UNASKED, spans_max=spans_max, ring=ring)
        else:
            trace_id, parent_id = joined.trace_bytes, joined.span_bytes
            trace = Trace(
                trace_id,
                b"" if parent_id == trace_id[8:] else parent_id,
                signer=Onward(joined),
                spans_max=spans_max,
                ring=ring,
            )
        trace.more = self._more
        self.trace = trace

    def _more(self) -> bool:
        """Take as many grants again out of the store as it has, or as there are.

        To ask for each by itself made a span 12 % dearer than one that was asked for.
        """
        trace, recorder = self.trace, self._recorder
        if self._is_over or trace.spans_max >= recorder.spans_per_trace:
            return False
        had = len(self._taken)
        with suppress(IndexError):
            for _ in range(had):
                self._taken.append(self._store.pop())
        if len(self._taken) == had:
            return False
        spans_max = min(GRANT * len(self._taken), recorder.spans_per_trace)
        trace.ring.grow(spans_max, recorder.bytes_at_once * (len(self._taken) - had))
        trace.spans_max = spans_max
        if self._is_over:  # it ended meanwhile, in another thread
            self._give_back()
        return True

    def _give_back(self) -> None:
        try:
            while self._taken:
                self._store.append(self._taken.pop())
        except IndexError:  # another thread gave the last of it back just now
            return

    def keeps(self, exchange: WsgiExchange | AsgiExchange) -> bool:
        """Whether the request, which is over, is worth keeping; its root span says why."""
        recorder = self._recorder
        if exchange.error is not None or exchange.handled is not None:
            reason = "failed"
        elif exchange.status >= 500:
            reason = "5xx"
        elif recorder.slow_ns is not None and (
            exchange.meters.elapsed_ns() - exchange.started_ns >= recorder.slow_ns
        ):
            reason = "slow"
        else:
            return False
        # In a fork's child what the parent began is the parent's: the stores are two.
        if self._store is not recorder.store or not recorder.may_keep():
            return False
        exchange.span.set_attribute(KEPT, reason)
        return True

    def end(self, is_kept: bool) -> None:
        """The root span has ended: hand on what is kept, forget the rest."""
        trace, recorder = self.trace, self._recorder
        trace.more = None  # which is a circle that nobody else would open
        self._is_over = True
        if is_kept:
            trace.spans_max = recorder.spans_per_trace
            trace.ring.close(recorder.ring)
        else:
            trace.spans_max = 0
            trace.lasting = False  # what it left behind is untraced from now on
            trace.ring.close(None)
        self._give_back()


class FlightRecorder:
    """Records each request that is not traced by a signature.

    Args:
        slow_s: keep also requests that took so long; None keeps only those that failed.
        spans_max: spans of all requests in flight; see `SPANS_MAX` for what they take.
        bytes_max: what these hold, by estimate; see `nilometer.trace.held`.
        spans_per_trace: spans of one request.
        requests_per_second: requests kept, so that an outage does not flood the collector.
        ring: where the spans of kept requests go.

    What exceeds is counted in ``nilometer.lost``: requests that were not recorded
    (`flight_spans`), requests that were not kept (`flight_budget`), spans of kept requests
    (`budget_spans`, `budget_bytes`).
    """

    def __init__(
        self,
        *,
        slow_s: float | None = None,
        spans_max: int = SPANS_MAX,
        bytes_max: int = BYTES_MAX,
        spans_per_trace: int = SPANS_PER_TRACE_MAX,
        requests_per_second: float = REQUESTS_PER_SECOND,
        ring: Ring = RING,
    ) -> None:
        self.spans_per_trace = spans_per_trace
        self.ring = ring
        self.spans_at_once = min(GRANT, spans_per_trace)
        self.slow_ns = None if slow_s is None else slow_s * 1e9
        self._grants = max(1, spans_max // GRANT)
        self.bytes_at_once = max(1, bytes_max // self._grants)
        self._budget = Budget(requests_per_second, elapsed_ns)
        self.reset_after_fork()

    def start(self) -> None:
        """Record from now on, in every middleware of this process that may trace at all."""
        Running.recorder = self
        may_trace()
        attend_for(Running, True)

    def stop(self) -> None:
        """Record no more; what is in flight is kept or forgotten at its end."""
        if Running.recorder is self:
            Running.recorder = None
            attend_for(Running, False)

    def reset_after_fork(self) -> None:
        """In a child: nothing is in flight."""
        self.store: deque[None] = deque([None] * self._grants)

    def begin(self, joined: Joined | None) -> Recording | None:
        """Record a request, perhaps one whose sender's ids are known; None without room."""
        try:
            grant = self.store.pop()
        except IndexError:
            self.ring.lose("requests", "flight_spans")
            return None
        return Recording(self, joined, grant)

    def told(self) -> str:
        """What is in use just now, in words."""
        taken = self._grants - len(self.store)
        spans, of_spans = taken * GRANT, self._grants * GRANT
        kib, of_kib = (number * self.bytes_at_once / 1024 for number in (taken, self._grants))
        return f"; in flight: {spans} of {of_spans} spans, {kib:.0f} of {of_kib:.0f} KiB"

    def may_keep(self) -> bool:
        """Whether one more request may be kept just now; a refusal is counted."""
        if self._budget.take():
            return True
        self.ring.lose("requests", "flight_budget")
        return False


class Running:
    """This process's recorder; None where it is off."""

    recorder: FlightRecorder | None = None
