"""Measured runs into rows of the table `runs`, and back.

A run is one row per backend, one per count and one of its own, the last: a row that is lost
leaves a gap, or takes the run's own along. What tells the run stands in each of them, so that a
question about a counter needs no join.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from sys import intern
from typing import TYPE_CHECKING, Any, Final, cast

from nilometer.model import Kind, Resource
from nilometer.model.run import BackendRead, Count, Run
from nilometer.store.columns import Part, digest, numbers
from nilometer.store.jsontext import decode, decode_attributes, decode_pairs, encode
from nilometer.store.rows import number_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from nilometer.model.dimensions import Dimensions
    from nilometer.store.columns import Values

SERVICE: Final = "nilometer"
"""Who measured: the tool itself, not the service that the run is about."""

_KINDS: Final = {kind.value: kind for kind in Kind}  # calling Kind takes a quarter of a count

FAULTS_TOLD_MAX: Final = 3  # what else is wrong with a run's rows hardly matters

Row = dict[str, Any]


def part_of(run: Run) -> Part:
    """The rows of a run, and the digest by which it is known if it comes again."""
    nothing: Row = dict.fromkeys(_OF_ONE)
    shared = {
        "run_id": run.id,
        "suite": run.suite,
        "test_set": run.test_set,
        "work": run.work,
        "revision": run.revision,
        "branch": run.branch,
        "started_ns": run.started_ns,
        "ended_ns": run.ended_ns,
        "wall_ns": run.wall_ns,
        "exit_status": run.exit_status,
    }
    rows = [nothing | {"what": "backend", "counter": ""} | _told(one) for one in run.backends]
    rows += [nothing | {"what": "count"} | _told_count(one) for one in run.counts]
    rows.append(nothing | {"what": "run", "backend": "", "counter": ""} | _told_run(run))
    values: Values = {name: [value] * len(rows) for name, value in shared.items()}
    values["position"] = range(len(rows))
    values |= {name: [row[name] for row in rows] for name in _OF_ONE}
    moves: Sequence[Count | None] = (*(None for _ in run.backends), *run.counts, None)
    for name in _NUMBERS:
        values |= numbers(name, [None if one is None else getattr(one, name) for one in moves])
    resource = Resource(SERVICE, run.host)
    told = [tuple(column) for column in values.values()]
    return Part(resource, values, len(rows), digest((tuple(resource), told)))


_OF_ONE: Final = (
    *("what", "backend", "instance", "backend_version", "incarnation", "notes", "counter"),
    *("dimensions", "kind", "unit", "because", "attributes"),
)
_NUMBERS: Final = ("delta", "raw", "footprint", "idle")


def _told_run(run: Run) -> Row:
    return {"because": run.because, "attributes": encode(dict(run.attributes))}


def _told(read: BackendRead) -> Row:
    return {
        "backend": read.name,
        "instance": read.instance,
        "backend_version": read.version,
        "incarnation": read.incarnation,
        "notes": encode(list(read.notes)),
        "because": read.because,
        "attributes": None
        if read.counters is None
        else encode({"counters": list(read.counters)}),
    }


def _told_count(count: Count) -> Row:
    return {
        "backend": count.backend,
        "counter": count.counter,
        "dimensions": encode(dict(count.dimensions)),
        "kind": count.kind.value,
        "unit": count.unit,
        "because": count.because,
    }


# ---- rows into runs --------------------------------------------------------------------------


def runs_of(rows: Iterable[Row]) -> list[Run]:
    """The runs in these rows, in the order of their first ones; those of a delivery stand
    together.

    A row that cannot be read makes its run unusable, and the run says so; what else is known
    of the run is kept.
    """
    return [
        run
        for _, found in groupby(rows, itemgetter("append", "delivery"))
        for run in _runs(found)
    ]


def _runs(rows: Iterable[Row]) -> Iterator[Run]:
    """The runs of one delivery, which is one run unless something is wrong."""
    by_run: dict[object, list[Row]] = {}
    for row in rows:
        by_run.setdefault(row["run_id"], []).append(row)
    return map(_run_of, by_run.values())


def _run_of(rows: Sequence[Row]) -> Run:
    faults: list[str] = []
    counts: list[Count] = []
    backends: list[BackendRead] = []
    run: Run | None = None
    for row in rows:
        try:
            if row["what"] == "count":
                counts.append(_count_of(row))
            elif row["what"] == "backend":
                backends.append(_read_of(row))
            elif row["what"] == "run":
                run = _bare(row, row["because"], decode_attributes(row["attributes"]))
            else:
                faults.append(f"a row of it is of {row['what']!r}, which is nothing")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            where = f"{row['backend'] or 'run'} {row['counter'] or ''}".rstrip()
            faults.append(f"its row of {where} cannot be read: {error!r}")
    if run is None:
        faults.insert(0, "the row that tells of the run itself is missing, or cannot be read")
        run = _bare(rows[0], "", {})
    if missing := rows[0].get("missing"):
        faults.append(f"{abs(missing)} of its rows are {'lost' if missing > 0 else 'repeated'}")
    if faults:
        further = f" and {len(faults) - FAULTS_TOLD_MAX} more" * (len(faults) > FAULTS_TOLD_MAX)
        because = "corrupt in the history: " + "; ".join(faults[:FAULTS_TOLD_MAX]) + further
        run = run._replace(because=f"{because}; {run.because}" if run.because else because)
    return run._replace(counts=tuple(counts), backends=tuple(backends))


def _bare(row: Row, because: object, attributes: Mapping[str, Any]) -> Run:
    """A run without its counts; what is not as it should be is told as nothing."""

    def text(name: str) -> str:
        return row[name] if isinstance(row[name], str) else ""

    def whole(name: str) -> int:
        return row[name] if isinstance(row[name], int) else 0

    return Run(
        text("run_id"),
        text("suite"),
        whole("started_ns"),
        whole("ended_ns"),
        whole("wall_ns"),
        (),
        (),
        text("test_set"),
        whole("work"),
        text("revision"),
        text("branch"),
        text("host"),
        row["exit_status"],
        _text(because),
        attributes,
    )


def _read_of(row: Row) -> BackendRead:
    notes = decode(_text(row["notes"]))
    if not isinstance(notes, list):
        raise TypeError(f"notes are no list but {notes!r}")
    return BackendRead(
        _text(row["backend"]),
        _text(row["instance"]),
        _text(row["backend_version"]),
        _text(row["incarnation"]),
        _text(row["because"]),
        tuple(_text(note) for note in notes),
        None if row["attributes"] is None else _counters(_text(row["attributes"])),
    )


@lru_cache(maxsize=64)  # the same hundreds of names from run to run
def _counters(text: str) -> tuple[str, ...]:
    return tuple(_text(name) for name in decode(text)["counters"])


def _count_of(row: Row) -> Count:
    return Count(
        intern(_text(row["backend"])),
        intern(_text(row["counter"])),
        number_of(row, "delta"),
        cast("Dimensions", decode_pairs(_text(row["dimensions"]))),
        _KINDS[row["kind"]],
        intern(_text(row["unit"])),
        number_of(row, "raw"),
        number_of(row, "footprint"),
        number_of(row, "idle"),
        _text(row["because"]),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} where a text should be")
    return value
