"""Metrics: which there are, what tells their series apart, and their statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from fastapi import APIRouter, Query

from nilometer.api.answers import (
    DimensionList,
    Loss,
    LossList,
    Metric,
    MetricList,
    SeriesList,
    SeriesRow,
    Statistics,
    StatisticsRow,
)
from nilometer.api.moments import iso_8601
from nilometer.api.parameters import (
    DurationNs,
    Moment,
    PairText,
    QuantileText,
    Text,
    pair,
    quantile,
)
from nilometer.api.problems import Problem, Refusal, not_a_choice, ordered, unusable
from nilometer.api.trees import plain
from nilometer.model.loss import LOSSES
from nilometer.model.moments import moment_ns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nilometer.api.queries import Queries
    from nilometer.store import statistics as stored
    from nilometer.store.query import Reader

NAMES: Final = 200
NAMES_MAX: Final = 1000  # of some 300 bytes each: 300 kB
SERIES: Final = 1000
SERIES_MAX: Final = 10_000  # of some 600 bytes each: 6 MB
KEYS_MAX: Final = 8  # groups multiply; nobody reads a table of more
QUANTILES_MAX: Final = 20
SINCE: Final = "1h"
LOSSES_SINCE: Final = "24h"

Keys = Annotated[list[Text], Query(max_length=KEYS_MAX, description="Repeated, or a,b.")]
Pairs = Annotated[list[PairText], Query(max_length=KEYS_MAX, description="Repeated.")]
Shares = Annotated[list[QuantileText], Query(max_length=QUANTILES_MAX, description="Repeated.")]


def router(reader: Reader, queries: Queries) -> APIRouter:
    """The routes under /metrics, and /losses."""
    routes = APIRouter(tags=["metrics"])
    _add_lists(routes, reader, queries)
    _add_statistics(routes, reader, queries)
    return routes


def _add_lists(routes: APIRouter, reader: Reader, queries: Queries) -> None:
    @routes.get("/metrics")
    async def list_metrics(
        prefix: Text = "",
        since: Moment | None = None,
        until: Moment | None = None,
        limit: Annotated[int, Query(ge=1, le=NAMES_MAX)] = NAMES,
    ) -> MetricList:
        """The metrics that reported since an hour ago, or `since`, by name."""
        return await queries.run(
            "/metrics", _metrics, reader, prefix, _from(since, until), until, limit
        )

    @routes.get("/metrics/{name:text}/dimensions", responses={404: {"model": Problem}})
    async def list_dimensions(
        name: Text, since: Moment | None = None, until: Moment | None = None
    ) -> DimensionList:
        """The keys that tell the metric's series apart, service and host among them."""
        return await queries.run(
            "/metrics/{name}/dimensions", _dimensions, reader, name, _from(since, until), until
        )

    @routes.get("/metrics/{name:text}/series", responses={404: {"model": Problem}})
    async def list_series(
        name: Text,
        where: Pairs = [],  # noqa: B006 - FastAPI copies defaults
        since: Moment | None = None,
        until: Moment | None = None,
        limit: Annotated[int, Query(ge=1, le=SERIES_MAX)] = SERIES,
    ) -> SeriesList:
        """The metric's series: who measured them, and their dimensions."""
        wanted = dict(map(pair, where))
        return await queries.run(
            "/metrics/{name}/series",
            _series,
            reader,
            name,
            wanted,
            _from(since, until),
            until,
            limit,
        )


def _add_statistics(routes: APIRouter, reader: Reader, queries: Queries) -> None:
    @routes.get("/metrics/{name:text}/statistics", responses={404: {"model": Problem}})
    async def show_statistics(
        name: Text,
        since: Moment | None = None,
        until: Moment | None = None,
        period: DurationNs | None = None,
        group_by: Keys = [],  # noqa: B006 - FastAPI copies defaults
        where: Pairs = [],  # noqa: B006
        quantile: Shares = [],  # noqa: B006
    ) -> Statistics:
        """Count, sum, average, extremes and quantiles, by period and group."""
        if period == 0:
            raise unusable("period", "0", "a period lasts longer than nothing, as in 1m")
        wanted = dict(map(pair, where))
        keys = [key for given in group_by for key in given.split(",") if key]
        if len(keys) > KEYS_MAX:
            raise unusable("group_by", ",".join(keys), f"at most {KEYS_MAX} keys")
        return await queries.run(
            "/metrics/{name}/statistics",
            _statistics,
            reader,
            name,
            (_from(since, until), until, period),
            keys,
            wanted,
            quantile,
        )

    @routes.get("/losses")
    async def list_losses(since: Moment | None = None) -> LossList:
        """Whatever was lost or refused since yesterday, or `since`, by all who report here."""
        return await queries.run("/losses", _losses, reader, _from(since, default=LOSSES_SINCE))


def _from(since_ns: int | None, until_ns: int | None = None, *, default: str = SINCE) -> int:
    """The beginning of what is asked for; refused if that is after its end."""
    begun_ns = moment_ns(default) if since_ns is None else since_ns
    return ordered(begun_ns, until_ns)


# --- Asked in a thread ---------------------------------------------------------------------


def _metrics(
    reader: Reader, prefix: str, since_ns: int, until_ns: int | None, limit: int
) -> MetricList:
    found = reader.metric_names(prefix, since_ns=since_ns, until_ns=until_ns, limit=limit + 1)
    listed = found[:limit]
    last = listed[-1].name if listed else ""
    keys = reader.keys(prefix, last=last, since_ns=since_ns, until_ns=until_ns)
    metrics = [
        Metric(
            name=one.name,
            kind=one.kind,
            unit=one.unit,
            description=one.description,
            dimensions=keys.get(one.name, []),
            series=one.series,
            ended_ns=one.ended_ns,
        )
        for one in listed
    ]
    return MetricList(metrics=metrics, more=len(found) > limit)


def _dimensions(
    reader: Reader, name: str, since_ns: int, until_ns: int | None
) -> DimensionList:
    found = reader.dimensions(name, since_ns=since_ns, until_ns=until_ns)
    if not found:
        refuse_unknown_metric(reader, name)
    return DimensionList(name=name, dimensions=found)


def _series(
    reader: Reader,
    name: str,
    where: Mapping[str, str],
    since_ns: int,
    until_ns: int | None,
    limit: int,
) -> SeriesList:
    found = reader.series(name, where, since_ns=since_ns, until_ns=until_ns)
    if not found:
        refuse_unknown_metric(reader, name)
    rows = [
        SeriesRow(
            service=one.service,
            host=one.host,
            pid=one.pid,
            region=one.region,
            zone=one.zone,
            version=one.version,
            resource=plain(one.resource),
            scope=one.scope,
            kind=one.kind,
            unit=one.unit,
            dimensions=dict(one.dimensions),
            ended_ns=one.ended_ns,
        )
        for one in found[:limit]
    ]
    return SeriesList(name=name, series=rows, more=len(found) > limit)


def _statistics(
    reader: Reader,
    name: str,
    time: tuple[int, int | None, int | None],
    group_by: Sequence[str],
    where: Mapping[str, str],
    shares: Sequence[str],
) -> Statistics:
    since_ns, until_ns, period_ns = time
    found = reader.statistics(
        name,
        since_ns=since_ns,
        until_ns=until_ns,
        period_ns=period_ns,
        group_by=group_by,
        where=where,
        quantiles=[quantile(share)[1] for share in shares],
    )
    if not found:
        refuse_unknown_metric(reader, name)
    _refuse_keys(reader, name, since_ns, where, found, group_by)
    rows = [_row(one, group_by, shares) for one in found]
    first = found[0] if found else None
    return Statistics(
        name=name,
        kind=first.kind if first else "",
        unit=first.unit if first else "",
        statistics=rows,
    )


def _row(
    one: stored.Statistics, group_by: Sequence[str], shares: Sequence[str]
) -> StatisticsRow:
    quantiles = zip(shares, (value for _, value in one.quantiles), strict=False)
    return StatisticsRow(
        period_started_ns=one.started_ns,
        period_started=iso_8601(one.started_ns),
        group=dict(zip(group_by, one.group, strict=True)),
        kind=one.kind,
        unit=one.unit,
        count=one.samples,
        sum=one.total,
        avg=one.average,
        min=one.minimum,
        max=one.maximum,
        last=one.last,
        rate=one.rate,
        quantiles=dict(quantiles),
    )


def _losses(reader: Reader, since_ns: int) -> LossList:
    losses = []
    for name, keys in LOSSES.items():
        group_by = ("service", *keys)
        for one in reader.statistics(name, since_ns=since_ns, group_by=group_by):
            service, *values = (value or "" for value in one.group)
            dimensions = dict(zip(keys, values, strict=True))
            losses.append(
                Loss(service=service, name=name, dimensions=dimensions, count=one.total or 0)
            )
    return LossList(since_ns=since_ns, losses=losses)


def refuse_unknown_metric(reader: Reader, name: str) -> None:
    """Nothing was found: Refusal 404 if there never was such a metric, with near ones."""
    known = [one.name for one in reader.metric_names()]
    if name not in known:
        refusal = not_a_choice("metric", name, known, parameter="name")
        raise Refusal(404, refusal.problem)


def _refuse_keys(
    reader: Reader,
    name: str,
    since_ns: int,
    where: Mapping[str, str],
    found: Sequence[stored.Statistics],
    group_by: Sequence[str],
) -> None:
    """A key that no series has is a slip of the pen; an empty answer would not say so."""
    doubtful = [
        ("group_by", key)
        for place, key in enumerate(group_by)
        if all(one.group[place] is None for one in found)
    ]
    if not found:
        doubtful += [("where", key) for key in where]
    if doubtful:
        known = list(reader.dimensions(name, since_ns=since_ns))
        for parameter, key in doubtful:
            if known and key not in known:
                raise not_a_choice("dimension", key, known, parameter=parameter)
