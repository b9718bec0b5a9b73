"""The JSON of the REST interface, as types; OpenAPI shows their descriptions."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

Number = int | float
Ns = Annotated[int, Field(description="Nanoseconds since 1970, or of a duration.")]


class Health(BaseModel):
    """That the collector lives, and how busy it is."""

    status: str = Field(description="ok, or why it is not.")
    version: str
    pending_rows: int = Field(description="Rows that wait for their commit.")
    commits_failed: int = Field(description="Commits that failed while rows are refused.")
    broken_files: list[str] = Field(
        description="Files of the tables that cannot be read, and that answers leave out."
    )
    uptime_ns: Ns


class TraceRow(BaseModel):
    """One trace in a list."""

    id: str = Field(description="32 hex digits.")
    root: str = Field(description="The name of its root span.")
    service: str = Field(description="The service whose span is the root.")
    started_ns: Ns
    started: str = Field(description="The same as ISO 8601, UTC.")
    duration_ns: Ns
    spans: int
    errors: int = Field(description="How many of its spans failed.")


class TraceList(BaseModel):
    """Traces, newest first."""

    traces: list[TraceRow]
    more: bool = Field(description="Whether there are more than `limit` allowed.")


class Node(BaseModel):
    """One span with those below it."""

    span_id: str
    parent_id: str
    name: str
    service: str
    host: str
    pid: int
    kind: str
    depth: int = Field(description="How far below its root; beyond 200 nothing nests deeper.")
    started_ns: Ns
    duration_ns: Ns
    self_ns: int = Field(description="Nanoseconds in which none of its children ran.")
    status: str = Field(description="unset, ok or error.")
    status_message: str
    attributes: dict[str, str | int | float | bool]
    events: list[SpanEvent]
    orphan: bool = Field(description="Its parent is not among the spans.")
    children: list[Node]


class SpanEvent(BaseModel):
    """Something that happened in a span."""

    name: str
    at_ns: Ns
    attributes: dict[str, str | int | float | bool]


class TraceTree(BaseModel):
    """One trace as a tree."""

    id: str
    started_ns: Ns
    started: str
    duration_ns: Ns
    spans: int
    errors: int
    duplicates: int = Field(description="How often a span came again and was left out.")
    more: bool = Field(description="Whether there are spans that started after these.")
    services: list[str]
    roots: list[Node]


class Metric(BaseModel):
    """One metric that reported."""

    name: str
    kind: str = Field(description="counter, gauge or distribution.")
    unit: str
    description: str
    dimensions: list[str] = Field(description="The keys that tell its series apart.")
    series: int = Field(description="How many there are.")
    ended_ns: int = Field(description="The end of its latest reading.")


class MetricList(BaseModel):
    """Metrics by name."""

    metrics: list[Metric]
    more: bool


class DimensionList(BaseModel):
    """The dimensions of one metric."""

    name: str
    dimensions: dict[str, list[str]] = Field(description="Key -> its values, sorted.")


class SeriesRow(BaseModel):
    """One series: who measured it, and its dimensions."""

    service: str
    host: str
    pid: int
    region: str
    zone: str
    version: str
    resource: dict[str, str | int | float | bool] = Field(
        description="Further attributes of the process."
    )
    scope: str = Field(description="Which library measured it, if that told.")
    kind: str
    unit: str
    dimensions: dict[str, str]
    ended_ns: int = Field(description="The end of its latest reading.")


class SeriesList(BaseModel):
    """The series of one metric."""

    name: str
    series: list[SeriesRow]
    more: bool


class StatisticsRow(BaseModel):
    """One group in one period. What a kind of metric does not have is null."""

    period_started_ns: Ns
    period_started: str
    group: dict[str, str | None] = Field(description="Null where the series have no such key.")
    kind: str
    unit: str
    count: int = Field(description="Values of a distribution; readings of a counter or gauge.")
    sum: Number | None = Field(description="How far a counter moved; the sum of values.")
    avg: float | None = Field(description="Sum by count, never an average of averages.")
    min: Number | None
    max: Number | None
    last: Number | None = Field(description="Of a gauge: its latest value.")
    rate: float | None = Field(description="Of a counter or distribution: so many a second.")
    quantiles: dict[str, float | None] = Field(
        description="By the share as it was asked for; as exact as the sender's buckets."
    )


class Statistics(BaseModel):
    """The statistics of one metric; `kind` and `unit` are those of the first row."""

    name: str
    kind: str
    unit: str
    statistics: list[StatisticsRow]


class Loss(BaseModel):
    """Something that was lost or refused."""

    service: str
    name: str = Field(description="The counter that says so.")
    dimensions: dict[str, str]
    count: Number


class LossList(BaseModel):
    """All that was lost or refused, by anyone who reports here."""

    since_ns: Ns
    losses: list[Loss]
