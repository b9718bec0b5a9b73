"""Metrics: which there are, and one of them by period and group, as charts and as numbers."""

from __future__ import annotations

import gzip
import json
from importlib.util import find_spec
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response

from nilometer.api.metrics import KEYS_MAX, Keys, Pairs
from nilometer.api.moments import iso_8601
from nilometer.api.parameters import DurationNs, Text, pair
from nilometer.api.problems import not_a_choice, unusable
from nilometer.model.units import quantity
from nilometer.web import chart, heat
from nilometer.web.addresses import link
from nilometer.web.drawing import Page
from nilometer.web.explorer import OF_KIND, PERIODS, Asked, explored, share_of
from nilometer.web.heat import among, table_of
from nilometer.web.moments import SINCE, MomentText, Window, window
from nilometer.web.panels import unit_of, value_of
from nilometer.web.sheet import Sheet

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nilometer.store.measured import Instrument
    from nilometer.store.query import Reader
    from nilometer.store.statistics import Statistics
    from nilometer.web.explorer import Explored, Side
    from nilometer.web.parts import Parts

LISTED: Final = 200
LISTED_MAX: Final = 1000  # of some 400 bytes each: 400 kB
LOOKED_MAX: Final = 10_000  # names that a search looks through

ROWS_MAX: Final = 400  # of some 500 bytes each: 200 kB; CSV and JSON have all
GROUPS_MAX: Final = 200
VALUES_MAX: Final = 100  # of a dimension, to choose from
VALUE_CHARS_MAX: Final = 300  # of one to choose, with its dimension: it stands there twice
UNIT_CHARS_MAX: Final = 60  # that are shown: units are words

PACKED: Final = 4  # the same names and sizes again and again: 500 kB become 30 in 6 ms

BESIDE: Final = ("format", "tables", "quantiles")
"""In an address what charts do not ask for."""

THEMES: Final = tuple(chart.COLOURS)
COMPARED: Final = (("1h", "an hour"), ("1d", "a day"), ("7d", "a week"))

Chosen = Annotated[list[Text], Query(max_length=20, description="Repeated.")]


def router(parts: Parts) -> APIRouter:
    """The routes under /metrics, and that of charts."""
    routes = APIRouter()
    _add_list(routes, parts)
    _add_one(routes, parts)
    _add_charts(routes, parts)
    return routes


def _add_list(routes: APIRouter, parts: Parts) -> None:
    @routes.get("/metrics")
    async def metrics(
        request: Request,
        q: Text = "",
        prefix: Text = "",
        kind: Text = "",
        since: MomentText = SINCE,
        until: MomentText = "",
        limit: Annotated[int, Query(ge=1, le=LISTED_MAX)] = LISTED,
    ) -> Response:
        if kind and kind not in OF_KIND:
            raise not_a_choice("kind", kind, list(OF_KIND))
        shown = window(since, until, parts.clock)
        found, keys = await parts.queries.run(
            "/metrics", _listed, parts.reader, shown, (q, prefix, kind), limit
        )
        rows = [(one, keys.get(one.name, [])) for one in found[:limit]]
        told = {
            "window": shown,
            "rows": rows,
            "more": len(found) > limit,
            "asked": {"q": q, "prefix": prefix, "kind": kind},
            "kinds": list(OF_KIND),
        }
        data = {"metrics": [_told(*row) for row in rows], "more": len(found) > limit}
        columns = ("name", "kind", "unit", "description", "dimensions", "series", "ended_ns")
        sheet = Sheet(columns, (_cells(*row) for row in rows))
        return parts.drawing.answer(request, Page("metrics.html", "Metrics", told, data, sheet))


def _listed(
    reader: Reader, shown: Window, asked: tuple[str, str, str], limit: int
) -> tuple[list[Instrument], Mapping[str, list[str]]]:
    """The metrics that are as asked for, one more than may be listed, and their dimensions."""
    words, prefix, kind = asked
    needle = words.casefold()
    times = {"since_ns": shown.since_ns, "until_ns": shown.until_ns}
    most = LOOKED_MAX if needle or kind else limit + 1
    named = reader.metric_names(prefix, limit=most, **times)
    found = [
        one
        for one in named
        if needle in f"{one.name}\n{one.description}".casefold() and kind in ("", one.kind)
    ][: limit + 1]
    last = found[-1].name if found else ""
    return found, reader.keys(prefix, last=last, **times) if found else {}


def _told(one: Instrument, keys: Sequence[str]) -> dict[str, Any]:
    return {**one._asdict(), "dimensions": list(keys)}


def _cells(one: Instrument, keys: Sequence[str]) -> tuple[Any, ...]:
    told = (one.name, one.kind, one.unit, one.description)
    return (*told, " ".join(keys), one.series, one.ended_ns)


def _add_one(routes: APIRouter, parts: Parts) -> None:
    @routes.get("/metrics/{name:text}")
    async def metric(
        request: Request,
        name: Text,
        since: MomentText = SINCE,
        until: MomentText = "",
        where: Pairs = [],  # noqa: B006 - FastAPI copies defaults
        group_by: Keys = [],  # noqa: B006
        statistic: Chosen = [],  # noqa: B006
        period: DurationNs = 0,
        compare: Text = "",
        tables: bool = False,
        quantiles: bool | None = None,
    ) -> Response:
        shown = window(since, until, parts.clock).on_grid()
        asked = _asked(name, shown, where, group_by, statistic, period, compare)
        every = request.query_params.get("format", "html") != "html"
        asked = asked._replace(every=every, periods=tables or every, cells=tables or every)
        asked = asked._replace(quantiles=True if tables or every else quantiles)
        same = {key: request.query_params.getlist(key) for key in request.query_params}
        left = {key: v for key, v in same.items() if key not in BESIDE}
        charts = link("charts", name, **left)
        page = await parts.queries.run("/metrics/{name}", _page, parts.reader, asked, charts)
        return parts.drawing.answer(request, page)


def _page(reader: Reader, asked: Asked, charts: str) -> Page:
    """The page of one metric, in a thread: JSON and CSV may be of many rows."""
    told = explored(reader, asked)
    data = _data(told, asked) if asked.every else {}
    sheet = Sheet(_columns(told, asked), _sheet_rows(told))
    return Page("metric.html", asked.name, _shown(told, asked, charts), data, sheet)


def _add_charts(routes: APIRouter, parts: Parts) -> None:
    @routes.get("/charts/{name:text}")
    async def charts(
        request: Request,
        name: Text,
        since: MomentText = SINCE,
        until: MomentText = "",
        where: Pairs = [],  # noqa: B006
        group_by: Keys = [],  # noqa: B006
        statistic: Chosen = [],  # noqa: B006
        period: DurationNs = 0,
        compare: Text = "",
        theme: Text = THEMES[0],
        narrow: bool = False,
        touched: bool = False,
        plain: bool = False,
    ) -> Response:
        """What the page's script draws; `plain` is without the drawing, to renew one."""
        if theme not in THEMES:
            raise not_a_choice("theme", theme, THEMES)
        shown = window(since, until, parts.clock).on_grid()
        asked = _asked(name, shown, where, group_by, statistic, period, compare)
        asked = asked._replace(quantiles=False)  # those of the whole time
        look = None if plain else chart.Look(theme, narrow, touched)
        packs = "gzip" in request.headers.get("accept-encoding", "")
        answer = await parts.queries.run(
            "/charts/{name}", _drawn, parts.reader, asked, look, packs=packs
        )
        headers = {"Cache-Control": "no-store", "Vary": "Accept-Encoding"}
        if packs:
            headers["Content-Encoding"] = "gzip"
        return Response(answer, 200, headers, "application/json")


def _asked(
    name: str,
    shown: Window,
    where: Sequence[str],
    group_by: Sequence[str],
    statistic: Sequence[str],
    period_ns: int,
    compare: str,
) -> Asked:
    keys = tuple(dict.fromkeys(k for told in group_by for k in told.split(",") if k))
    if len(keys) > KEYS_MAX:
        raise unusable("group_by", ",".join(keys), f"at most {KEYS_MAX} keys")
    chosen = tuple(one for told in statistic for one in told.split(",") if one)
    return Asked(name, shown, dict(map(pair, where)), keys, chosen, period_ns, compare)


def _drawn(reader: Reader, asked: Asked, look: chart.Look | None, *, packs: bool) -> bytes:
    """The charts as JSON; made in a thread, as that takes a tenth of a second."""
    figures = chart.figures(explored(reader, asked), asked)
    told = chart.plain(figures)
    if look is not None:
        told = {"fit": figures.fit, "item": chart.item(figures, look)}
    content = json.dumps(told).encode()
    return gzip.compress(content, PACKED) if packs else content


# --- What the page shows ----------------------------------------------------------------------


def _shown(told: Explored, asked: Asked, charts: str) -> dict[str, Any]:
    names = _names(told)
    return {
        "charts": charts,
        "traces": link("traces", **among(told, asked)) if heat.leads(told) else "",
        "interval_ms": -(-heat.looks_back_ns(told) // 10**6),
        "cell_keys": heat.keys(asked),
        "window": asked.window,
        "asked": asked,
        "told": told,
        "names": names,
        "sums": _summed(told, names),
        "rows": _rows(told),
        "rows_max": ROWS_MAX,
        "heads": list(told.statistics),
        "heat": table_of(told, asked) if told.spread else None,
        "choices": {key: _choices(key, values) for key, values in told.dimensions.items()},
        "periods": PERIODS,
        "possible": OF_KIND.get(told.kind, ()),
        "compared": COMPARED,
        "drawable": find_spec("bokeh") is not None,
    }


def _choices(key: str, values: Sequence[str]) -> list[str]:
    """The values of a dimension that a form offers: not very many, and none very long."""
    short = (one for one in values if len(key) + len(one) <= VALUE_CHARS_MAX)
    return list(islice(short, VALUES_MAX))


def _names(told: Explored) -> list[str]:
    """The statistics that any group has, quantiles that were asked for among them."""
    known = dict.fromkeys(one for kind in OF_KIND.values() for one in kind)
    plain = [one for one in known if share_of(one) is None]
    names = [*plain, *(one for one in told.statistics if share_of(one) is not None)]
    return [
        one
        for one in names
        if any(value_of(row, one) is not None for row in told.now.sums)
        or (told.late and share_of(one) is not None)
    ]


def _summed(told: Explored, names: Sequence[str]) -> list[dict[str, Any]]:
    """Each drawn group, then the others, over the whole time, and how it was earlier."""
    order = {group: number for number, group in enumerate(told.drawn)}
    earlier = {_key(row): row for row in (told.earlier.sums if told.earlier else ())}
    rows = sorted(told.now.sums, key=lambda row: order.get(row.group, len(order)))
    return [
        {
            "group": row.group,
            "now": [summed(row, name, told) for name in names],
            "earlier": [summed(earlier[_key(row)], name, told) for name in names]
            if _key(row) in earlier
            else None,
        }
        for row in rows[:GROUPS_MAX]
    ]


def summed(row: Statistics, statistic: str, told: Explored) -> str:
    """One number of the whole time; three dots where it comes later."""
    is_late = told.late and row.kind == "distribution" and share_of(statistic) is not None
    return "..." if is_late else written(row, statistic)


def _key(row: Statistics) -> tuple[Any, ...]:
    return row.group, row.kind, row.unit


def _rows(told: Explored) -> list[dict[str, Any]]:
    """The latest periods, of drawn groups, the newest first."""
    drawn = set(told.drawn)
    rows = [row for row in reversed(told.now.rows) if row.group in drawn]
    return [
        {
            "at": iso_8601(row.started_ns)[:19].replace("T", " "),
            "group": row.group,
            "values": [written(row, name) for name in told.statistics],
        }
        for row in rows[:ROWS_MAX]
    ]


def written(row: Statistics, statistic: str) -> str:
    """One number with its unit, for people."""
    value = value_of(row, statistic)
    if value is None:
        return "-"
    unit = unit_of(statistic, row.unit[:UNIT_CHARS_MAX], row.kind)
    if statistic == "rate":
        return f"{value:,.4g} {unit}".replace(" 1/s", "/s")
    return quantity(value, unit)


def _columns(told: Explored, asked: Asked) -> list[str]:
    heads = ("period_started_ns", "period_started", "earlier_by_ns")
    return [*heads, *asked.group_by, "unit", *told.statistics]


def _sheet_rows(told: Explored) -> Iterator[list[Any]]:
    for side in _sides(told):
        for row in side.rows:
            values = [value_of(row, name) for name in told.statistics]
            at = [row.started_ns, iso_8601(row.started_ns), side.shift_ns]
            yield [*at, *row.group, row.unit, *values]


def _data(told: Explored, asked: Asked) -> dict[str, Any]:
    def plainly(row: Statistics) -> dict[str, Any]:
        values = {name: value_of(row, name) for name in told.statistics}
        group = dict(zip(asked.group_by, row.group, strict=True))
        return {"period_started_ns": row.started_ns, "group": group, "unit": row.unit, **values}

    return {
        "name": asked.name,
        "kind": told.kind,
        "unit": told.unit,
        "description": told.description,
        "since_ns": asked.window.since_ns,
        "until_ns": asked.window.ended_ns,
        "period_ns": told.period_ns,
        "dimensions": told.dimensions,
        "times": [
            {
                "earlier_by_ns": side.shift_ns,
                "whole": [plainly(row) for row in side.sums],
                "periods": [plainly(row) for row in side.rows],
            }
            for side in _sides(told)
        ],
        "cells": [cell._asdict() for cell in told.cells.cells] if told.spread else [],
    }


def _sides(told: Explored) -> list[Side]:
    return [side for side in (told.now, told.earlier) if side is not None]
