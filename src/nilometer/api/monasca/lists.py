"""What there is: metrics, their names, their dimensions and those dimensions' values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from nilometer.api.monasca.asking import named
from nilometer.api.monasca.metrics import metrics_of

if TYPE_CHECKING:
    from nilometer.api.monasca.grammar import Filter, Window
    from nilometer.api.monasca.metrics import Metric
    from nilometer.store.query import Reader

Listed = list[tuple[str, Any]]
"""Each element with the offset that stands for it."""


class Choice(NamedTuple):
    """Which metrics are asked for; None: of any name, of anybody."""

    name: str | None
    wanted: Filter
    tenant: str | None
    window: Window


def chosen(reader: Reader, choice: Choice) -> list[Metric]:
    """The metrics in the order of their names and dimensions."""
    since_ns, until_ns = choice.window
    if choice.name is not None:
        return named(reader, choice.name, choice.wanted, choice.tenant, choice.window)[2]
    found = reader.catalogue(since_ns=since_ns, until_ns=until_ns)
    return metrics_of(found, choice.wanted, choice.tenant)


def metrics(reader: Reader, choice: Choice) -> Listed:
    """The metrics themselves, each known by its id."""
    return [
        (each.id, {"id": each.id, "name": each.name, "dimensions": dict(each.dimensions)})
        for each in chosen(reader, choice)
    ]


def names(reader: Reader, choice: Choice) -> Listed:
    """Their names."""
    found = sorted({each.name for each in chosen(reader, choice)})
    return [(name, {"name": name}) for name in found]


def dimension_names(reader: Reader, choice: Choice) -> Listed:
    """The names of their dimensions."""
    found = sorted({key for each in chosen(reader, choice) for key, _ in each.dimensions})
    return [(key, {"dimension_name": key}) for key in found]


def dimension_values(reader: Reader, choice: Choice, name: str) -> Listed:
    """The values of one of their dimensions."""
    pairs = {pair for each in chosen(reader, choice) for pair in each.dimensions}
    found = sorted(value for key, value in pairs if key == name)
    return [(value, {"dimension_value": value}) for value in found]
