"""Snapshots as one JSON document, and the difference of two documents.

    {"__meta__": {"unixtime": 1700000000.0, "backends": {"mysql": {...}}, "unread": {...}},
     "mysql": {"Com_select": 12, ...}, "queues": {"reply_publish": 3, ...}}

It holds all that ``os-collect-counters`` of os-performance-tools prints, in the same places, so
that what reads those documents reads these; and it is read from those, too. Under ``__meta__``
stands what a difference needs to be right: which server it was, and which start of it.
"""

from __future__ import annotations

from math import isclose, isfinite
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.counters.delta import Delta, delta
from nilometer.counters.figures import Fact
from nilometer.counters.parts import OVERFLOW
from nilometer.counters.snapshot import Snapshot
from nilometer.errors import NilometerError
from nilometer.model.dimensions import dimensions_of
from nilometer.model.reading import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nilometer.counters.figures import Number, Series
    from nilometer.counters.gather import Unread
    from nilometer.model.dimensions import Dimensions

META: Final = "__meta__"
PARTS: Final = "__parts__"
WENT_BACK: Final = "clock_went_back_s"
NS_PER_S: Final = 10**9


class DocumentError(NilometerError, ValueError):
    """A document of counters that cannot be used."""

    def __init__(self, message: str) -> None:
        super().__init__(message, slug="bad-counters-document")


class Document(NamedTuple):
    """Counters of several backends at one moment, or how far they moved until then.

    `told` is what ``__meta__`` says: the time, which backends, why others could not be read.
    `parts` are the counters of which a total is made up, by backend: name, dimensions, value.
    """

    told: Mapping[str, Any]
    totals: Mapping[str, Mapping[str, Number]]
    parts: Mapping[str, Sequence[tuple[str, Mapping[str, str], Number]]]

    @property
    def is_move(self) -> bool:
        """Whether it says how far the counters moved, as `difference` does."""
        return "delta_seconds" in self.told or WENT_BACK in self.told

    def as_json(self, *, parts: bool = False) -> dict[str, Any]:
        """What is printed; with the `parts` of totals only if asked for."""
        whole: dict[str, Any] = {META: dict(self.told), **self.totals}
        if parts:
            whole[PARTS] = {
                backend: [
                    {"counter": name, "dimensions": dict(dimensions), "value": value}
                    for name, dimensions, value in found
                ]
                for backend, found in self.parts.items()
            }
        return whole


def document(read: Iterable[Snapshot | Unread], *, wall_ns: int, prefix: str = "") -> Document:
    """The document of these reads; `prefix` is kept in ``__meta__`` for whoever sends it on."""
    read = list(read)
    keys = _keys(read)
    told: dict[str, Any] = {"unixtime": wall_ns / NS_PER_S}
    if prefix:
        told["prefix"] = prefix
    totals: dict[str, dict[str, Number]] = {}
    parts: dict[str, list[tuple[str, Mapping[str, str], Number]]] = {}
    backends: dict[str, Any] = {}
    unread: dict[str, str] = {}
    for key, one in zip(keys, read, strict=True):
        if not isinstance(one, Snapshot):
            unread[key] = one.because
            continue
        if one.unread:
            unread[key] = one.unread
        totals[key], parts[key] = _split(one.values)
        backends[key] = _told(one)
    return Document({**told, "backends": backends, "unread": unread}, totals, parts)


def _keys(read: Sequence[Snapshot | Unread]) -> list[str]:
    """A backend's name where there is one of it, its name and place where there are more."""
    names = [one.backend for one in read]
    return [
        one.backend if names.count(one.backend) == 1 else f"{one.backend}@{one.instance}"
        for one in read
    ]


def _split(
    values: Mapping[Series, Number],
) -> tuple[dict[str, Number], list[tuple[str, Mapping[str, str], Number]]]:
    totals = {name: value for (name, parts), value in sorted(values.items()) if not parts}
    found: list[tuple[str, Mapping[str, str], Number]] = [
        (name, dict(parts), value) for (name, parts), value in sorted(values.items()) if parts
    ]
    return totals, found


def _told(one: Snapshot) -> dict[str, Any]:
    gauges = {name for name, _ in one.values if one.fact(name).kind is Kind.GAUGE}
    fresh = {name for name in one.facts if one.facts[name].from_zero}
    return {
        "instance": one.instance,
        "version": one.version,
        "incarnation": one.incarnation,
        "unixtime": one.taken_ns / NS_PER_S,
        "took_ms": round(one.took_ns / 1e6, 3),
        "gauges": sorted(gauges),
        "from_zero": sorted(fresh),
        **({"whole": True} if one.whole else {}),
        **({"unseen": one.unseen} if one.unseen else {}),
        **_begun(one),
        **_ids(one),
        **({"notes": list(one.notes)} if one.notes else {}),
    }


def _begun(one: Snapshot) -> dict[str, Any]:
    """Since when single counters count: of totals, and of all parts where it is the same."""
    totals = {name: text for (name, part), text in one.incarnations.items() if not part}
    of_parts: dict[str, set[str]] = {}
    for (name, part), text in one.incarnations.items():
        if part:
            of_parts.setdefault(name, set()).add(text)
    parts = {name: min(texts) for name, texts in of_parts.items() if len(texts) == 1}
    return {
        **({"incarnations": dict(sorted(totals.items()))} if totals else {}),
        **({"incarnations_of_parts": dict(sorted(parts.items()))} if parts else {}),
    }


def _ids(one: Snapshot) -> dict[str, Any]:
    """Which things the names in dimensions mean, by dimension and name."""
    ids: dict[str, dict[str, str]] = {}
    for (label, name), text in sorted(one.ids.items()):
        ids.setdefault(label, {})[name] = text
    return {"ids": ids} if ids else {}


def parse(value: object, *, origin: str) -> Document:
    """The document in a JSON value, ours or that of os-collect-counters. Raises DocumentError.

    What is no number is left out and told under ``left_out``: other tools' documents vary.
    """
    if not isinstance(value, dict):
        raise DocumentError(f"{origin}: not a JSON object of counters but {_kind(value)}")
    told = value.get(META, {})
    if not isinstance(told, dict):
        raise DocumentError(f"{origin}: {META} is {_kind(told)}, not an object")
    totals: dict[str, dict[str, Number]] = {}
    left_out: list[str] = []
    for backend, counters in value.items():
        if backend in (META, PARTS):
            continue
        if not isinstance(counters, dict):
            raise DocumentError(f"{origin}: {backend!r} is {_kind(counters)}, not an object")
        totals[backend] = {n: v for n, v in counters.items() if _is_number(v)}
        left_out += [f"{backend}.{n}" for n, v in counters.items() if not _is_number(v)]
    if left_out:
        told = {**told, "left_out": left_out}
    return Document(told, totals, _parts(value.get(PARTS, {}), origin))


def _parts(
    value: object, origin: str
) -> dict[str, list[tuple[str, Mapping[str, str], Number]]]:
    try:
        return {
            str(backend): [
                (str(one["counter"]), dict(dimensions_of(one["dimensions"])), one["value"])
                for one in found
                if _is_number(one["value"])
            ]
            for backend, found in value.items()  # type: ignore[attr-defined]
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise DocumentError(f"{origin}: {PARTS} cannot be read: {error!r}") from None


def _is_number(value: object) -> bool:
    """Whether it is one that JSON can say and that can be subtracted from."""
    if isinstance(value, float):
        return isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a text", type(None): "null"}
    return names.get(type(value), f"{value!r}")


def difference(before: Document, after: Document) -> Document:
    """How far the counters moved from one document to the other.

    ``unixtime`` stays that of `after`, ``delta_seconds`` is the time between the two; where the
    clock was set back meanwhile nobody knows it, and ``clock_went_back_s`` says by how much at
    least. A backend that restarted is left out, named under ``invalid`` with the reason; so is,
    under ``unknown``, a counter of which the move is not known: it vanished, is new, or went
    back, or a part of it did, where both documents have the parts. Of backends that are
    ``without_parts`` in the first document no part's move is known. Another tool's document
    knows few backends: those it lacks are ``passed_over``. So no counter's move is ever
    negative, unless it is a gauge.
    """
    told = {key: value for key, value in after.told.items() if key != "backends"}
    told |= _between(before.told.get("unixtime"), after.told.get("unixtime"))
    totals: dict[str, dict[str, Number]] = {}
    parts: dict[str, list[tuple[str, Mapping[str, str], Number]]] = {}
    invalid: dict[str, str] = {}
    passed_over: dict[str, str] = dict(after.told.get("passed_over", {}))
    unknown: dict[str, dict[str, str]] = {}
    without_parts: list[str] = []
    for key in after.totals:
        if key not in before.totals:
            absent = invalid if "backends" in before.told else passed_over
            absent[key] = "it is not in the first document"
            continue
        moves = _moves(*_snapshots(before, after, key))
        if moves.because:
            invalid[key] = moves.because
            continue
        totals[key], parts[key] = _split(moves.moved)
        if parts[key] and key not in before.parts:  # they were there, and not written
            without_parts.append(key)
            parts[key] = []
        why = {n: because for (n, of), because in sorted(moves.unknown.items()) if not of}
        if why:
            unknown[key] = why
    for key in before.totals.keys() - after.totals.keys():
        if before.totals[key]:  # os-collect-counters writes a section for what it did not find
            invalid[key] = "it is not in the second document"
    told["backends"] = after.told.get("backends", {})
    reasons: dict[str, Any] = {
        "invalid": invalid,
        "passed_over": passed_over,
        "unknown": unknown,
        "without_parts": without_parts,
    }
    told |= {name: found for name, found in reasons.items() if found}
    return Document(told, totals, parts)


def _between(since: object, until: object) -> dict[str, float]:
    if not (isinstance(since, int | float) and isinstance(until, int | float)):
        return {}
    return {"delta_seconds": until - since} if until >= since else {WENT_BACK: since - until}


def _moves(before: Snapshot, after: Snapshot) -> Delta:
    """How far counters moved; not known of a total that lost what a part of it had counted."""
    before, after = _with_same_rest(before, after), _with_same_rest(after, before)
    moves = delta(before, after, one_reader=False)
    moved, unknown = dict(moves.moved), dict(moves.unknown)
    for name, number in _shrunken(before, after).items():
        if moved.pop((name, ()), None) is not None:
            what = "1 part" if number == 1 else f"{number} parts"
            went = "vanished, went back or was made anew"
            unknown[name, ()] = f"not one count throughout: {what} of it {went}"
    return moves._replace(moved=moved, unknown=unknown)


def _with_same_rest(one: Snapshot, other: Snapshot) -> Snapshot:
    """The same, but of counters with more parts than are shown those that only one of two
    documents shows are summed in both: which are, each process chooses for itself."""
    names = {name for name, part in (*one.values, *other.values) if part == OVERFLOW}
    values: dict[Series, Number] = {}
    begun = dict(one.incarnations)
    for (name, part), value in one.values.items():
        apart = name not in names or not part or (name, part) in other.values
        shown = (name, part if apart else OVERFLOW)
        values[shown] = values.get(shown, 0) + value
        if (name, part) in one.incarnations:
            begun.setdefault(shown, one.incarnations[name, part])
    return one._replace(values=values, incarnations=begun)


def _shrunken(before: Snapshot, after: Snapshot) -> dict[str, int]:
    """How many parts vanished, went back or were made anew of each counter whose total is what
    its parts are together."""
    lost = _gone(before, after)
    for (name, part), value in before.values.items():
        if part and ((name, part) not in after.values or after.values[name, part] < value):
            lost.setdefault(name, set()).add(part)
    known = {name for name, part in before.values if part}
    return {
        name: len(parts)
        for name, parts in lost.items()
        if after.fact(name).kind is not Kind.GAUGE
        and all(
            isclose(_sum(one, name), one.values.get((name, ()), 0))
            for one in ((before, after) if name in known else (after,))
        )
    }


def _gone(before: Snapshot, after: Snapshot) -> dict[str, set[Dimensions]]:
    """The things that went, or were made anew, of those that a counter is told of, whether or
    not they had counted any of it: nobody knows what they did in between.

    What ran in a thing may stay when that goes; what is told of the thing alone does not.
    """
    gone = [pair for pair, text in before.ids.items() if after.ids.get(pair) != text]
    both = (*before.values, *after.values)
    told = {(name, part[0][0]) for name, part in both if len(part) == 1}
    lost: dict[str, set[Dimensions]] = {}
    for name, label in told:
        if parts := {(pair,) for pair in gone if pair[0] == label}:
            lost.setdefault(name, set()).update(parts)
    return lost


def _sum(one: Snapshot, name: str) -> Number:
    return sum(value for (of, part), value in one.values.items() if of == name and part)


def _snapshots(before: Document, after: Document, key: str) -> tuple[Snapshot, Snapshot]:
    """A backend's part of two documents as snapshots.

    What is known of its counters is taken from the later document. A document that does not
    say which start of the server it saw, as those of os-collect-counters, fits to any.
    """
    known = _about(after, key)
    gauges, fresh = _names(known.get("gauges")), _names(known.get("from_zero"))
    facts = {
        name: Fact(
            "", kind=Kind.GAUGE if name in gauges else Kind.COUNTER, from_zero=name in fresh
        )
        for name in {*before.totals[key], *after.totals[key], *fresh}
    }
    identified = "incarnation" in known and "incarnation" in _about(before, key)
    # A section of os-collect-counters, which does not say so, has everything or is empty.
    first = _about(before, key)
    was_whole = first.get("whole") is True if first else bool(before.totals[key])
    earlier = _snapshot(before, key, facts, identified=identified)
    return (
        earlier._replace(whole=known.get("whole") is True and was_whole),
        _snapshot(after, key, facts, identified=identified),
    )


def _snapshot(
    one: Document, key: str, facts: Mapping[str, Fact], *, identified: bool
) -> Snapshot:
    values: dict[Series, Number] = {(n, ()): v for n, v in one.totals[key].items()}
    for name, dimensions, value in one.parts.get(key, ()):
        values[name, dimensions_of(dimensions)] = value
    said = _about(one, key) if identified else {}
    instance, version, incarnation = (
        str(said.get(what, "")) for what in ("instance", "version", "incarnation")
    )
    begun, of_parts = said.get("incarnations"), said.get("incarnations_of_parts")
    incarnations = {
        (name, part): str(since[name])
        for name, part in values
        if isinstance(since := of_parts if part else begun, dict) and name in since
    }
    known = Snapshot(key, instance, version, incarnation, 0, 0, 0, values, facts)
    ids = {
        (label, name): str(text)
        for label, of in _table(said.get("ids")).items()
        for name, text in _table(of).items()
    }
    unseen = str(said.get("unseen", ""))
    return known._replace(incarnations=incarnations, ids=ids, unseen=unseen)


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _about(one: Document, key: str) -> Mapping[str, Any]:
    backends = one.told.get("backends")
    about = backends.get(key) if isinstance(backends, dict) else None
    return about if isinstance(about, dict) else {}


def _names(value: object) -> set[str]:
    return {one for one in value if isinstance(one, str)} if isinstance(value, list) else set()
