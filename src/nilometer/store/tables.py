"""The tables: every column with its meaning, its Arrow type and the history of the schema.

Six tables, each partitioned by `date`, the UTC day of a row's time. Who measured stands in
every row (the resource columns), so that no question needs a join.
Times are whole nanoseconds since 1970 in 64 bits: Delta's own timestamps stop at microseconds.
"""

from __future__ import annotations

from functools import cache
from typing import Final, NamedTuple

import pyarrow as pa

VERSION: Final = 3
HISTORY: Final = {
    1: "spans, readings, events, runs",
    2: "runs say all that is known of a run; nothing had written to the table before",
    3: "rejected, rollups",
}
"""Per schema version one line: what came with it. A store of a newer version is refused."""

PARTITION: Final = "date"


ROW_GROUP: Final = 32_768
"""Rows that are read or skipped together. A trace among a million spans took 6.6 ms of CPU;
9 ms by groups half that size, as the footer grows, and 9 ms by groups twice that size."""


class Column(NamedTuple):
    """One column: its name, its type and what it means."""

    name: str
    type: pa.DataType
    comment: str


class Table(NamedTuple):
    """One table; `order` sorts the rows of each file, `time` is the time `date` is taken from.

    Files carry the least and greatest value of the `bounded` columns, so that a question opens
    only the files that can answer it. A dictionary of the `unlike` columns would hold nearly
    every value once: without it files of spans are a fifth smaller and sooner written.
    `since` is the version of the schema that the columns are of. Of `row_group` rows together
    a question reads all or none.
    """

    name: str
    comment: str
    columns: tuple[Column, ...]
    time: str
    order: tuple[str, ...]
    bounded: tuple[str, ...]
    unlike: tuple[str, ...] = ()
    since: int = 1
    row_group: int = ROW_GROUP


TEXT: Final = pa.string()
BYTES: Final = pa.binary()
WHOLE: Final = pa.int64()
FLOAT: Final = pa.float64()
WHOLES: Final = pa.list_(pa.field("element", WHOLE))
FLOATS: Final = pa.list_(pa.field("element", FLOAT))
LISTS: Final = (WHOLES, FLOATS)

RESOURCE: Final = (
    Column("date", pa.date32(), "partition: UTC day of the row's time, kept near its arrival"),
    Column("service", TEXT, "which service measured"),
    Column("host", TEXT, "on which host"),
    Column("pid", WHOLE, "in which process; 0 if not told"),
    Column("region", TEXT, "in which region"),
    Column("zone", TEXT, "in which availability zone"),
    Column("version", TEXT, "which version of the service"),
    Column("resource", TEXT, "further attributes of the resource, a JSON object"),
)

ARRIVAL: Final = (
    Column("delivery", WHOLE, "digest of the batch: equal if the same batch came twice"),
    Column(
        "append", WHOLE, "which append wrote the row; of one delivery only the least counts"
    ),
)

SPANS: Final = Table(
    "spans",
    "Finished spans: timed pieces of one request.",
    (
        *RESOURCE,
        Column("scope", TEXT, "the library that made the span"),
        Column("trace_id", TEXT, "32 hex digits"),
        Column("span_id", TEXT, "16 hex digits; with trace_id the row's identity"),
        Column("parent_id", TEXT, "16 hex digits; empty for the root"),
        Column("name", TEXT, "what was done"),
        Column("kind", TEXT, "unspecified, internal, server, client, producer, consumer"),
        Column("started_ns", WHOLE, "wall clock"),
        Column("ended_ns", WHOLE, "start plus monotonic duration"),
        Column("status", TEXT, "unset, ok, error"),
        Column("status_message", TEXT, "why it failed"),
        Column("request_id", TEXT, "the attribute `request_id`; null if there is none"),
        Column("attributes", TEXT, "a JSON object"),
        Column("events", TEXT, "what happened in the span, a JSON list; null if nothing did"),
        Column("links", TEXT, "related spans elsewhere, a JSON list; null if none"),
        *ARRIVAL,
    ),
    time="started_ns",
    order=("trace_id", "started_ns"),
    bounded=("trace_id", "started_ns", "ended_ns"),
    unlike=("span_id", "parent_id", "started_ns", "ended_ns"),
)

READINGS: Final = Table(
    "readings",
    "One series' value over one interval.",
    (
        *RESOURCE,
        Column("scope", TEXT, "the library that made the instrument"),
        Column("name", TEXT, "the instrument's name"),
        Column("kind", TEXT, "counter, gauge, distribution"),
        Column("unit", TEXT, "UCUM: ns, By, 1, {request}"),
        Column("description", TEXT, "what the instrument measures"),
        Column("dimensions", TEXT, "a JSON object of texts, keys sorted"),
        Column("series", WHOLE, "digest of resource, scope, name, kind, unit and dimensions"),
        Column(
            "started_ns", WHOLE, "start of the interval, or since when a cumulative one counts"
        ),
        Column("ended_ns", WHOLE, "end of the interval"),
        Column("cumulative", pa.bool_(), "the value counts from started_ns, not one interval"),
        Column("value_int", WHOLE, "counter: moved; gauge: last; distribution: sum (whole)"),
        Column("value_float", FLOAT, "the same where it is no 64-bit whole number"),
        Column("samples", WHOLE, "distribution: how many values; else null"),
        Column("minimum_int", WHOLE, "distribution: least value (whole)"),
        Column("minimum_float", FLOAT, "the same where it is no 64-bit whole number"),
        Column("maximum_int", WHOLE, "distribution: greatest value (whole)"),
        Column("maximum_float", FLOAT, "the same where it is no 64-bit whole number"),
        Column("zeros", WHOLE, "distribution: how many zeros"),
        Column(
            "scale", WHOLE, "bucket i holds base**i < v <= base**(i+1), base 2**(2**-scale)"
        ),
        Column("bucket_indexes", WHOLES, "buckets of values above zero"),
        Column("bucket_counts", WHOLES, "how many values in each of them"),
        Column("negative_indexes", WHOLES, "buckets of values below zero, by absolute value"),
        Column("negative_counts", WHOLES, "how many values in each of them"),
        Column("bounds", FLOATS, "explicit: bucket i holds bounds[i-1] < v <= bounds[i]"),
        *ARRIVAL,
    ),
    time="ended_ns",
    order=("name", "series", "ended_ns"),
    bounded=("name", "ended_ns"),
)

OF_SERIES: Final = {
    *("service", "host", "pid", "region", "zone", "version", "resource", "scope"),
    *("name", "kind", "unit", "description", "dimensions", "series"),
}
"""The columns that are the same for all readings of a series."""

_BUCKETS: Final = {
    *("zeros", "scale", "bucket_indexes", "bucket_counts"),
    *("negative_indexes", "negative_counts"),
}

EVENTS: Final = Table(
    "events",
    "Single happenings, not aggregated.",
    (
        *RESOURCE,
        Column("scope", TEXT, "the library that told it"),
        Column("name", TEXT, "what happened"),
        Column("at_ns", WHOLE, "when, wall clock"),
        Column("trace_id", TEXT, "in which trace, 32 hex digits; empty if in none"),
        Column("span_id", TEXT, "in which span, 16 hex digits; empty if in none"),
        Column("severity", WHOLE, "OpenTelemetry's numbers: 9 info, 13 warn, 17 error"),
        Column("body", TEXT, "the message"),
        Column("attributes", TEXT, "a JSON object"),
        *ARRIVAL,
    ),
    time="at_ns",
    order=("name", "at_ns"),
    bounded=("name", "at_ns"),
)

RUNS: Final = Table(
    "runs",
    "Measured runs of commands: what each counter of each backend moved by.",
    (
        *RESOURCE,
        Column(
            "run_id", TEXT, "which run; this and what follows to `exit_status`: in each row"
        ),
        Column("suite", TEXT, "what was run"),
        Column(
            "test_set", TEXT, "digest of the names of the tests that ran; empty if not known"
        ),
        Column("work", WHOLE, "units of work done: tests that ran; 0 if not known"),
        Column("revision", TEXT, "which version was measured, as its repository names it"),
        Column("branch", TEXT, "on which branch"),
        Column("started_ns", WHOLE, "the opening snapshot, wall clock"),
        Column("ended_ns", WHOLE, "the closing snapshot, wall clock"),
        Column("wall_ns", WHOLE, "how long the command took, monotonic clock"),
        Column(
            "exit_status", WHOLE, "of the command; -n: by signal n; null: never seen to end"
        ),
        Column("what", TEXT, "what the row is of: run (one each), backend, count"),
        Column("position", WHOLE, "which row of the run, from 0"),
        Column("backend", TEXT, "whose counters; empty in the row of the run"),
        Column("instance", TEXT, "backend: where it was, host:port"),
        Column("backend_version", TEXT, "backend: which version of the server"),
        Column("incarnation", TEXT, "backend: which start of the server, or of its figures"),
        Column("notes", TEXT, "backend: what could not be read of it, a JSON list"),
        Column("counter", TEXT, "count: which counter"),
        Column("dimensions", TEXT, "count: which part of it, a JSON object; {} for the total"),
        Column("kind", TEXT, "count: counter, gauge, distribution"),
        Column("unit", TEXT, "count: UCUM: ns, By, 1, {request}"),
        Column("delta_int", WHOLE, "count: how far it moved, without footprint and idle drift"),
        Column("delta_float", FLOAT, "the same where it is no 64-bit whole number"),
        Column("raw_int", WHOLE, "count: the plain difference of the snapshots"),
        Column("raw_float", FLOAT, "the same where it is no 64-bit whole number"),
        Column("footprint_int", WHOLE, "count: what reading the counters moved it by"),
        Column("footprint_float", FLOAT, "the same where it is no 64-bit whole number"),
        Column("idle_int", WHOLE, "count: what it would have drifted meanwhile"),
        Column("idle_float", FLOAT, "the same where it is no 64-bit whole number"),
        Column("because", TEXT, "why run, backend or count cannot be used; empty if it can"),
        Column(
            "attributes",
            TEXT,
            'run: further attributes, a JSON object; backend: {"counters": [...]}, those read '
            "at both ends, so that others are not known; null: all it has, or not recorded",
        ),
        *ARRIVAL,
    ),
    time="ended_ns",
    order=("suite", "started_ns", "run_id", "position"),
    bounded=("suite", "ended_ns", "append"),
    since=2,
)

REJECTED: Final = Table(
    "rejected",
    "What was sent, could not be read, and will not be sent again.",
    (
        *RESOURCE,
        Column("at_ns", WHOLE, "when it came, or was given to Kafka; wall clock"),
        Column("door", TEXT, "which receiver took it: notifications, kafka"),
        Column("origin", TEXT, "where it came from: exchange/queue, topic/partition/offset"),
        Column("reason", TEXT, "the word it is counted by in nilometer.collector.rejected"),
        Column("detail", TEXT, "what was wrong with it"),
        Column("size", WHOLE, "of how many bytes it was"),
        Column("body", BYTES, "the first 64 KiB of them, as they came"),
        *ARRIVAL,
    ),
    time="at_ns",
    order=("at_ns",),
    bounded=("at_ns",),
    since=3,
)

ROLLUPS: Final = Table(
    "rollups",
    "The readings of one file of `readings`, each series' merged over five minutes.",
    (
        Column("date", pa.date32(), "partition: that of the file"),
        Column("file", TEXT, "which file, as the log of `readings` calls it"),
        *(column for column in READINGS.columns if column.name in OF_SERIES),
        Column("is_raw", pa.bool_(), "these readings cannot be merged: ask the file; else"),
        Column("grid_ns", WHOLE, "the five minutes in which they ended begin here"),
        Column("started_ns", WHOLE, "start of the earliest interval"),
        Column("first_ns", WHOLE, "end of the earliest interval"),
        Column("ended_ns", WHOLE, "end of the latest interval"),
        Column("readings", WHOLE, "how many readings"),
        Column("value_int", WHOLE, "sum of the readings' values (whole ones)"),
        Column("value_float", FLOAT, "the same of the others"),
        Column("last_int", WHOLE, "gauge: the latest value (of whole ones)"),
        Column("last_int_ns", WHOLE, "when that was"),
        Column("last_float", FLOAT, "gauge: the latest value (of the others)"),
        Column("last_float_ns", WHOLE, "when that was"),
        Column("samples", WHOLE, "distribution: how many values"),
        Column("minimum_int", WHOLE, "least value, counter and gauge: of the readings (whole)"),
        Column("minimum_float", FLOAT, "the same of the others"),
        Column("maximum_int", WHOLE, "greatest value, likewise"),
        Column("maximum_float", FLOAT, "the same of the others"),
        Column("without_minimum", WHOLE, "distribution: readings that do not tell the least"),
        Column(
            "without_maximum", WHOLE, "distribution: readings that do not tell the greatest"
        ),
        *(column for column in READINGS.columns if column.name in _BUCKETS),
    ),
    time="ended_ns",
    order=("name", "grid_ns", "series"),
    bounded=("file", "name", "ended_ns"),
    since=3,
    row_group=2048,  # of some 5 kB each, with their buckets: an hour of 160 series
)

TABLES: Final = {
    table.name: table for table in (SPANS, READINGS, EVENTS, RUNS, REJECTED, ROLLUPS)
}


@cache
def arrow_schema(name: str) -> pa.Schema:
    """The table's schema, comments as Delta keeps them (the field's `comment`)."""
    return pa.schema(
        pa.field(column.name, column.type, metadata={"comment": column.comment})
        for column in TABLES[name].columns
    )


@cache
def file_schema(name: str) -> pa.Schema:
    """What stands in the files themselves: all but the partition, which is in their path."""
    return pa.schema(
        pa.field(column.name, column.type)
        for column in TABLES[name].columns
        if column.name != PARTITION
    )


def as_markdown() -> str:
    """All tables as docs/tables.md shows them."""
    lines = []
    for table in TABLES.values():
        lines += [f"### {table.name}", "", table.comment, ""]
        lines += [f"Rows of a file are sorted by {', '.join(table.order)}.", ""]
        lines += ["| column | type | meaning |", "|---|---|---|"]
        lines += [
            f"| `{c.name}` | {_delta_type(c.type)} | {c.comment} |" for c in table.columns
        ]
        lines.append("")
    lines += ["### History", ""]
    lines += [f"- {version}: {what}" for version, what in sorted(HISTORY.items())]
    return "\n".join(lines) + "\n"


def _delta_type(kind: pa.DataType) -> str:
    names = {
        pa.string(): "string",
        pa.binary(): "binary",
        pa.int64(): "long",
        pa.float64(): "double",
        pa.bool_(): "boolean",
        pa.date32(): "date",
        WHOLES: "array of long",
        FLOATS: "array of double",
    }
    return names[kind]
