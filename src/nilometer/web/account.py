"""What services lost and what measuring cost them, as the tables know it: for two pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.model.loss import LOSSES, Loss

if TYPE_CHECKING:
    from collections.abc import Collection

    from nilometer.store.query import Reader
    from nilometer.web.moments import Window

OVERHEAD: Final = "nilometer.overhead"


class Cost(NamedTuple):
    """CPU time that measuring took a service: while recording, which is estimated, and in the
    background, which is measured."""

    recording_ns: int = 0
    export_ns: int = 0

    @property
    def whole_ns(self) -> int:
        """Both."""
        return self.recording_ns + self.export_ns

    def per_request_ns(self, requests: int | None) -> float | None:
        """A request's share of it; None where there were none."""
        return self.whole_ns / requests if requests else None


def losses(reader: Reader, window: Window, known: Collection[str]) -> list[Loss]:
    """All losses of a time, by service; `known` are the metrics that reported in it."""
    found = []
    for name, keys in LOSSES.items():
        if name not in known:
            continue
        rows = reader.statistics(
            name,
            since_ns=window.since_ns,
            until_ns=window.until_ns,
            group_by=("service", *keys),
        )
        for one in rows:
            service, *values = (value or "" for value in one.group)
            if one.total:
                told = dict(zip(keys, values, strict=True))
                found.append(Loss(service, name, told, int(one.total)))
    return sorted(found, key=lambda loss: (not loss.wants_a_person, -loss.items, loss.service))


def costs(reader: Reader, window: Window, known: Collection[str]) -> dict[str, Cost]:
    """What measuring cost each service."""
    found: dict[str, Cost] = {}
    if OVERHEAD not in known:
        return found
    rows = reader.statistics(
        OVERHEAD,
        since_ns=window.since_ns,
        until_ns=window.until_ns,
        group_by=("service", "part"),
    )
    for one in rows:
        service, part = (value or "" for value in one.group)
        cost = found.get(service, Cost())
        if part == "recording":
            found[service] = cost._replace(recording_ns=int(one.total or 0))
        elif part == "export":
            found[service] = cost._replace(export_ns=int(one.total or 0))
    return found
