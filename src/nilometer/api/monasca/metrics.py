"""Metrics as Monasca knows them, name and dimensions, out of our series.

Our resource becomes dimensions under the names that Monasca's agent uses. Points that were
posted here have the dimensions they were posted with and no others.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.api.monasca.grammar import holds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nilometer.api.monasca.grammar import Filter
    from nilometer.store.series import Series

POSTED: Final = "monasca.api"
"""The scope of readings that were posted here."""

TENANT: Final = "monasca.tenant_id"
"""The attribute of the resource that says whose posted points are."""

RESOURCE: Final = (("hostname", "host"), ("service", "service"), ("pid", "pid"))
"""A dimension, and the column of the resource it is; where that is empty there is none."""

PLACES: Final = (("region", "region"), ("zone", "zone"))

Pairs = tuple[tuple[str, str], ...]


class Metric(NamedTuple):
    """One metric: sorted dimensions, and the series that it is made of, mostly one."""

    id: str
    name: str
    dimensions: Pairs
    series: tuple[Series, ...]


def dimensions_of(series: Series) -> dict[str, str]:
    """A series' dimensions; an instrument's own go before those of its resource."""
    own = dict(series.dimensions)
    if series.scope == POSTED:
        return own
    told = {key: str(getattr(series, column) or "") for key, column in (*RESOURCE, *PLACES)}
    told |= {key: str(value) for key, value in series.resource.items()}
    return {key: value for key, value in (told | own).items() if value}


def tenant_of(series: Series) -> str | None:
    """Whose posted points they are; None of what was measured."""
    tenant = series.resource.get(TENANT) if series.scope == POSTED else None
    return None if tenant is None else str(tenant)


def metrics_of(
    found: Iterable[tuple[str, Series]], wanted: Filter, tenant: str | None
) -> list[Metric]:
    """The metrics that these series of these names make, by name and dimensions.

    With a tenant only what was posted for it.
    """
    by_identity: dict[tuple[str, Pairs], list[Series]] = {}
    for name, series in found:
        dimensions = dimensions_of(series)
        if holds(dimensions, wanted) and tenant in (None, tenant_of(series)):
            identity = name, tuple(sorted(dimensions.items()))
            by_identity.setdefault(identity, []).append(series)
    return [
        Metric(id_of(name, pairs), name, pairs, tuple(by_identity[name, pairs]))
        for name, pairs in sorted(by_identity)
    ]


def id_of(name: str, dimensions: Pairs) -> str:
    """The same for the same metric at all times, in 16 hex digits."""
    told = "\x00".join([name, *(part for pair in dimensions for part in pair)])
    return blake2b(told.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


class Group(NamedTuple):
    """Metrics that are answered as one element."""

    id: str
    name: str
    dimensions: Mapping[str, str]
    metrics: tuple[Metric, ...]


def groups_of(
    found: Sequence[Metric],
    group_by: Sequence[str],
    *,
    merge: bool,
    wanted: Filter | None = None,
) -> list[Group]:
    """The elements of an answer, in the order of their dimensions.

    `*` keeps each metric apart. Where neither groups nor merging are asked for each is, too:
    the caller refuses more than one. What is merged into one has the dimensions it was asked
    by, as Monasca's own: `h1|h2` for one of two values, nothing for any.
    """
    if not found:
        return []
    name = found[0].name
    if list(group_by) == ["*"] or not (group_by or merge):
        return [Group(each.id, name, dict(each.dimensions), (each,)) for each in found]
    if not group_by:
        asked = {key: "|".join(values) for key, values in (wanted or {}).items()}
        return [Group(id_of(name, ()), name, asked, tuple(found))]
    by_key: dict[Pairs, list[Metric]] = {}
    for each in found:
        told = dict(each.dimensions)
        key = tuple((word, told.get(word, "")) for word in group_by)
        by_key.setdefault(key, []).append(each)
    return [
        Group(id_of(name, key), name, dict(key), tuple(by_key[key])) for key in sorted(by_key)
    ]
