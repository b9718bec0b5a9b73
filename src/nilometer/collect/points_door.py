"""OSProfiler's points over HTTP: from its driver `nilometer://`, and from what is imported.

POST /v1/points takes a JSON list of points. It is answered after they are committed, with how
many were taken and how many were none.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from nilometer.collect.body import RETRY_AFTER_S, Hold, Refused, Room, read_body
from nilometer.collect.budget import Totals
from nilometer.collect.bus_url import TRACE_POINTS
from nilometer.collect.group import NotCommitted, Overloaded
from nilometer.collect.instruments import ACCEPTED
from nilometer.collect.points import Pairs
from nilometer.errors import NilometerError, WireError, said_by
from nilometer.wire.notifications import number_or_text
from nilometer.wire.osprofiler_points import point_of, points_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nilometer.collect.group import GroupCommit
    from nilometer.collect.instruments import Refusals
    from nilometer.model import Event
    from nilometer.wire.osprofiler_points import Point

DOOR: Final = "points"
PATH: Final = "/v1/points"


class PointsDoor:
    """The route; `lone` gives the points that wait in the tables when it begins."""

    def __init__(
        self,
        group: GroupCommit,
        refusals: Refusals,
        lone: Callable[[], Iterable[Event]] = tuple,
        room: Room | None = None,
    ) -> None:
        self._group = group
        self._refusals = refusals
        self._lone = lone
        self._room = room or Room()
        self._pairs: Pairs | None = None
        self._traces = Totals(TRACE_POINTS)
        self._one = asyncio.Lock()  # pairs are made in the order in which they are committed

    def routes(self) -> list[Route]:
        """POST /v1/points."""
        return [Route(PATH, self._answer, methods=["POST"])]

    async def _answer(self, request: Request) -> Response:
        try:
            with Hold(self._room) as hold:
                body = await read_body(request.headers, request.stream(), hold)
                points, rejected = self._read(body)
                async with self._one:
                    await self._commit(points)
        except Refused as refused:
            self._refusals.count(DOOR, refused.reason, detail=refused.message)
            headers = {"Retry-After": str(RETRY_AFTER_S)} if refused.may_retry else {}
            return JSONResponse({"detail": refused.message}, refused.status, headers)
        except ClientDisconnect:
            self._refusals.count(DOOR, "disconnected")
            return Response(status_code=400)  # nobody hears it
        ACCEPTED.bind(door=DOOR, kind="points").add(len(points))
        return JSONResponse({"taken": len(points), "rejected": dict(rejected)})

    def _read(self, body: bytes) -> tuple[list[Point], Counter[str]]:
        try:
            # NaN, which Python's services write, and 1e999: as text any JSON can tell them.
            told = json.loads(body, parse_constant=str, parse_float=number_or_text)
        except RecursionError:
            raise Refused(400, "too-deep", "JSON nested too deep") from None
        except ValueError as error:
            raise Refused(400, "json", f"not JSON: {said_by(error)}") from None
        if not isinstance(told, list):
            raise Refused(400, "field", "a list of points is due")
        points: list[Point] = []
        rejected: Counter[str] = Counter()
        for each in told:
            self._sort(each, points, rejected)
        return points, rejected

    def _sort(self, told: Any, points: list[Point], rejected: Counter[str]) -> None:
        try:
            point = point_of(told)
        except WireError as error:
            rejected[error.reason] += 1
            self._refusals.count(DOOR, error.reason, detail=str(error))
            return
        if self._traces.takes(point.trace_id):
            points.append(point)
        else:
            rejected["trace-flood"] += 1
            self._refusals.count(DOOR, "trace-flood", detail=point.trace_id.hex())

    async def _commit(self, points: list[Point]) -> None:
        pairs = self._pairs or await self._remembered()
        waiting = pairs.those_of(points)
        try:
            await self._group.submit(pairs.paired(points))
        except (Overloaded, NotCommitted) as error:
            pairs.restore(points, waiting)  # they will be sent again
            for point in points:
                self._traces.give_back(point.trace_id)
            if isinstance(error, NotCommitted) and not error.may_retry:
                raise Refused(400, "not-storable", str(error)) from None
            raise Refused(503, "not-committed", str(error)) from None

    async def _remembered(self) -> Pairs:
        loop = asyncio.get_running_loop()
        pairs = self._pairs = Pairs()
        try:
            found = await loop.run_in_executor(None, lambda: points_of(self._lone()))
        except NilometerError:
            return pairs  # what waits there is found by whoever asks for its trace
        pairs.remember(found)
        return pairs
