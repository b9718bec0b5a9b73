"""Doctor: what runs, what was lost and why, what it costs, and what to do next."""

from __future__ import annotations

import asyncio
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fastapi import APIRouter, Request, Response

from nilometer.errors import to_install
from nilometer.store.series import parted
from nilometer.web.addresses import link
from nilometer.web.drawing import Page
from nilometer.web.moments import SINCE, MomentText, Window, window
from nilometer.web.sheet import Sheet
from nilometer.web.survey import COLLECTOR, Survey, survey

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nilometer.model.loss import Loss
    from nilometer.store.query import Reader
    from nilometer.web.parts import Parts

TIMERS: Final[Mapping[str, tuple[str, ...]]] = {
    "nilometer.collector.query": ("route",),
    "nilometer.collector.commit": (),
    "nilometer.collector.maintain": (),
}
"""What the collector measures of itself, and by which dimensions it is shown."""

LOSSES_MAX: Final = 300
STEPS_MAX: Final = 100
"""A page shows no more kinds of losses and things to do, in 150 kB; its data have all."""

COLUMNS: Final = (
    *("part", "service", "name", "what_and_why", "count", "alive", "recording_ns"),
    *("export_ns", "avg_ns", "p99_ns", "max_ns", "advice"),
)
"""Of the sheet."""


class Advice(NamedTuple):
    """What to do, why, and where to look, if a page shows it."""

    text: str
    because: str
    to: str = ""


class Timing(NamedTuple):
    """How long one kind of the collector's own work took."""

    what: str
    times: int
    avg_ns: float | None
    p99_ns: float | None
    max_ns: float | None


def router(parts: Parts) -> APIRouter:
    """The route of /doctor."""
    routes = APIRouter()

    @routes.get("/doctor")
    async def show(
        request: Request, since: MomentText = SINCE, until: MomentText = ""
    ) -> Response:
        shown = window(since, until, parts.clock).on_grid()
        found, timings = await asyncio.gather(
            survey(parts, "/doctor", shown, quantiles=False),
            parts.queries.run("/doctor", _timings, parts.reader, shown),
        )
        health = parts.health()
        told = next_steps(health, found, shown)
        page = Page(
            "doctor.html",
            "Doctor",
            {
                "window": shown,
                "health": health,
                "found": found,
                "losses": found.losses[:LOSSES_MAX],
                "requests": partial(requests_of, found),
                "timings": timings,
                "advice": told[:STEPS_MAX],
                "steps": len(told),
            },
            _data(health, found, told, shown) | {"collector": [t._asdict() for t in timings]},
            _sheet(health, found, timings, told),
        )
        return parts.drawing.answer(request, page)

    return routes


def _timings(reader: Reader, shown: Window) -> list[Timing]:
    """How long the collector's own work took. Takes a thread's time."""
    told = reader.several(set(TIMERS), since_ns=shown.since_ns, until_ns=shown.until_ns)
    found = []
    for name, series in told.items():
        rows = reader.measured(
            name,
            parted(series, TIMERS[name]),
            since_ns=shown.since_ns,
            until_ns=shown.until_ns,
            quantiles=(0.99,),
        )
        word = name.rpartition(".")[2]
        for one in rows:
            what = " ".join((word, *(value or "" for value in one.group)))
            p99_ns = one.quantiles[0][1]
            found.append(Timing(what, one.samples, one.average, p99_ns, one.maximum))
    return sorted(found, key=lambda one: -(one.p99_ns or 0))


def requests_of(found: Survey, service: str) -> int | None:
    """How many requests it served; None if it serves none."""
    one = next((one for one in found.services if one.name == service), None)
    return one.done.times if one and one.done else None


def next_steps(health: Mapping[str, Any], found: Survey, shown: Window) -> Sequence[Advice]:
    """What to do next, the most urgent first; nothing where all is well."""
    time = {"since": shown.since, "until": shown.until}
    steps = []
    if health["status"] != "ok":
        steps.append(Advice("Look at the collector's log", str(health["status"])))
    for one in found.services:
        if not one.alive and one.name != COLLECTOR:
            because = f"{one.name or 'a service without a name'} tells nothing any more"
            steps.append(Advice("See whether it should run", because, link("services", **time)))
    for loss in found.losses:
        if loss.wants_a_person:
            because = f"{loss.service} lost {loss.items:,}: {said(loss)}"
            steps.append(Advice(loss.advice, because))
    if not found.services:
        steps.append(Advice("Have a service measured", "nothing was told in this time"))
    if find_spec("bokeh") is None:
        steps.append(Advice(to_install("pages"), "charts need a package that is not here"))
    return steps


def said(loss: Loss) -> str:
    """What was lost, and why, in a line."""
    told = " ".join(f"{key}={value}" for key, value in loss.dimensions.items())
    return f"{loss.name} {told}"


def _data(
    health: Mapping[str, Any], found: Survey, steps: Sequence[Advice], shown: Window
) -> dict[str, Any]:
    return {
        "since_ns": shown.since_ns,
        "until_ns": shown.ended_ns,
        "health": dict(health),
        "next": [{"do": one.text, "because": one.because} for one in steps],
        "services": [
            {"service": one.name, "alive": one.alive, "processes": len(one.processes)}
            for one in found.services
        ],
        "losses": [
            {
                "service": one.service,
                "name": one.name,
                "dimensions": dict(one.dimensions),
                "count": one.items,
                "wants_a_person": one.wants_a_person,
                "advice": one.advice,
            }
            for one in found.losses
        ],
        "overhead": [
            {
                "service": service,
                **cost._asdict(),
                "requests": requests_of(found, service),
                "per_request_ns": cost.per_request_ns(requests_of(found, service)),
            }
            for service, cost in sorted(found.costs.items())
        ],
    }


def _sheet(
    health: Mapping[str, Any],
    found: Survey,
    timings: Sequence[Timing],
    steps: Sequence[Advice],
) -> Sheet:
    """All that the page says; a cell is empty where a part has no such thing."""
    rows = [_row("next", advice=one.text, what_and_why=one.because) for one in steps]
    rows += [
        _row("health", name=name, what_and_why=one)
        for name, told in health.items()
        for one in (told if isinstance(told, list) else [told])
    ]
    rows += [
        _row("services", service=one.name, count=len(one.processes), alive=one.alive)
        for one in found.services
    ]
    rows += [
        _row(
            *("losses", one.service, one.name),
            what_and_why=" ".join(f"{key}={told}" for key, told in one.dimensions.items()),
            count=one.items,
            advice=one.advice,
        )
        for one in found.losses
    ]
    rows += [
        _row(
            *("overhead", service),
            count=requests_of(found, service),
            recording_ns=cost.recording_ns,
            export_ns=cost.export_ns,
            avg_ns=cost.per_request_ns(requests_of(found, service)),
        )
        for service, cost in sorted(found.costs.items())
    ]
    for one in timings:
        times: dict[str, Any] = {
            "avg_ns": one.avg_ns,
            "p99_ns": one.p99_ns,
            "max_ns": one.max_ns,
        }
        rows.append(_row("collector", name=one.what, count=one.times, **times))
    return Sheet(COLUMNS, rows)


def _row(part: str, service: str = "", name: str = "", **cells: object) -> list[object]:
    """A row of the part of that name."""
    return [part, service, name, *(cells.get(column) for column in COLUMNS[3:])]
