"""Every command against a real collector, on data that was put there as senders put it."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.request import Request, urlopen

import pytest

from nilometer.clock import wall_ns
from nilometer.model import (
    Batch,
    Distribution,
    Kind,
    Reading,
    Resource,
    SpanKind,
    SpanRecord,
    Status,
)
from nilometer.model.units import moment
from nilometer.wire import otlp
from tests import collector as collectors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Command = Callable[..., subprocess.CompletedProcess[str]]

TRACE = bytes(range(16))
ID = TRACE.hex()
MS = 1_000_000


class Filled(NamedTuple):
    """A collector with one trace and a few metrics in it, and when they were measured."""

    url: str
    started_ns: int
    token_file: str


def batch(started: int) -> Batch:
    """One trace of two spans, counters, a gauge, two timers, and a loss."""
    ended = started + 10 * MS
    failed = {"http.response.status_code": 500, "url.path": "/orders/7"}
    root = SpanRecord(
        *(TRACE, b"rootroot", b"", "GET /orders/{n}", SpanKind.SERVER, started, ended, failed),
        status=Status.ERROR,
        status_message="ValueError: 7",
    )
    below = (started + 2 * MS, started + 7 * MS)
    child = SpanRecord(TRACE, b"childchi", b"rootroot", "SELECT", SpanKind.CLIENT, *below, {})

    def of(name: str, kind: Kind, value: Any, unit: str, **dimensions: str) -> Reading:
        pairs = tuple(sorted(dimensions.items()))
        return Reading(name, kind, pairs, value, started, ended, unit)

    slow = Distribution.of([1 * MS, 2 * MS, 3 * MS])
    readings = (
        of("shop.slow", Kind.DISTRIBUTION, slow, "ns"),
        of("shop.fast", Kind.DISTRIBUTION, Distribution.of([500]), "ns"),
        of("shop.sold", Kind.COUNTER, 5, "{piece}", tenant="acme"),
        of("shop.sold", Kind.COUNTER, 7, "{piece}", tenant="zenith"),
        of("shop.left", Kind.GAUGE, 42, "By"),
        of("nilometer.overhead", Kind.COUNTER, 3000, "ns", part="recording"),
        of("nilometer.overhead", Kind.COUNTER, 5000, "ns", part="export"),
        of("nilometer.lost", Kind.COUNTER, 2, "1", what="spans", reason="ring_full"),
    )
    return Batch(Resource("shop", "host-1", 17), readings, (root, child))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    """A collector that wants a token, with `batch` in its tables."""
    folder = tmp_path_factory.mktemp("filled")
    tokens = folder / "tokens"
    tokens.write_text("sesame-open-now-please\n")
    tokens.chmod(0o600)
    started = wall_ns() // MS * MS - 60_000 * MS
    sent = batch(started)
    with collectors.start(folder, token_file=tokens) as running:
        for path, body in (
            ("traces", otlp.encode_traces(sent)),
            ("metrics", otlp.encode_metrics(sent)),
        ):
            request = Request(f"{running.url}/v1/{path}", body, method="POST")
            request.add_header("Content-Type", "application/x-protobuf")
            request.add_header("Authorization", "Bearer sesame-open-now-please")
            urlopen(request, timeout=30).close()
        yield Filled(running.url, started, str(tokens))


@pytest.fixture
def ask(quick: Command, filled: Filled) -> Command:
    """``ask("trace", "list")`` of the filled collector."""

    def asked(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        env = {"NILOMETER_URL": filled.url, "NILOMETER_TOKEN_FILE": filled.token_file, **env}
        return quick(*arguments, **env)

    return asked


def lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


# --- Traces ----------------------------------------------------------------------------------


def test_traces_are_listed_whole(ask: Command, filled: Filled) -> None:
    when = moment(filled.started_ns)

    assert lines(ask("trace", "list").stdout) == [
        "id started service root time spans failed",
        f"{ID} {when} shop GET /orders/{{n}} 10.0 ms 2 1",
    ]
    assert json.loads(ask("trace", "list", "--json").stdout) == {
        "traces": [
            {
                "id": ID,
                "root": "GET /orders/{n}",
                "service": "shop",
                "started_ns": filled.started_ns,
                "started": f"{when.replace(' ', 'T')}000000Z",
                "duration_ns": 10 * MS,
                "spans": 2,
                "errors": 1,
            }
        ],
        "more": False,
    }


@pytest.mark.parametrize(
    "flags",
    [
        ("--service", "shop"),
        ("--name", "GET /orders/{n}"),
        ("--error",),
        ("--min-duration", "10ms"),
        ("--min-duration", "10ms", "--max-duration", "11ms"),
        ("--attribute", "url.path=/orders/7", "--attribute", "http.response.status_code=500"),
        ("--since", "10m", "--until", "now"),
    ],
)
def test_each_flag_of_the_list_finds_what_fits(ask: Command, flags: tuple[str, ...]) -> None:
    found = ask("trace", "list", *flags)

    assert (found.returncode, ID in found.stdout) == (0, True)


@pytest.mark.parametrize(
    "flags",
    [
        ("--service", "other"),
        ("--name", "nothing"),
        ("--min-duration", "11ms"),
        ("--max-duration", "10ms"),
        ("--attribute", "url.path=/orders/7", "--attribute", "url.path.more=x"),
        ("--since", "1s"),
        ("--request-id", "r"),
    ],
)
def test_a_list_of_nothing_says_what_to_do_and_is_an_answer_in_json(
    ask: Command, flags: tuple[str, ...]
) -> None:
    found, told = ask("trace", "list", *flags), ask("trace", "list", *flags, "--json")

    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr == "nilometer: no such traces; look further back with --since\n"
    assert (told.returncode, json.loads(told.stdout)) == (0, {"traces": [], "more": False})


def test_a_trace_is_drawn_and_told(ask: Command, filled: Filled) -> None:
    told = json.loads(ask("trace", "show", ID, "--json").stdout)
    drawn = lines(ask("trace", "show", ID).stdout)
    full, half = "█" * 28, "█" * 14

    assert drawn == [
        f"trace {ID} {moment(filled.started_ns)} 10.0 ms 2 spans, 1 failed",
        "span service at time self",
        f"GET /orders/{{n}} shop 0 ns 10.0 ms 5.00 ms {full} /orders/7 500 ValueError: 7",
        f"└─ SELECT shop 2.00 ms 5.00 ms 5.00 ms {half}",
    ]
    assert (told["spans"], told["roots"][0]["children"][0]["name"]) == (2, "SELECT")
    assert ask("trace", "show", ID.upper()).stdout.split("\n")[1:] != []


@pytest.mark.parametrize("form", ["osprofiler", "chrome", "speedscope", "json"])
def test_a_trace_goes_to_other_tools_as_json(ask: Command, form: str) -> None:
    assert json.loads(ask("trace", "show", ID, "--format", form).stdout)


def test_a_trace_goes_to_graphviz(ask: Command) -> None:
    assert ask("trace", "show", ID, "--format", "dot").stdout.startswith("digraph")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("show", "0" * 32), 1, "no trace 00000000000000000000000000000000; spans are here"),
        (("show", "xyz"), 2, "nilometer: ID 'xyz': a trace's id is 32 hex digits"),
        (("show", ""), 2, "nilometer: ID '': a trace's id is 32 hex digits"),
        (("show", ".."), 2, "ID"),
        (("show", ID, "--format", "chrmoe"), 2, "'chrmoe'; did you mean 'chrome'? (tree, json"),
        (("list", "--since", "5 minutes"), 2, "nilometer: --since '5 minutes': write ISO 8601"),
        (
            ("list", "--min-duration", "5"),
            2,
            "--min-duration '5': write a number with its unit",
        ),
        (("list", "--since", ""), 2, "nilometer: --since '': write ISO 8601"),
    ],
)
def test_a_wrong_word_is_told_with_its_flag_and_what_it_may_be(
    ask: Command, words: tuple[str, ...], code: int, said: str
) -> None:
    ran = ask("trace", *words)

    assert (ran.returncode, ran.stdout) == (code, "")
    assert said in ran.stderr


def test_without_the_token_nothing_is_told(quick: Command, filled: Filled) -> None:
    ran = quick("metrics", "top", "--url", filled.url)

    assert (ran.returncode, ran.stdout) == (4, "")
    assert "wants a token: --token-file FILE" in ran.stderr


# --- Metrics ---------------------------------------------------------------------------------


def test_metrics_are_listed_with_their_dimensions(ask: Command) -> None:
    assert lines(ask("metrics", "list", "--prefix", "shop.").stdout) == [
        "metric kind unit dimensions meaning",
        "shop.fast distribution ns",
        "shop.left gauge By",
        "shop.slow distribution ns",
        "shop.sold counter {piece} tenant",
    ]


def test_more_than_the_limit_is_said(ask: Command) -> None:
    ran = ask("metrics", "list", "--prefix", "shop.", "--limit", "1")

    assert len(ran.stdout.splitlines()) == 2
    assert ran.stderr == "there are more; choose with --prefix, or raise --limit\n"


def test_each_kind_of_metric_shows_what_it_has(ask: Command) -> None:
    sold = lines(ask("metrics", "stats", "shop.sold", "--group-by", "tenant").stdout)

    assert lines(ask("metrics", "stats", "shop.slow").stdout) == [
        "count sum avg min max p50 p99",
        "3 6.00 ms 2.00 ms 1.00 ms 3.00 ms 1.99 ms 3.00 ms",
    ]
    assert [re.sub(r" [\d.e+,-]+/s", " R/s", line) for line in sold] == [
        "tenant count sum rate",
        "acme 1 5 piece R/s",
        "zenith 1 7 piece R/s",
    ]
    assert lines(ask("metrics", "stats", "shop.left").stdout)[0].startswith("count last")


def test_statistics_are_filtered_cut_into_periods_and_grouped(
    ask: Command, filled: Filled
) -> None:
    told = ask(
        *("metrics", "stats", "shop.slow", "--period", "1h", "--since", "2h", "--json"),
        *("--group-by", "service,host", "--where", "service=shop", "--quantile", "0.9"),
    )
    (row,) = json.loads(told.stdout)["statistics"]

    assert (row["group"], row["count"]) == ({"service": "shop", "host": "host-1"}, 3)
    assert list(row["quantiles"]) == ["0.9"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("stats", "shop.slwo"), 1, "no metric 'shop.slwo'; did you mean 'shop.slow'?"),
        (("stats", "shop.slow", "--group-by", "servise"), 2, "did you mean 'service'?"),
        (("stats", "shop.slow", "--where", "x"), 2, "--where 'x': write key=value"),
        (("stats", "shop.slow", "--quantile", "99"), 2, "--quantile '99': a quantile is a num"),
        (("stats", "shop.slow", "--period", "0s"), 2, "--period '0': a period lasts longer"),
        (("stats", "shop.slow", "--since", "1s"), 1, "nothing of 'shop.slow' in that time"),
        (("stats", ""), 2, "NAME: it is empty"),
        (("top", "--service", "other"), 1, "no timer of service 'other' reported"),
        (("list", "--prefix", "zzz"), 1, "nothing reported"),
    ],
)
def test_a_wrong_word_about_metrics_is_told_with_the_nearest(
    ask: Command, words: tuple[str, ...], code: int, said: str
) -> None:
    ran = ask("metrics", *words)

    assert (ran.returncode, ran.stdout) == (code, "")
    assert said in ran.stderr


def test_the_costliest_timers_come_first(ask: Command) -> None:
    told = ask("metrics", "top", "--service", "shop", "--json").stdout

    assert lines(ask("metrics", "top", "--service", "shop").stdout) == [
        "timer service count sum avg min max p50 p99",
        "shop.slow shop 3 6.00 ms 2.00 ms 1.00 ms 3.00 ms 1.99 ms 3.00 ms",
        "shop.fast shop 1 500 ns 500 ns 500 ns 500 ns 500 ns 500 ns",
    ]
    assert [one["name"] for one in json.loads(told)["timers"]] == ["shop.slow", "shop.fast"]


# --- Doctor ----------------------------------------------------------------------------------


def test_doctor_tells_costs_and_losses_of_services(ask: Command, filled: Filled) -> None:
    costs = ask("doctor", "--overhead")
    losses = ask("doctor", "--losses")
    both = ask("doctor", "--overhead", "--losses", "--json")

    assert (costs.returncode, "shop 3.00 us 5.00 us 0 -" in lines(costs.stdout)) == (0, True)
    assert (losses.returncode, lines(losses.stdout)[1]) == (
        5,
        "shop nilometer.lost what=spans reason=ring_full 2",
    )
    assert set(json.loads(both.stdout)) == {"overhead", "losses"}


def test_doctor_of_a_time_in_which_nobody_reported_says_so(ask: Command) -> None:
    ran = ask("doctor", "--overhead", "--since", "1ms")

    assert (ran.returncode, ran.stdout) == (
        0,
        "no service told what it cost in that time; see --since\n",
    )


def test_doctor_here_tells_settings_with_origin_and_ends_by_what_it_found(
    quick: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nilometer.toml").write_text('region = "north"\n')
    well = json.loads(quick("doctor", "--json").stdout)
    ill = quick("doctor", NILOMETER_LEVEL="detial")

    (region,) = [one for one in well if one["name"] == "region"]
    assert (region["value"], region["because"]) == ("north", "nilometer.toml:1")
    assert ill.returncode == 5
    assert "did you mean 'detail'?" in ill.stdout


# --- Triggers --------------------------------------------------------------------------------


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    file = tmp_path / "key"
    file.write_text("# ours\na key of sixteen or more characters\n")
    file.chmod(0o600)
    return str(file)


def test_a_new_trigger_has_both_forms_and_its_id_in_every_way_of_printing(
    quick: Command, key_file: str
) -> None:
    names = {"X-Trace-Info", "X-Trace-HMAC", "traceparent", "tracestate"}
    plain = quick("trace", "new", "--key-file", key_file)
    told = json.loads(quick("trace", "new", "--key-file", key_file, "--json").stdout)
    headers = dict(line.split(": ", 1) for line in plain.stdout.splitlines())
    (shown,) = re.findall(r"Afterwards: nilometer trace show (\w{32})\n", plain.stderr)

    assert set(headers) == set(told["headers"]) == names
    assert headers["traceparent"].split("-")[1] == shown
    assert told["headers"]["traceparent"].split("-")[1] == told["trace_id"] != shown


def test_the_arguments_for_curl_come_out_of_a_shell_as_they_are(
    nilometer: Command, key_file: str, tmp_path: Path
) -> None:
    """Unquoted, in a folder whose files would match what globs."""
    for name in ("a", "-H", "traceparent:x"):
        (tmp_path / name).touch()
    made = shlex.join([sys.executable, "-m", "nilometer", "trace", "new", "--curl"])
    split = subprocess.run(
        ["sh", "-c", f"printf '%s\\n' $({made} --key-file {key_file})"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()

    assert split[::2] == ["-H"] * 4
    assert [one.partition(":")[0] for one in split[1::2]] == [
        *("traceparent", "tracestate", "X-Trace-Info", "X-Trace-HMAC")
    ]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--ttl", "16m"), "--ttl: a trigger is valid for 1 to 900 s, not 960 [trigger-ttl]"),
        (("--ttl", "0.5"), "--ttl: a trigger is valid for"),
        (("--ttl", "soon"), "--ttl"),
        (("--ttl", "-1"), "--ttl"),
        (("--key-file", "missing"), "--key-file: missing: No such file or directory"),
        (("--key-file", "."), "--key-file: .: Is a directory"),
        (("--key-file", ""), "--key-file"),
    ],
)
def test_what_makes_no_trigger_is_refused_with_its_origin(
    quick: Command,
    key_file: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = quick("trace", "new", "--key-file", key_file, *flags)

    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)
    assert said in ran.stderr


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        ("", 0o600, "holds no key"),
        ("# only\n", 0o600, "holds no key"),
        ("short\n", 0o600, "key 1 is shorter than"),
        ("a key of sixteen or more\n", 0o604, "is open to every user of this machine"),
    ],
)
def test_a_key_file_that_is_none_is_refused_and_never_shown(
    quick: Command, tmp_path: Path, content: str, mode: int, said: str
) -> None:
    (tmp_path / "key").write_text(content)
    (tmp_path / "key").chmod(mode)
    ran = quick("trace", "new", "--key-file", str(tmp_path / "key"))

    assert (ran.returncode, said in ran.stderr) == (2, True)
    assert "sixteen" not in ran.stderr


# --- Servers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--listen", "0.0.0.0:0"), "[open-without-token]"),
        (("--listen", "nowhere"), "--listen: 'nowhere' is not an address"),
        (("--keep", "1s"), "--keep"),
        (("--durability", "dsik"), "did you mean 'disk'?"),
        (("--token-file", "missing"), "[bad-token-file]"),
        (("--stroe", "x"), "no option '--stroe'; did you mean '--store'?"),
    ],
)
def test_a_collector_that_cannot_be_is_refused_with_its_flag(
    quick: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = quick("serve", "--store", "store", *flags)

    assert (ran.returncode, said in ran.stderr) == (2, True), ran.stderr
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_without_its_libraries_the_collector_says_how_to_get_them_in_a_clone_too(
    nilometer: Command, tmp_path: Path, command: str
) -> None:
    missing = "raise ModuleNotFoundError('none such', name='fastapi')"
    (tmp_path / "fastapi.py").write_text(missing)
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))

    done = nilometer(command, cwd=tmp_path, PYTHONPATH=path)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "nilometer: the collector needs fastapi: pip install 'nilometer[collector]' "
        "(in a clone: pip install '.[collector]') [collector-not-installed]\n"
    )


@pytest.mark.slow
def test_the_demo_shows_a_trace_timers_and_costs_and_leaves_nothing_behind(
    nilometer: Command, tmp_path: Path
) -> None:
    ran = nilometer("demo", TMPDIR=str(tmp_path), COLUMNS="100")

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("price of an article") == 3
    assert "shop.pricing" in ran.stdout
    assert re.findall(r"\$ nilometer (\w+)", ran.stdout) == ["trace", "metrics", "doctor"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_demo_that_is_ended_ends_its_servers(
    start_process: Callable[..., Any], tmp_path: Path
) -> None:
    process = start_process(
        [sys.executable, "-m", "nilometer", "demo"],
        ready=lambda: (list(tmp_path.glob("*/shop.log")) or [""])[0],
        env={"TMPDIR": str(tmp_path)},
    )
    process.popen.terminate()

    assert process.popen.wait(30) == 130
    assert list(tmp_path.iterdir()) == [tmp_path / "process-0.log"]
    assert "Traceback" not in process.output()
