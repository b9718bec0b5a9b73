"""OTLP over HTTP: each request is answered after its rows are committed, in its own encoding.

Protobuf and JSON by Content-Type, gzip by Content-Encoding. What cannot be taken is answered as
the protocol says: 400 for what will never be right, 503 with Retry-After for what may be later.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from nilometer.clock import Clock
from nilometer.collect.body import RETRY_AFTER_S, Hold, Refused, Room, read_body
from nilometer.collect.group import GroupCommit, NotCommitted, Overloaded
from nilometer.collect.instruments import ACCEPTED, Refusals
from nilometer.errors import WireError
from nilometer.wire import otlp_in, otlp_reply
from nilometer.wire.otlp_values import Rejected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from nilometer.model import Batch

# Decoding takes some 10 us a kB in Python, and a hundred times that if somebody packs it with
# empty items; a larger body is decoded in a thread, so that the others' requests are answered
# meanwhile. Below, the change of threads would cost more. One at a time: the interpreter runs
# one anyway, and the worst bodies let in take 0.6 GB meanwhile.
INLINE_BYTES_MAX: Final = 4 << 10

NAME_CHARS_MAX: Final = 255  # what OpenTelemetry allows an instrument


class Signal(NamedTuple):
    """One kind of request: its path, how it is read and how it is answered."""

    name: str
    decode: Callable[..., otlp_in.Decoded]
    reply: otlp_reply.Signal


SIGNALS: Final = (
    Signal("traces", otlp_in.decode_traces, otlp_reply.Signal.TRACES),
    Signal("metrics", otlp_in.decode_metrics, otlp_reply.Signal.METRICS),
    Signal("logs", otlp_in.decode_logs, otlp_reply.Signal.LOGS),
)


class OtlpDoor:
    """The three routes; refusals are counted by reason, answered in the sender's encoding."""

    def __init__(
        self,
        group: GroupCommit,
        refusals: Refusals,
        room: Room | None = None,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._group = group
        self._clock = clock or Clock()
        self._refusals = refusals
        self._room = room or Room()
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="nilometer-decode")

    def close(self) -> None:
        """End the thread; what it decodes yet nobody waits for."""
        self._decoder.shutdown(wait=False, cancel_futures=True)

    def routes(self) -> list[Route]:
        """POST /v1/traces, /v1/metrics, /v1/logs; a slash at the end is no other path."""
        return [
            Route(f"/v1/{signal.name}{slash}", self._endpoint(signal), methods=["POST"])
            for signal in SIGNALS
            for slash in ("", "/")
        ]

    def _endpoint(self, signal: Signal) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            json = otlp_reply.is_json(request.headers.get("content-type", ""))
            try:
                if json is None:
                    known = " or ".join(otlp_reply.MEDIA_TYPES)
                    raise Refused(415, "content-type", f"Content-Type must be {known}")
                return await self._taken(signal, request, json=json)
            except Refused as refused:
                self._refusals.count("otlp", refused.reason, detail=refused.message)
                return refusal(refused, json=json is not False)
            except ClientDisconnect:
                self._refusals.count("otlp", "disconnected")
                return Response(status_code=400)  # nobody hears it

        return endpoint

    async def _taken(self, signal: Signal, request: Request, *, json: bool) -> Response:
        with Hold(self._room) as hold:
            body = await read_body(request.headers, request.stream(), hold)
            batches, rejected = decoded = await self._decoded(signal, body, json=json)
            del body
            now_ns = self._clock.wall_ns()
            batches = tuple(dated(batch, now_ns) for batch in batches)
            await self._committed(batches)
        for batch in batches:
            ACCEPTED.bind(door="otlp", kind=signal.name).add(batch.rows)
        for reason, items in rejected.items():
            self._refusals.count("otlp", f"item-{reason}", items)
        reply = otlp_reply.Reply(sum(rejected.values()), decoded.because)
        content = otlp_reply.encode(signal.reply, reply, json=json)
        return Response(content, media_type=_media_type(json=json))

    async def _decoded(self, signal: Signal, body: bytes, *, json: bool) -> otlp_in.Decoded:
        decode = partial(signal.decode, body, json=json)
        try:
            if len(body) <= INLINE_BYTES_MAX:
                return named(decode())
            loop = asyncio.get_running_loop()
            return named(await loop.run_in_executor(self._decoder, decode))
        except WireError as error:
            status = 413 if error.reason == "too-large" else 400
            raise Refused(status, error.reason, str(error)) from None

    async def _committed(self, batches: Sequence[Batch]) -> None:
        try:
            await self._group.submit(batches)
        except Overloaded:
            raise Refused(503, "overloaded", "the collector is busy; send it again") from None
        except NotCommitted as error:
            if error.may_retry:
                raise Refused(503, "not-committed", str(error)) from None
            raise Refused(400, "not-storable", str(error)) from None


def named(decoded: otlp_in.Decoded) -> otlp_in.Decoded:
    """Without readings whose name nobody could ask for; those are rejected."""
    names = {one.name for batch in decoded.batches for one in batch.readings}
    bad = {each for each in names if not 0 < len(each) <= NAME_CHARS_MAX or "\0" in each}
    if not bad:
        return decoded
    rejected = Counter(decoded.rejected)
    batches = []
    for batch in decoded.batches:
        good = tuple(one for one in batch.readings if one.name not in bad)
        rejected["metric-name"] += len(batch.readings) - len(good)
        batches.append(batch._replace(readings=good))
    return otlp_in.Decoded(tuple(batches), Rejected(rejected, decoded.rejected.example))


def dated(batch: Batch, now_ns: int) -> Batch:
    """What comes without any time happened now, as far as anybody knows; not in 1970."""
    timeless = [one for one in batch.events if not one.at_ns]
    if not timeless and all(reading.ended_ns for reading in batch.readings):
        return batch
    events = [one if one.at_ns else one._replace(at_ns=now_ns) for one in batch.events]
    readings = [
        one
        if one.ended_ns
        else one._replace(started_ns=one.started_ns or now_ns, ended_ns=now_ns)
        for one in batch.readings
    ]
    return batch._replace(events=tuple(events), readings=tuple(readings))


def _media_type(*, json: bool) -> str:
    return "application/json" if json else "application/x-protobuf"


def refusal(refused: Refused, *, json: bool) -> Response:
    """The answer as OTLP wants it: a google.rpc.Status in the sender's encoding."""
    headers = {"Retry-After": str(RETRY_AFTER_S)} if refused.may_retry else {}
    if refused.reason == "content-encoding":
        headers["Accept-Encoding"] = "gzip, deflate, identity"
    return Response(
        otlp_reply.encode_error(refused.status, refused.message, json=json),
        refused.status,
        headers,
        _media_type(json=json),
    )
