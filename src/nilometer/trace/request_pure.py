"""What all spans of one request share: the specification of C's ``Trace``."""

from __future__ import annotations

from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any

from nilometer.trace.limits import SPANS_PER_TRACE_MAX
from nilometer.trace.ring_pure import RING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nilometer.trace.ring_pure import Ring


class Trace:
    """One traced request as this process sees it.

    `trace_id` is 16 bytes; `parent_id` 8, or empty where the request began here. `base_id` is
    OSProfiler's text, `signer` signs onward requests and never shows its key, `attributes` go
    to the root span. Wall and monotonic clock are read together once, here: all spans of the
    request are placed by this one pair, so a clock step cannot move a child out of its parent.

    A request is over when the spans that `start_root` made of it have ended. With `lasting` it
    never is: work that it left behind belongs to it still. Where it has had its `spans_max`, or
    its ring the bytes it may hold, ``more()`` is asked for more, once that has been set.
    """

    __slots__ = (
        "trace_id", "parent_id", "base_id", "signer", "attributes", "spans_max", "ring",
        "lasting", "more", "_open", "_parent", "_spans", "_wall_minus_elapsed_ns", "_now",
    )  # fmt: skip

    def __init__(
        self,
        trace_id: bytes,
        parent_id: bytes = b"",
        *,
        base_id: str = "",
        signer: Any = None,
        attributes: Mapping[str, object] | None = None,
        spans_max: int = SPANS_PER_TRACE_MAX,
        ring: Ring | None = None,
    ) -> None:
        are_bytes = isinstance(trace_id, bytes) and isinstance(parent_id, bytes)
        if not are_bytes or len(trace_id) != 16 or len(parent_id) not in (0, 8):
            raise ValueError("a trace id has 16 bytes, a parent id 8 or none")
        self.trace_id = trace_id
        self.parent_id = parent_id
        self.base_id = base_id
        self.signer = signer
        self.attributes = attributes
        self.spans_max = spans_max
        self.ring = RING if ring is None else ring  # an empty ring is false
        self.lasting = False
        self.more: Callable[[], bool] | None = None
        self._open = 0  # roots that have not ended
        self._parent = int.from_bytes(parent_id, "big")
        self._spans = count()
        self._now = self.ring.clock.elapsed_ns
        self._wall_minus_elapsed_ns = self.ring.clock.wall_ns() - self._now()

    def asks_for_more(self) -> bool:
        """Whether there may be more than was granted."""
        with suppress(Exception):  # whoever is asked: his fault is not the application's
            return self.more is not None and bool(self.more())
        return False

    def may_have_another(self) -> bool:
        """Whether a span beyond `spans_max` may be made all the same; a refusal is counted."""
        may = self.asks_for_more()
        if not may:
            self.ring.lose("spans", "budget_spans")
        return may

    @property
    def served(self) -> bool:
        """Whether no span is open that `start_root` made of it."""
        return self._open < 1
