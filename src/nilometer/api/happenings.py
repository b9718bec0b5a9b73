"""The JSON of what happened to requests and resources, as types."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel, Field

from nilometer.api.answers import Ns  # noqa: TC001 - pydantic reads annotations
from nilometer.api.moments import iso_8601

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nilometer.model.happening import Happening
    from nilometer.model.operations import Timing
    from nilometer.store.notices import RequestSummary


class HappeningRow(BaseModel):
    """A notification, an event (as a log line is) or a span; what it does not tell is empty."""

    kind: str = Field(description="notification, event or span.")
    at_ns: Ns
    at: str = Field(description="The same as ISO 8601, UTC.")
    gap_ns: int | None = Field(description="Nanoseconds since the one before it in the list.")
    name: str = Field(description="A notification's event_type; a span's or an event's name.")
    service: str
    host: str
    region: str
    id: str = Field(description="A notification's message_id, a span's trace.")
    publisher: str
    priority: str
    exchange: str
    topic: str
    request_id: str
    project_id: str
    user_id: str
    resource_id: str
    state: str
    old_state: str
    task: str
    old_task: str
    text: str = Field(description="A log line; of others what went wrong.")
    duration_ns: int | None = Field(description="Of a span.")
    is_error: bool


class HappeningList(BaseModel):
    """What happened."""

    happenings: list[HappeningRow]
    more: bool = Field(description="Whether there are more than `limit` allowed.")


class History(HappeningList):
    """What happened to a request or resource, oldest first; of more than `limit` the latest."""

    id: str
    started_ns: Ns
    duration_ns: int = Field(description="Nanoseconds from the first to the last.")
    errors: int


class RequestRow(BaseModel):
    """One request that notifications tell of."""

    id: str
    started_ns: Ns
    started: str = Field(description="The same as ISO 8601, UTC.")
    duration_ns: int = Field(description="Nanoseconds from its first to its last notification.")
    notifications: int
    errors: int
    first: str = Field(description="What it told first.")
    last: str
    project_id: str
    resources: list[str]
    services: list[str]


class RequestList(BaseModel):
    """Requests, newest first."""

    requests: list[RequestRow]
    more: bool


class TimingRow(BaseModel):
    """One operation, or one of one project; durations are in nanoseconds."""

    operation: str = Field(description="The name without .start, .end or .error.")
    project_id: str | None = Field(description="Null where projects are taken together.")
    count: int = Field(description="How many began and ended as they should.")
    min: int | None
    max: int | None
    avg: float | None
    quantiles: dict[str, int | None] = Field(description="By the share as it was asked for.")
    failed: int = Field(description="How many ended with .error.")
    unfinished: int = Field(description="Starts whose end nobody told.")
    end_only: int = Field(description="Ends whose start nobody told.")


class TimingList(BaseModel):
    """Timings by operation and project."""

    timings: list[TimingRow]


class IndicatorRow(BaseModel):
    """Requests of one operation and project, from the API to the last end; nanoseconds."""

    operation: str = Field(description="Whose end was the last of the request.")
    project_id: str
    count: int
    min: int | None
    max: int | None
    avg: float | None
    quantiles: dict[str, int | None] = Field(description="By the share as it was asked for.")
    failed: int = Field(description="How many ended with .error.")
    end_only: int = Field(description="Ends of which nobody told how the request began.")


class IndicatorList(BaseModel):
    """Key figures by operation and project."""

    kpi: list[IndicatorRow]


class Sums(NamedTuple):
    """What happened, summed up; nanoseconds."""

    started_ns: int
    duration_ns: int
    errors: int


def sums_of(kept: Sequence[Happening]) -> Sums:
    """The sums of these, the oldest first; there is one at least."""
    started_ns = kept[0].at_ns
    ended_ns = max(one.at_ns + (one.duration_ns or 0) for one in kept)
    return Sums(started_ns, ended_ns - started_ns, sum(one.is_error for one in kept))


def rows_of(found: Iterable[Happening], before: Happening | None = None) -> list[HappeningRow]:
    """Rows in that order; `before` is what stands in the list before them."""
    rows: list[HappeningRow] = []
    for one in found:
        gap_ns = None if before is None else abs(one.at_ns - before.at_ns)
        at = iso_8601(max(0, one.at_ns))
        rows.append(HappeningRow(at=at, gap_ns=gap_ns, **one._asdict()))
        before = one
    return rows


def history_of(told: str, found: Sequence[Happening], limit: int) -> History:
    """All of them, given the latest first."""
    kept = list(reversed(found[:limit]))
    sums = sums_of(kept)._asdict()
    return History(id=told, **sums, happenings=rows_of(kept), more=len(found) > limit)


def request_row(one: RequestSummary) -> RequestRow:
    """A row of the list."""
    told = {key: value for key, value in one._asdict().items() if key != "ended_ns"}
    return RequestRow(
        **told,
        started=iso_8601(max(0, one.started_ns)),
        duration_ns=one.ended_ns - one.started_ns,
    )


def timing_row(one: Timing, shares: Sequence[str], *, by_project: bool) -> TimingRow:
    """A row of timings; `shares` as they were asked for."""
    return TimingRow(
        operation=one.operation,
        project_id=one.project_id if by_project else None,
        count=one.completed,
        min=one.minimum_ns,
        max=one.maximum_ns,
        avg=one.average_ns,
        quantiles=dict(zip(shares, one.quantiles, strict=True)),
        failed=one.failed,
        unfinished=one.unfinished,
        end_only=one.end_only,
    )


def indicator_row(one: Timing, shares: Sequence[str]) -> IndicatorRow:
    """A row of key figures; `shares` as they were asked for."""
    return IndicatorRow(
        operation=one.operation,
        project_id=one.project_id,
        count=one.completed,
        min=one.minimum_ns,
        max=one.maximum_ns,
        avg=one.average_ns,
        quantiles=dict(zip(shares, one.quantiles, strict=True)),
        failed=one.failed,
        end_only=one.end_only,
    )
