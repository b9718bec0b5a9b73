"""What may be asked: stores, logs of every kind, and what is said of all else."""

from __future__ import annotations

import gzip
import json
import shutil
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nilometer.analyze.asking import Wanted, ask, asked_of
from nilometer.analyze.local import Local
from nilometer.analyze.questions import QUESTIONS
from nilometer.analyze.sources import Tables, opened, skipped
from nilometer.errors import ConfigError, StoreError
from nilometer.model import Batch, SpanKind
from nilometer.store.lake import Lake
from nilometer.store.places import Place
from nilometer.wire import jsonlines, logline
from tests.analyze.putting import (
    ENGINE,
    MS,
    NOW_NS,
    SHOP,
    TILL,
    S,
    answer_of_store,
    span,
    stored,
)
from tests.analyze.test_usage import failed, timed

BATCHES = [
    Batch(
        SHOP,
        readings=(timed(3, 30, at=number), failed(1, at=number)),
        spans=(span(1, trace=number, name="GET /a", started=number * S, took=number * MS),),
    )
    for number in range(1, 21)
]
LINES = [line for batch in BATCHES for line in logline.encode(batch)]


def told(over, name="slowest", tell=lambda _: None):
    """The answer, and what was skipped."""
    question = QUESTIONS[name]
    with opened([str(each) for each in over], tell) as sources:
        rows = ask(question, sources, ENGINE, asked_of(question, Wanted(), {}), tell)
        return rows.to_pylist(), skipped(sources)


def calls(over):
    return sum(row["calls"] for row in told(over)[0])


def test_a_log_says_what_a_store_says(tmp_path):
    store = stored(BATCHES, tmp_path / "store")
    log = tmp_path / "metrics.log"
    log.write_text("".join(f"{line}\n" for line in LINES))

    for name in ("slowest", "usage", "baseline"):
        rows, passed = told([log], name)

        assert rows == answer_of_store(name, store)
        assert passed == {}
        assert rows


def test_what_stands_before_a_metric_line_does_no_harm(tmp_path):
    log = tmp_path / "all.log"
    log.write_text(
        "".join(f"2026-11-18 11:06:40,123 METRIC [7] nilometer: {x}\n" for x in LINES)
    )

    assert calls([log]) == 20


def test_torn_lines_and_others_are_counted_and_their_neighbours_read(tmp_path):
    spans = [line for line in LINES if line.startswith("span")]
    log = tmp_path / "metrics.log"
    torn = [
        spans[0][: len(spans[0]) // 2],
        spans[1],
        spans[2][: len(spans[2]) // 2] + " " + spans[3],
        "a span of time, and an event that is none",
        "",
        spans[4],
    ]
    log.write_text("\n".join(torn))

    rows, passed = told([log])

    assert sum(row["calls"] for row in rows) == 3
    assert passed == {"torn": 2, "other": 1}


def test_packed_files_are_read_and_where_one_is_cut_its_beginning_counts(tmp_path):
    whole = gzip.compress("".join(f"{line}\n" for line in LINES).encode())
    (tmp_path / "a.log.gz").write_bytes(whole)
    (tmp_path / "b.gz").write_bytes(whole[: len(whole) - 20])

    assert told([tmp_path / "a.log.gz"])[1] == {}
    assert calls([tmp_path / "a.log.gz"]) == 20
    assert told([tmp_path / "b.gz"])[1]["torn"] >= 1


def test_a_line_that_is_in_two_files_counts_once(tmp_path):
    for name in ("a.log", "a.log.1"):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in LINES))

    assert calls([tmp_path]) == 20
    assert [row["requests"] for row in told([tmp_path], "usage")[0]] == [60]


def test_batches_as_json_lines_are_read(tmp_path):
    file = tmp_path / "batches.jsonl"
    file.write_bytes(b"".join(map(jsonlines.encode, BATCHES)) + b'{"nilometer": 1, "reso')

    rows, passed = told([file])

    assert sum(row["calls"] for row in rows) == 20
    assert passed == {"torn": 1}


def otlp(name="GET /otlp"):
    """A document as OpenTelemetry's collector writes it."""
    one = {
        "traceId": "5b8efff798038103d269b633813fc60c",
        "spanId": "eee19b7ec3c1b174",
        "name": name,
        "kind": 2,
        "startTimeUnixNano": str(NOW_NS),
        "endTimeUnixNano": str(NOW_NS + 5 * MS),
    }
    who = {"attributes": [{"key": "service.name", "value": {"stringValue": "till"}}]}
    return {"resourceSpans": [{"resource": who, "scopeSpans": [{"spans": [one]}]}]}


@pytest.mark.parametrize("indent", [None, 2])
def test_otlp_as_json_is_read_on_one_line_or_on_many(tmp_path, indent):
    file = tmp_path / "traces.json"
    file.write_text(json.dumps(otlp(), indent=indent) + "\n")

    [row] = told([file])[0]

    assert (row["service"], row["operation"], row["total_ns"]) == ("till", "GET /otlp", 5 * MS)


def test_items_of_otlp_that_are_none_are_counted(tmp_path):
    document = otlp()
    bad = {"traceId": "00", "spanId": "11", "name": "x"}
    document["resourceSpans"][0]["scopeSpans"][0]["spans"].append(bad)
    file = tmp_path / "traces.json"
    file.write_text(json.dumps(document))

    rows, passed = told([file])

    assert len(rows) == 1
    assert passed == {"refused": 1}


def test_a_report_of_osprofiler_is_read(tmp_path):
    ids = {"base_id": "8d28af1e-acc0-498c-9890-6908e33eff5f", "parent_id": "1" * 36}
    ids["parent_id"] = ids["base_id"]
    own = {"trace_id": "2d28af1e-acc0-498c-9890-6908e33eff5f", "project": "p", "service": "api"}

    def point(name, at):
        return {**ids, **own, "name": name, "timestamp": at, "info": {"host": "h"}}

    node = {
        "info": {
            "name": "wsgi",
            "meta.raw_payload.wsgi-start": point("wsgi-start", "2026-11-18T11:06:40.000000"),
            "meta.raw_payload.wsgi-stop": point("wsgi-stop", "2026-11-18T11:06:40.250000"),
        },
        "children": [],
    }
    report = {"info": {"name": "total"}, "children": [node], "stats": {}}
    file = tmp_path / "report.json"
    file.write_text(json.dumps(report, indent=1))

    [row] = told([file])[0]

    assert (row["service"], row["operation"], row["total_ns"]) == ("api", "wsgi", 250 * MS)


def test_tables_behind_a_url_are_asked_as_those_of_a_directory(tmp_path):
    """As of an object store: files are fetched, and none is read where it lies."""
    store = stored(BATCHES, tmp_path / "store")

    assert told([f"file://{store}"]) == told([store])
    with pytest.raises(ConfigError, match=r"file://.*/nope has no tables of Nilometer"):
        told([f"file://{store}/nope"])


def test_stores_and_logs_are_asked_together(tmp_path):
    store = stored(BATCHES[:10], tmp_path / "store")
    log = tmp_path / "m.log"
    log.write_text("\n".join(LINES))  # the first ten of them are in the store, too

    assert calls([store, log]) == 20


def test_a_delivery_that_came_twice_counts_once_whoever_delivered_it(tmp_path):
    store = stored([*BATCHES, BATCHES[3], Batch(TILL, spans=BATCHES[4].spans)], tmp_path / "s")

    assert sum(row["calls"] for row in answer_of_store("slowest", store)) == 20
    assert [row["requests"] for row in answer_of_store("usage", store)] == [60]


@pytest.mark.parametrize(
    ("content", "because"),
    [
        (b"\x7fELF\0\0\0", "it is no text"),
        (b'{"hello": "world"}\n{"hello": 1}\n', "JSON that nobody here writes"),
        (b"[1, 2,\n 3]", "JSON that nobody here writes"),
    ],
)
def test_a_file_that_nobody_here_writes_is_refused(tmp_path, content, because):
    file = tmp_path / "x.bin"
    file.write_bytes(content)

    with pytest.raises(ConfigError, match=f"x.bin is nothing that can be asked: {because}"):
        told([file])


def test_json_that_is_cut_is_an_error_and_no_answer(tmp_path):
    file = tmp_path / "x.json"
    file.write_text(json.dumps(otlp(), indent=1)[:-40])

    with pytest.raises(StoreError, match="begins as JSON and is none, or is cut; nothing was"):
        told([file])


def test_what_is_not_there_is_told_with_the_nearest(tmp_path):
    (tmp_path / "metrics.log").write_text("")

    with pytest.raises(ConfigError, match=r"did you mean .*metrics\.log"):
        told([tmp_path / "metrics.lgo"])
    with pytest.raises(ConfigError, match="not even"):
        told([tmp_path / "no" / "metrics.log"])


def test_a_table_alone_and_an_empty_directory_are_no_sources(tmp_path):
    store = stored(BATCHES, tmp_path / "store")
    (tmp_path / "empty").mkdir()

    with pytest.raises(ConfigError, match="is a table alone: name the store that it is in"):
        told([f"{store}/spans"])
    with pytest.raises(ConfigError, match="holds neither tables of Nilometer nor files"):
        told([tmp_path / "empty"])


def begin_of_footer(whole):
    return len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")


def footer(whole):
    return whole[begin_of_footer(whole) :]


def damaged(store, content):
    """Write that over the last file of the spans; its name."""
    file = max((store / "spans").glob("date=*/*.parquet"))
    file.write_bytes(content(file.read_bytes()))
    return file.name


@pytest.mark.parametrize(
    "content",
    [
        lambda whole: whole[: len(whole) // 2],
        lambda whole: b"",
        lambda whole: whole[:100] + b"\xff" * (len(whole) - 600) + whole[-500:],
        lambda whole: b"PAR1" + b"\xff" * (begin_of_footer(whole) - 4) + footer(whole),
    ],
    ids=["cut", "empty", "overwritten", "only its pages overwritten"],
)
def test_a_damaged_file_among_the_tables_is_named_and_nothing_is_answered(tmp_path, content):
    stored(BATCHES, tmp_path / "s")
    name = damaged(tmp_path / "s", content)

    with pytest.raises(StoreError, match=f"{name} cannot be read: .*nothing was answered"):
        told([tmp_path / "s"])


def test_a_file_of_another_s_among_the_tables_is_named(tmp_path):
    stored(BATCHES, tmp_path / "s")
    foreign = tmp_path / "foreign.parquet"
    pq.write_table(pa.table({"a": [1]}), foreign)
    name = damaged(tmp_path / "s", lambda _: foreign.read_bytes())

    with pytest.raises(StoreError, match=f"{name} cannot be read: it has no column"):
        told([tmp_path / "s"])


def test_a_file_that_is_gone_is_named_after_the_list_was_read_again(tmp_path):
    stored(BATCHES, tmp_path / "s")
    file = max((tmp_path / "s" / "spans").glob("date=*/*.parquet"))
    file.unlink()

    with pytest.raises(StoreError, match=f"{file.name}.*nothing was answered"):
        told([tmp_path / "s"])


class Maintained:
    """Tables of which maintenance took a file away just after it was listed first."""

    def __init__(self, tables):
        self.tables, self.times, self.skipped = tables, 0, {}

    def lots(self, table):
        self.times += 1
        [lot] = self.tables.lots(table)
        gone = lot.files[0]._replace(path="date=2026-11-18/gone.parquet")
        return [lot] if self.times > 1 else [lot._replace(files=[*lot.files, gone])]


def test_a_file_that_maintenance_took_away_makes_the_question_start_again(tmp_path):
    question = QUESTIONS["slowest"]
    tables = Maintained(Tables(Place.of(stored(BATCHES, tmp_path / "s"))))

    rows = ask(question, [tables], ENGINE, asked_of(question, Wanted(), {}), lambda _: None)

    assert tables.times == 2
    assert sum(rows["calls"].to_pylist()) == 20


def test_a_schema_of_a_newer_version_is_refused(tmp_path):
    Lake(tmp_path / "s", durability="os").append(BATCHES)
    log = tmp_path / "s" / "spans" / "_delta_log" / f"{0:020}.json"
    log.write_text(log.read_text().replace("schema 3", "schema 99"))

    with pytest.raises(StoreError, match="has schema 99, this Nilometer knows up to 3"):
        told([tmp_path / "s"])


def test_tables_that_nobody_has_written_are_empty(tmp_path):
    stored(BATCHES, tmp_path / "s")
    shutil.rmtree(tmp_path / "s" / "readings")

    assert told([tmp_path / "s"], "usage") == ([], {})


def test_reading_a_large_log_tells_how_far_it_is(tmp_path):
    said = Counter()
    log = tmp_path / "m.log"
    log.write_text("\n".join(LINES * 40))

    told([log], tell=lambda text: said.update([text.rpartition(":")[0]]))

    assert said[f"reading {log}"] >= 2


def test_an_engine_needs_no_more_memory_than_it_may_use(tmp_path):
    spans = tuple(
        span(n, trace=n, name=f"op {n}" * 20, kind=SpanKind.CLIENT) for n in range(1, 30_000)
    )
    question = QUESTIONS["baseline"]
    engine = Local(memory_max="4MB")
    store = stored([Batch(SHOP, spans=spans)], tmp_path / "s")

    with opened([store], lambda _: None) as sources, pytest.raises(StoreError) as refused:
        ask(question, sources, engine, asked_of(question, Wanted(), {}), lambda _: None)

    engine.close()
    assert refused.value.slug == "store-too-much"
