"""Finds the metrics that a query of Monasca's API is about, and the parts that tables know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.api.auth import IDENTITY
from nilometer.api.monasca.faults import AMBIGUOUS, Fault, unprocessable
from nilometer.api.monasca.grammar import (
    Filter,
    Window,
    derived,
    filter_of,
    flag_of,
    groups_of,
    limit_of,
    share_of,
    window_of,
)
from nilometer.api.monasca.metrics import POSTED, Group, Metric, id_of, metrics_of
from nilometer.api.monasca.metrics import groups_of as grouped
from nilometer.api.monasca.pages import Place, place_of
from nilometer.store.series import Parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastapi import Request

    from nilometer.api.monasca.grammar import Fields
    from nilometer.store.query import Reader

TENANT_CHARS_MAX: Final = 255  # as monasca-api's own

NS_PER_S: Final = 10**9
"""What we keep in nanoseconds is answered in seconds, as Monasca's own timers are."""


class Question(NamedTuple):
    """What is asked of one metric's points: by whom, when, and how they are put together."""

    name: str
    wanted: Filter
    tenant: str | None
    window: Window
    group_by: tuple[str, ...]
    merge: bool
    limit: int
    place: Place | None


class Answering(NamedTuple):
    """The groups that answer, and under which name: of a derived one also its percentile."""

    name: str
    percentile: str | None
    groups: Sequence[Group]


def tenant_of(request: Request, fields: Fields) -> str | None:
    """Whose metrics are asked for; None: all.

    Who came with keystone's token sees its own project's, and others' only as an administrator.
    """
    tenant = fields.one("tenant_id")
    identity = request.scope.get("state", {}).get(IDENTITY)
    if identity is not None and not identity.may(request.method):
        raise Fault(401, "Tenant ID is missing a required role to access this service")
    if identity is not None and not identity.may_all:
        return str(identity.project)
    if tenant is not None and len(tenant) > TENANT_CHARS_MAX:
        raise unprocessable(f"tenant_id has at most {TENANT_CHARS_MAX} characters")
    return tenant


def question_of(request: Request, fields: Fields) -> Question:
    """What the measurements and the statistics of a metric are asked by."""
    return Question(
        fields.needed("name"),
        filter_of(fields),
        tenant_of(request, fields),
        window_of(fields, needed=True),
        groups_of(fields),
        flag_of(fields, "merge_metrics"),
        limit_of(fields),
        place_of(fields),
    )


def named(
    reader: Reader, name: str, wanted: Filter, tenant: str | None, window: Window
) -> tuple[str, str | None, list[Metric]]:
    """The metrics of a name; if there are none, those of the name that it is derived from.

    With the name they are kept under, and the percentile if it is a derived one.
    """
    tries = [(name, None), derived(name)]
    for kept, percentile in filter(None, tries):
        found = reader.series(kept, since_ns=window.since_ns, until_ns=window.until_ns)
        metrics = metrics_of(((name, each) for each in found), wanted, tenant)
        if percentile is not None:
            metrics = [each for each in metrics if _has_percentiles(each)]
        if metrics:
            return kept, percentile, metrics
    return name, None, []


def _has_percentiles(metric: Metric) -> bool:
    return any(each.kind == "distribution" for each in metric.series)


def answering(reader: Reader, question: Question) -> Answering:
    """The groups in their order; refused if it is open which of several metrics was meant."""
    kept, percentile, found = named(
        reader, question.name, question.wanted, question.tenant, question.window
    )
    if len(found) > 1 and not (question.merge or question.group_by):
        raise Fault(409, AMBIGUOUS)
    groups = grouped(found, question.group_by, merge=question.merge, wanted=question.wanted)
    return Answering(kept, percentile, groups)


class Part(NamedTuple):
    """What is told as one: of one metric or one group, of one kind and unit.

    `id` stands for it in offsets; `metric` is None where those of a group are put together.
    """

    id: str
    place: int
    metric: Metric | None
    is_posted: bool
    divisor: int


class Put(NamedTuple):
    """The series of some groups, and the parts that they are put together to."""

    series: Parts
    parts: list[Part]

    def scaled(self, part: int, value: float | None) -> float | None:
        """A value of this part in the unit it is answered in."""
        return None if value is None else value / self.parts[part].divisor


def put_together(groups: Sequence[Group], *, apart: bool) -> Put:
    """The parts of these groups in their order; `apart` keeps the metrics of each apart.

    Points that were posted and those that were measured are told apart, whatever they are of:
    only the former have a value meta of their own.
    """
    numbers: dict[tuple[int, str, str, str, bool], int] = {}
    put = Put(Parts([], [], []), [])
    for place, group in enumerate(groups):
        for metric in group.metrics:
            for series in metric.series:
                is_posted = series.scope == POSTED
                key = place, metric.id if apart else "", series.kind, series.unit, is_posted
                if key not in numbers:
                    numbers[key] = len(numbers)
                    put.series.groups.append(())
                    kind = "posted" if is_posted else series.kind
                    ident = id_of(metric.name, (*metric.dimensions, (kind, series.unit)))
                    divisor = NS_PER_S if series.unit == "ns" else 1
                    told = metric if apart else None
                    put.parts.append(Part(ident, place, told, is_posted, divisor))
                put.series.series.append(series.series)
                put.series.parts.append(numbers[key])
    return put


def share(percentile: str) -> float:
    """The share that a percentile of our grammar is of."""
    told = share_of(percentile)
    assert told is not None  # only what the grammar has let in
    return told
