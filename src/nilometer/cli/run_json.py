"""A measured run as one JSON object, and back: for files of runs, not for the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nilometer.model.dimensions import dimensions_of
from nilometer.model.reading import Kind
from nilometer.model.run import BackendRead, Count, Run

if TYPE_CHECKING:
    from collections.abc import Mapping


def as_json(run: Run) -> dict[str, Any]:
    """The run as plain values; every field under its name."""
    return {
        **run._asdict(),
        "counts": [
            {**one._asdict(), "kind": one.kind.value, "dimensions": dict(one.dimensions)}
            for one in run.counts
        ],
        "backends": [
            {
                **one._asdict(),
                "notes": list(one.notes),
                "counters": None if one.counters is None else list(one.counters),
            }
            for one in run.backends
        ],
        "attributes": dict(run.attributes),
    }


def run_of(value: Mapping[str, Any]) -> Run:
    """The run that `as_json` told. Raises ValueError for anything else."""
    try:
        run = Run(**value)
        counts = [
            Count(**one)._replace(
                kind=Kind(one["kind"]), dimensions=dimensions_of(one["dimensions"])
            )
            for one in value["counts"]
        ]
        backends = [
            BackendRead(**one)._replace(
                notes=tuple(map(str, one["notes"])), counters=_names(one.get("counters"))
            )
            for one in value["backends"]
        ]
        return run._replace(
            id=str(run.id),
            suite=str(run.suite),
            started_ns=int(run.started_ns),
            ended_ns=int(run.ended_ns),
            counts=tuple(counts),
            backends=tuple(backends),
            attributes=dict(run.attributes),
        )
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"no measured run: {error!r}") from None


def _names(given: Any) -> tuple[str, ...] | None:
    return None if given is None else tuple(map(str, given))
