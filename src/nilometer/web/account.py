"""What services lost and what measuring cost them, as the tables know it: for two pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.model.loss import LOSSES, Loss
from nilometer.store.series import parted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nilometer.store.query import Reader
    from nilometer.store.series import Series
    from nilometer.web.moments import Window

    Told = Mapping[str, Sequence[Series]]

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


def losses(reader: Reader, window: Window, told: Told) -> list[Loss]:
    """All losses of a time, by service. Takes a thread's time."""
    found = []
    for name, keys in LOSSES.items():
        if name not in told:
            continue
        rows = reader.measured(
            name,
            parted(told[name], ("service", *keys)),
            since_ns=window.since_ns,
            until_ns=window.until_ns,
        )
        for one in rows:
            service, *values = (value or "" for value in one.group)
            if one.total:
                dimensions = dict(zip(keys, values, strict=True))
                found.append(Loss(service, name, dimensions, int(one.total)))
    return sorted(found, key=lambda loss: (not loss.wants_a_person, -loss.items, loss.service))


def costs(reader: Reader, window: Window, told: Told) -> dict[str, Cost]:
    """What measuring cost each service. Takes a thread's time."""
    found: dict[str, Cost] = {}
    if OVERHEAD not in told:
        return found
    rows = reader.measured(
        OVERHEAD,
        parted(told[OVERHEAD], ("service", "part")),
        since_ns=window.since_ns,
        until_ns=window.until_ns,
    )
    for one in rows:
        service, part = (value or "" for value in one.group)
        cost = found.get(service, Cost())
        if part == "recording":
            found[service] = cost._replace(recording_ns=int(one.total or 0))
        elif part == "export":
            found[service] = cost._replace(export_ns=int(one.total or 0))
    return found
