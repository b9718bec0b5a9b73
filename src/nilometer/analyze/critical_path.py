"""`critical-path`: what many traces waited for, and how long."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from nilometer.analyze.question import (
    NUMBER,
    TEXT,
    WHOLE,
    Chart,
    Column,
    Parameter,
    Question,
    ratio,
    table_of,
)
from nilometer.model import Resource, SpanKind, SpanRecord
from nilometer.model.critical import critical_path, waited_ns
from nilometer.model.tree import Tree, tree_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from nilometer.analyze.question import Asked, Row

COLUMNS: Final = (
    Column("service", TEXT, "", "whose spans were waited for; empty: there were none"),
    Column("operation", TEXT, "", "their name; empty: time between spans of no common parent"),
    Column("kind", TEXT, "", "their kind: server, client, ..."),
    Column("waited_ns", WHOLE, "ns", "how long all traces waited for these spans themselves"),
    Column("waited_share", NUMBER, "1", "which share that is of the time of all traces"),
    Column("traces", WHOLE, "1", "in how many traces such a span was waited for"),
    Column("traces_share", NUMBER, "1", "which share of the traces looked at that is"),
    Column("spans", WHOLE, "1", "how many such spans these traces have, waited for or not"),
    Column("spans_waited", WHOLE, "1", "for how many of them was waited"),
    Column("max_ns", WHOLE, "ns", "the longest wait in one trace"),
    Column("trace_id", TEXT, "", "in which trace that was"),
    Column("traces_looked", WHOLE, "1", "how many traces were looked at"),
    Column("traces_there", WHOLE, "1", "how many there were to be looked at"),
)

_KINDS: Final = {kind.name.lower(): kind for kind in SpanKind}
_NAMES: Final = (
    *("trace_id", "span_id", "parent_id", "service", "host", "name", "kind"),
    *("started_ns", "ended_ns"),
)


@dataclass(slots=True)
class _Waited:
    """What the traces so far waited for spans of one operation."""

    waited_ns: int = 0
    traces: int = 0
    spans: int = 0
    spans_waited: int = 0
    maximum_ns: int = 0
    trace_id: str = ""


_Operation = tuple[str, str, str]


def _fold(rows: pa.Table, _asked: Asked) -> pa.Table:
    """The traces' critical paths, added up by operation; what took most of the time first."""
    found: dict[_Operation, _Waited] = {}
    whole_ns = looked = 0
    for trace_id, tree in _trees(rows):
        whole_ns += _add(found, trace_id, tree)
        looked += 1
    there = rows["traces_there"][0].as_py() if looked else 0
    told = [_row(key, one, whole_ns, looked, there) for key, one in found.items()]
    told.sort(key=lambda row: (-row["waited_ns"], *(row[c.name] for c in COLUMNS[:3])))
    return table_of(COLUMNS, told)


def _trees(rows: pa.Table) -> Iterator[tuple[str, Tree]]:
    """Each trace, as one tree; the rows of a trace stand together."""
    listed = zip(*(rows[name].to_pylist() for name in _NAMES), strict=True)
    for trace_id, spans in groupby(listed, itemgetter(0)):
        yield trace_id, tree_of(map(_pair, spans))


def _pair(row: tuple[Any, ...]) -> tuple[Resource, SpanRecord]:
    _, span_id, parent_id, service, host, name, kind, started_ns, ended_ns = row
    ids = b"", bytes.fromhex(span_id), bytes.fromhex(parent_id)
    told = _KINDS.get(kind, SpanKind.UNSPECIFIED)
    span = SpanRecord(*ids, name, told, started_ns, ended_ns, {})
    return Resource(service, host), span


def _add(found: dict[_Operation, _Waited], trace_id: str, tree: Tree) -> int:
    """Add what a trace waited for; how long it took in all."""
    path = critical_path(tree)
    waited = waited_ns(path)
    here: dict[_Operation, int] = {}
    for node in tree.walk():
        key = node.resource.service, node.span.name, node.span.kind.name.lower()
        one = found.setdefault(key, _Waited())
        one.spans += 1
        if id(node) in waited:
            one.spans_waited += 1
            here[key] = here.get(key, 0) + waited[id(node)]
    if between_ns := sum(each.duration_ns for each in path if each.node is None):
        here["", "", ""] = between_ns
    for key, ns in here.items():
        one = found.setdefault(key, _Waited())
        one.waited_ns += ns
        one.traces += 1
        if ns > one.maximum_ns:
            one.maximum_ns, one.trace_id = ns, trace_id
    return sum(each.duration_ns for each in path)


def _row(key: _Operation, one: _Waited, whole_ns: int, looked: int, there: int) -> Row:
    service, operation, kind = key
    return {
        "service": service,
        "operation": operation,
        "kind": kind,
        "waited_ns": one.waited_ns,
        "waited_share": ratio(one.waited_ns, whole_ns),
        "traces": one.traces,
        "traces_share": ratio(one.traces, looked),
        "spans": one.spans,
        "spans_waited": one.spans_waited,
        "max_ns": one.maximum_ns,
        "trace_id": one.trace_id,
        "traces_looked": looked,
        "traces_there": there,
    }


QUESTION: Final = Question(
    name="critical-path",
    summary="What many traces waited for: which operations are on their critical paths.",
    tables=("spans",),
    heads=("once",),
    columns=COLUMNS,
    parameters=(
        Parameter(
            "traces",
            "whole",
            "10000",
            "Look at so many traces at most.",
            least=1,
            greatest=100_000,
        ),
    ),
    fold=_fold,
    chart=Chart("bars", ("service", "operation"), ("waited_ns",)),
    because=(
        "Read backwards from its end, a span waited for the child that ended last, until then "
        "for the one that had ended last before that child began, and so on; in between it "
        "was busy itself. What is added up is the time of each span itself on that path, as "
        "`nilometer trace` shows it for one trace; all stretches of a path together last as "
        "long as its trace. The traces are those in which the service takes part. Where there "
        "are more than asked for, those are taken whose ids have the least MD5 digests: a "
        "sample in which each trace is as likely as any other. Of n traces a share s is known "
        "to 2 sqrt(s (1 - s) / n), 95 times in a hundred: of 10,000 to a hundredth. Traces of "
        "100,000 spans and more are not looked at, nor those after 300,000 spans."
    ),
)
