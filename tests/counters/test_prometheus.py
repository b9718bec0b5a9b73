"""An endpoint for Prometheus as a backend: totals, folded labels, incarnation."""

from __future__ import annotations

from pathlib import Path

import pytest

from nilometer.clock import Clock
from nilometer.counters import parts, prometheus
from nilometer.counters.backend import BackendError, Surroundings, connect
from nilometer.counters.delta import delta
from nilometer.counters.snapshot import snapshot
from nilometer.errors import ConfigError
from nilometer.model.reading import Kind
from tests.counters.servers import by_path, http, replaying, serving

SHOWN = """\
# HELP app_requests_total Requests served.
# TYPE app_requests_total counter
app_requests_total{route="/o/1b4e28ba-2fa1-11d2-883f-b9a761bde3fb/i",code="200"} 3
app_requests_total{route="/o/6c84fb90-12c4-11e1-840d-7b25c5ee775a/i",code="200"} 4
app_requests_total{route="/",code="500"} 1
# TYPE app_threads gauge
app_threads{pool="a"} 5
# TYPE app_sent_bytes_total counter
app_sent_bytes_total 9
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1.7951819e+09
app_build_info{version="1.2.3",revision="x"} 1
"""


def reads(*texts: str, url: str = "http://127.0.0.1:{port}/metrics"):
    with serving(replaying(*(http(text.encode()) for text in texts))) as port:
        backend = connect(url.format(port=port), origin="test")
        shots = [snapshot(backend, Clock()) for _ in texts]
        backend.close()
    return shots


def test_counters_are_summed_over_labels_and_random_labels_are_folded() -> None:
    (read,) = reads(SHOWN)

    assert read.values == {
        ("app_requests_total", ()): 8,
        ("app_requests_total", (("code", "200"), ("route", "/o/*/i"))): 7,
        ("app_requests_total", (("code", "500"), ("route", "/"))): 1,
        ("app_threads", (("pool", "a"),)): 5,
        ("app_sent_bytes_total", ()): 9,
        ("process_start_time_seconds", ()): 1795181900,
        ("app_build_info", (("revision", "x"), ("version", "1.2.3"))): 1,
    }
    assert (read.incarnation, read.version) == ("started 1795181900", "app 1.2.3")
    requests, threads = read.fact("app_requests_total"), read.fact("app_threads")
    assert (requests.meaning, requests.kind) == ("Requests served.", Kind.COUNTER)
    assert (threads.kind, threads.from_zero) == (Kind.GAUGE, False)
    assert read.fact("app_sent_bytes_total").unit == "By"


def test_a_label_seen_first_counts_from_zero_where_the_start_is_known() -> None:
    more = SHOWN + 'app_requests_total{route="/new",code="200"} 2\n'
    new = ("app_requests_total", (("code", "200"), ("route", "/new")))

    before, after = reads(SHOWN, more)
    of_unknown = [
        text.replace("process_start_time_seconds 1.7951819e+09\n", "") for text in (SHOWN, more)
    ]
    unknown_before, unknown_after = reads(*of_unknown)

    assert delta(before, after).moved[new] == 2
    assert new in delta(unknown_before, unknown_after).unknown


def test_a_process_that_restarted_or_was_upgraded_is_not_compared() -> None:
    before, restarted = reads(SHOWN, SHOWN.replace("1.7951819e+09", "1.7951820e+09"))
    _, upgraded = reads(SHOWN, SHOWN.replace("1.2.3", "1.3.0"))

    assert "restarted" in delta(before, restarted).because
    assert (
        "upgraded meanwhile: app 1.2.3 before, app 1.3.0 after"
        in delta(before, upgraded._replace(instance=before.instance)).because
    )


def test_a_bad_line_is_a_note() -> None:
    (read,) = reads(SHOWN + "a b c\n")

    assert read.notes == ("line 13: no value: 'a b c'",)
    assert read.totals()["app_requests_total"] == 8


def test_parts_beyond_the_limit_are_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PARTS_MAX", 3)
    lines = [f'x_total{{n="{n}"}} {n}\ny{{n="{n}"}} {n}\n' for n in "12345"]

    (read,) = reads("".join(lines))

    assert {key: value for key, value in read.values.items() if key[0] == "x_total"} == {
        ("x_total", ()): 15,
        ("x_total", (("n", "1"),)): 1,
        ("x_total", (("n", "2"),)): 2,
        ("x_total", (("overflow", "true"),)): 12,
    }
    assert ("y", (("overflow", "true"),)) not in read.values
    assert read.notes == (
        "x_total has 5 parts; 3 of them are summed",
        "y has 5 parts; 3 of them are left out",
    )


def test_scopes_of_labels_can_be_configured() -> None:
    text = 'x_total{tenant="t-1"} 1\nx_total{tenant="t-2"} 2\n'

    (read,) = reads(text, url="prometheus://127.0.0.1:{port}?scopes=t-*=tenant")

    assert read.values["x_total", (("tenant", "tenant"),)] == 3


def test_path_and_query_are_asked_as_named() -> None:
    seen = []

    def answer(sock) -> None:
        seen.append(sock.recv(65536).split(b"\r\n")[0])
        sock.sendall(http(b"a_total 1\n"))

    with serving(answer) as port:
        backend = connect(f"http://127.0.0.1:{port}/probe?query=module%3Dx", origin="test")
        backend.read()
        backend.close()

    assert seen == [b"GET /probe?module=x HTTP/1.1"]
    assert backend.instance == f"127.0.0.1:{port}/probe?module=***"


def test_a_password_without_a_user_is_a_token(tmp_path: Path) -> None:
    seen = []

    def answer(sock) -> None:
        seen.append(sock.recv(65536))
        sock.sendall(http(b"a_total 1\n"))

    (tmp_path / "token").write_text("t0ken\n")
    with serving(answer) as port:
        url = f"http://127.0.0.1:{port}/metrics?password_file={tmp_path}/token"
        backend = connect(url, origin="test")
        backend.read()
        backend.close()

    assert b"\r\nAuthorization: Bearer t0ken\r\n" in seen[0]


def test_a_page_without_metrics_is_told() -> None:
    with serving(by_path({"/metrics": b"<html>hello</html>"})) as port:
        backend = connect(f"http://127.0.0.1:{port}", origin="test")
        with pytest.raises(BackendError, match="no metrics in its answer: '<html>hello"):
            backend.read()
        backend.close()


@pytest.mark.parametrize(
    ("url", "because"),
    [
        ("http://h/a%20b", "no spaces"),
        ("http://h/a%0d%0aHost:x", "no spaces"),
        ("http://h?module=x", "no option 'module'"),
    ],
)
def test_a_request_that_cannot_be_is_refused(url: str, because: str) -> None:
    with pytest.raises(ConfigError, match=because):
        connect(url, origin="test")


def test_it_is_never_looked_for() -> None:
    assert prometheus.find(Surroundings({}, Path("/nowhere"))) == []


def test_what_a_first_scrape_did_not_show_is_unknown_and_what_it_announced_is_zero() -> None:
    down = "\n".join(
        [
            "process_start_time_seconds 1.7951819e+09",
            "# TYPE db_up gauge",
            "db_up 0",
            "# TYPE told_total counter",
        ]
    )
    up = (
        down.replace("db_up 0", "db_up 1")
        + '\ntold_total{code="1"} 3\n# TYPE db_rows_total counter\ndb_rows_total 123456789\n'
        + '# TYPE db_calls_total counter\ndb_calls_total{c="x"} 987654321\n'
    )

    before, after = reads(down + "\n", up)
    moves = delta(before, after)

    assert {series: n for series, n in moves.moved.items() if series[0] == "told_total"} == {
        ("told_total", ()): 3,
        ("told_total", (("code", "1"),)): 3,
    }
    assert moves.unknown.keys() == {
        ("db_rows_total", ()),
        ("db_calls_total", ()),
        ("db_calls_total", (("c", "x"),)),
    }


def test_a_part_is_shown_or_summed_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PARTS_MAX", 3)
    began = "process_start_time_seconds 1\n# TYPE x_total counter\n"
    first = began + "".join(f'x_total{{n="{n}"}} 100\n' for n in "567")
    second = first + "".join(f'x_total{{n="{n}"}} 1\n' for n in "12")

    moves = delta(*reads(first, second))

    assert moves.unknown == {}
    assert {part: n for (name, part), n in moves.moved.items() if name == "x_total" and n} == {
        (): 2,
        (("overflow", "true"),): 2,
    }


PODS = """\
# TYPE reqs_total counter
reqs_total{pod="a"} 500
reqs_total{pod="b"} 1000
reqs_total{pod="reply_1b4e28ba2fa111d2883fb9a761bde3fb"} 40
reqs_total{pod="reply_6c84fb9012c411e1840d7b25c5ee775a"} 50
# TYPE other_total counter
other_total{pod="a"} 1
"""
ONE_LOST = (
    "not one count throughout: 1 series of it vanished or began anew since the first read"
)
REPLY = (("pod", "reply_*"),)


@pytest.mark.parametrize(
    ("series", "part"),
    [
        ('reqs_total{pod="a"} 500', (("pod", "a"),)),
        ('reqs_total{pod="reply_1b4e28ba2fa111d2883fb9a761bde3fb"} 40', REPLY),
    ],
)
@pytest.mark.parametrize("later", [" 3", ""])
def test_a_sum_of_which_a_series_vanished_or_began_anew_is_unknown_and_no_other(
    series: str, part: tuple, later: str
) -> None:
    busy = PODS.replace("1000", "2700").replace(" 50\n", " 950\n")
    rest = busy.replace(series, series.rpartition(" ")[0] + later if later else "")

    before, after, next_after = reads(PODS, rest, rest.replace("2700", "2800"))
    moves = delta(before, after)

    vanished = {part: "vanished: it was there in the first snapshot only"}
    of_part = {} if later or part == REPLY else vanished
    assert moves.unknown == {
        ("reqs_total", ()): ONE_LOST,
        ("reqs_total", part): of_part.get(part, ONE_LOST),
    }
    assert moves.moved["reqs_total", (("pod", "b"),)] == 1700
    assert moves.moved["other_total", ()] == 0
    assert delta(after, next_after).moved["reqs_total", ()] == 100


JOBS = """\
# TYPE jobs counter
jobs_total{{queue="a"}} {value}
jobs_created{{queue="a"}} {created}
# TYPE files counter
files_total 7
# TYPE files_created counter
files_created {files}
"""


def test_a_series_that_was_created_anew_has_not_moved_by_what_it_is_ahead() -> None:
    """An endpoint that does not show when its process began may show that of each counter."""
    before, same, anew = reads(
        JOBS.format(value=100, created=1.7951819e9, files=3),
        JOBS.format(value=130, created=1.7951819e9, files=4),
        JOBS.format(value=150, created=1.7951829e9, files=5),
    )

    moves = delta(before, same)
    assert moves.moved["jobs_total", (("queue", "a"),)] == 30
    unknown = delta(same, anew).unknown
    assert "began anew" in unknown["jobs_total", ()]
    assert "began anew" in unknown["jobs_total", (("queue", "a"),)]
    assert delta(same, anew).moved["files_total", ()] == 0


def test_what_openmetrics_says_of_when_a_counter_began_is_believed_whatever_it_is() -> None:
    text = "# TYPE jobs counter\njobs_total {}\njobs_created {}\n# EOF\n"

    before, after = reads(text.format(100, 1000.0), text.format(150, 2000.0))

    assert "began anew" in delta(before, after).unknown["jobs_total", ()]


def test_a_series_that_was_gone_and_is_back_has_not_moved_by_all_it_ever_counted() -> None:
    began = "process_start_time_seconds 1\n"
    gone = PODS.replace('reqs_total{pod="a"} 500\n', "")

    _, before, after = reads(*(began + text for text in (PODS, gone, PODS)))

    assert delta(before, after).unknown.keys() == {
        ("reqs_total", ()),
        ("reqs_total", (("pod", "a"),)),
    }


def test_what_is_summed_beyond_the_limit_is_unknown_where_a_series_of_it_vanished(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parts, "PARTS_MAX", 3)
    first = "# TYPE x_total counter\n" + "".join(f'x_total{{n="{n}"}} 9\n' for n in "12345")
    second = first.replace('x_total{n="4"} 9\n', "").replace('"5"} 9', '"5"} 90')

    moves = delta(*reads(first, second))

    assert moves.unknown == {
        ("x_total", ()): ONE_LOST,
        ("x_total", (("overflow", "true"),)): ONE_LOST,
    }
