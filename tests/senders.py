"""Senders of known batches, who deliver again until they are acknowledged, and who counts them.

sender = Sender([one, two], number=1, batches=10)
sender.start()
...
sender.join()
assert spans_in(reader) == dict(sender.sent())
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import httpx

from nilometer.errors import StoreError
from nilometer.store.query import Reader

if TYPE_CHECKING:
    from tests.collector import Collector

S = 10**9
DAY_NS = 86_400 * S
BEGUN_NS = time.time_ns() - 3600 * S
OLD_NS = BEGUN_NS - 20 * DAY_NS
SPANS = 5
SOLD = "orders.sold"
ANSWER_S, GIVE_UP_S = 30, 90

_WHO = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}

Posts = list[tuple[str, dict[str, Any]]]


def batch_of(sender: int, number: int) -> Posts:
    """What a sender posts for one batch: a trace of `SPANS` spans, then one sold."""
    at_ns = BEGUN_NS + number * S
    point = {
        "attributes": [{"key": "sender", "value": {"stringValue": str(sender)}}],
        "startTimeUnixNano": str(at_ns),
        "timeUnixNano": str(at_ns + S),
        "asInt": "1",
    }
    moved = {"aggregationTemporality": 1, "isMonotonic": True, "dataPoints": [point]}
    metrics = [{"name": SOLD, "unit": "1", "sum": moved}]
    told = {"resourceMetrics": [{"resource": _WHO, "scopeMetrics": [{"metrics": metrics}]}]}
    return [traced(trace_of(sender, number), at_ns), ("/v1/metrics", told)]


def traced(trace: str, at_ns: int) -> tuple[str, dict[str, Any]]:
    """The post of one trace of that id."""
    spans = [
        {
            "traceId": trace,
            "spanId": f"{number + 1:016x}",
            "name": "order",
            "kind": 2,
            "startTimeUnixNano": str(at_ns + number),
            "endTimeUnixNano": str(at_ns + S),
        }
        for number in range(SPANS)
    ]
    return "/v1/traces", {
        "resourceSpans": [{"resource": _WHO, "scopeSpans": [{"spans": spans}]}]
    }


def trace_of(sender: int, number: int) -> str:
    """The id of the trace of that batch."""
    return f"{sender + 1:016x}{number + 1:016x}"


class Sender(threading.Thread):
    """Posts batches to one collector, and to the next when it is not acknowledged.

    Every third of them is preceded by a trace of long ago, which nobody keeps for long.
    `again` counts deliveries that were repeated, `failed` says why it gave up.
    """

    def __init__(self, collectors: Sequence[Collector], number: int, batches: int) -> None:
        super().__init__(daemon=True)
        self.begun = self.acknowledged = self.again = 0
        self.failed = ""
        self._collectors = collectors
        self._number = number
        self._batches = batches

    def run(self) -> None:
        """Deliver every batch."""
        give_up = time.monotonic() + GIVE_UP_S
        for number in range(self._batches):
            posts = batch_of(self._number, number)
            if number % 3 == 0:
                posts.insert(0, traced(f"f{self._number:015x}{number:016x}", OLD_NS))
            self.begun += 1
            for path, body in posts:
                if not self._deliver(path, body, give_up):
                    return
            self.acknowledged += 1

    def _deliver(self, path: str, body: dict[str, Any], give_up: float) -> bool:
        while True:
            collector = self._collectors[(self._number + self.again) % len(self._collectors)]
            try:
                answer = httpx.post(collector.url + path, json=body, timeout=ANSWER_S)
                if answer.status_code == 200:
                    return True
                why = answer.text
            except httpx.HTTPError as error:
                why = repr(error)
            self.again += 1
            if time.monotonic() > give_up:
                self.failed = why
                return False
            time.sleep(0.1)

    def sent(self) -> list[tuple[str, int]]:
        """The traces of its batches, each with its number of spans."""
        return [(trace_of(self._number, n), SPANS) for n in range(self._batches)]


class Counting(threading.Thread):
    """Asks again and again how many were sold, while a ``with`` lasts.

    `wrong` are the answers that were less than what had been acknowledged before the question,
    or more than what had been sent when it was answered.
    """

    def __init__(self, store: str, senders: Sequence[Sender]) -> None:
        super().__init__(daemon=True)
        self.answers = 0
        self.wrong: list[str] = []
        self._reader = Reader(store)
        self._senders = senders
        self._ending = threading.Event()

    def run(self) -> None:
        """Ask until the end."""
        while not self._ending.wait(0.1):
            before = acknowledged(self._senders)
            try:
                found = counted_in(self._reader, SOLD)
            except StoreError as error:
                if error.slug != "store-failed":  # no answer in time, on a busy machine
                    self.wrong.append(str(error))
                continue
            after = sum(sender.begun for sender in self._senders)
            self.answers += 1
            if not before <= found <= after:
                self.wrong.append(f"{before} acknowledged, {found} found, {after} sent")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self.join()
        self._reader.close()


def acknowledged(senders: Sequence[Sender]) -> int:
    """How many of their batches were acknowledged by now."""
    return sum(sender.acknowledged for sender in senders)


def counted_in(reader: Reader, name: str) -> float:
    """The sum of a counter, as readers count it."""
    return sum(told.total or 0 for told in reader.statistics(name))


def spans_in(reader: Reader) -> dict[str, int]:
    """How many spans each trace has, as readers count them."""
    return {trace.id: trace.spans for trace in reader.find_traces(limit=10_000)}
