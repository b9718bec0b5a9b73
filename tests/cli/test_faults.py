"""Whatever stands where the collector should: a command ends with a sentence and its code."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from nilometer.cli import terminal
from tests.cli.fake_collector import Answer, Asked, FakeCollector, always, node, trace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Command = Callable[..., subprocess.CompletedProcess[str]]

HOSTILE = "\x1b[31mred\x1b]0;title\x07 [bold red]markup[/] \u202egnp.exe\x9b2J\r\n\ud800 end"
STATISTICS = {
    "period_started_ns": 0,
    "group": {"service": HOSTILE},
    "kind": "distribution",
    "count": 3,
    "sum": 3,
    "avg": 1.0,
    "min": 1,
    "max": 1,
    "last": None,
    "rate": 1.0,
    "quantiles": {"0.5": 1.0, "0.99": 1.0},
}
NODE = node(HOSTILE, service=HOSTILE, status_message=HOSTILE, attributes={"url.path": HOSTILE})
METRIC = {
    "name": HOSTILE,
    "kind": "distribution",
    "unit": HOSTILE,
    "description": HOSTILE,
    "dimensions": [HOSTILE],
}
ID = "ab" * 16
ANSWERS: dict[tuple[str, ...], Any] = {
    ("trace", "list"): {
        "traces": [
            {
                "id": HOSTILE,
                "root": HOSTILE,
                "service": HOSTILE,
                "started_ns": -(10**30),
                "duration_ns": 10**30,
                "spans": 1,
                "errors": 1,
            }
        ],
        "more": True,
    },
    ("trace", "show", ID): trace(NODE, id=HOSTILE),
    ("metrics", "list"): {"metrics": [METRIC], "more": True},
    ("metrics", "stats", "x", "--group-by", "service"): {
        "kind": "distribution",
        "unit": HOSTILE,
        "statistics": [STATISTICS],
    },
    ("metrics", "top"): {
        "metrics": [{**METRIC, "unit": "ns"}],
        "more": False,
        "kind": "distribution",
        "unit": "ns",
        "statistics": [STATISTICS],
    },
    ("doctor", "--overhead", "--losses"): {
        "kind": "counter",
        "unit": "ns",
        "statistics": [STATISTICS],
        "losses": [
            {"service": HOSTILE, "name": HOSTILE, "dimensions": {HOSTILE: HOSTILE}, "count": 1}
        ],
    },
}


def is_safe(text: str) -> bool:
    """Nothing in it that a terminal obeys, or that turns the order of letters round."""
    return all(c.isprintable() or c == "\n" for c in text)


@pytest.mark.parametrize("command", ANSWERS, ids=" ".join)
def test_hostile_text_stays_text_in_tables_and_in_json(
    quick: Command, command: tuple[str, ...]
) -> None:
    with FakeCollector(always(ANSWERS[command])) as fake:
        table = quick(*command, "--url", fake.url)
        document = quick(*command, "--url", fake.url, "--json")

    assert table.returncode in (0, 5), table.stderr
    assert is_safe(table.stdout + table.stderr + document.stdout)
    assert "[bold red]markup[/]" in table.stdout


def test_a_name_of_a_megabyte_is_cut_in_a_table_and_whole_in_json(quick: Command) -> None:
    long = "x" * 10**6
    with FakeCollector(always({"metrics": [{**METRIC, "name": long}], "more": False})) as fake:
        table = quick("metrics", "list", "--url", fake.url)
        document = quick("metrics", "list", "--url", fake.url, "--json")

    assert "x" * 499 + "…" in table.stdout
    assert len(table.stdout) < 5000
    assert long in document.stdout


@pytest.mark.parametrize("more", [True, False])
def test_a_trace_that_is_not_shown_whole_says_so(quick: Command, *, more: bool) -> None:
    with FakeCollector(always(trace(node("x"), more=more))) as fake:
        ran = quick("trace", "show", "ab" * 16, "--url", fake.url)

    said = "these are the spans that started first; the trace has more\n"
    assert (ran.returncode, ran.stderr) == (0, said if more else "")


REFUSALS = [
    (always({"detail": "no token"}, 401), 4, "wants a token: --token-file FILE"),
    (always({"detail": "foreign host"}, 403), 4, "answered 403 Forbidden: foreign host"),
    (
        always({"detail": "busy"}, 503, Retry_After="7"),
        4,
        "answered 503 Service Unavailable: busy; come again in 7 s",
    ),
    (
        always(b"<html>oops\x1b[2J", 500),
        4,
        "answered 500 Internal Server Error; is a Nilometer",
    ),
    (always(b"404 page not found\n", 404), 4, "answered 404 Not Found; is a Nilometer"),
    (always({"detail": "no trace ab; see"}, 404), 1, "nilometer: no trace ab; see"),
    (
        always({"detail": "since='5x': write", "parameter": "since", "value": "5x"}, 422),
        2,
        "nilometer: --since '5x': write",
    ),
    (always(b"moved", 302, Location="http://127.0.0.1:1/"), 4, "answered 302 Found; is a"),
    (always(b"<html>"), 4, "answered no JSON"),
    (always(b"\xff\xfe"), 4, "answered no text"),
    (always(b"[" * 100_000), 4, "answered no JSON"),
    (always(b'{"traces": NaN}'), 4, "answered no JSON (NaN is not JSON)"),
    (always([]), 4, "answered JSON that is not a collector's, see /;"),
    (always({"traces": [{}], "more": False}), 4, "answered JSON that is not a collector's"),
    (lambda _: None, 3, "no collector answers"),
    (lambda _: b"SSH-2.0-OpenSSH_9.2\x1b[31m\r\n", 3, "no collector answers"),
    (always(b"{}", 200, Content_Length="1000"), 3, "ended 998 bytes too early"),
]


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    REFUSALS,
    ids=lambda one: None if callable(one) else str(one)[:40],
)
def test_whatever_answers_a_command_ends_with_one_sentence_and_its_code(
    quick: Command, answer: Callable[[Asked], Answer], code: int, said: str
) -> None:
    with FakeCollector(answer) as fake:
        ran = quick("trace", "list", "--url", fake.url)

    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (code, "", 1), ran.stderr
    assert said in ran.stderr
    assert is_safe(ran.stderr)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("127.0.0.1:4318", "not an http:// or https:// address"),
        ("ftp://x", "not an http:// or https:// address"),
        ("http://", "not an http:// or https:// address"),
        ("http://[::1", "not a URL"),
        ("http://x:port", "not a URL"),
        ("http://x:99999", "not a URL"),
        ("http://a b", "not an http:// or https:// address"),
        ("http://x\x1b31m", "not an http:// or https:// address"),
        ("http://x?y", "write http://127.0.0.1:4318, for example"),
    ],
)
def test_an_address_that_is_none_is_refused_with_its_origin(
    quick: Command, url: str, said: str
) -> None:
    by_flag = quick("trace", "list", "--url", url)
    by_variable = quick("trace", "list", NILOMETER_URL=url)

    assert (by_flag.returncode, by_variable.returncode) == (2, 2)
    assert by_flag.stderr.startswith("nilometer: --url: ")
    assert by_variable.stderr.startswith("nilometer: NILOMETER_URL: ")
    assert said in by_flag.stderr
    assert is_safe(by_flag.stderr)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://me:secret@127.0.0.1:4318", "--token-file"),
        ("http://127.0.0.1:4318/?token=secret", "'http://127.0.0.1:4318/?token=***'"),
        ("http://127.0.0.1:4318/#secret", "'http://127.0.0.1:4318/#***'"),
        ("ftp://127.0.0.1?secret", "'ftp://127.0.0.1?***'"),
        ("http://me:secret#x@127.0.0.1", "'http://***@127.0.0.1'"),
    ],
)
def test_a_secret_in_an_address_is_refused_and_not_shown(
    quick: Command, url: str, said: str
) -> None:
    ran = quick("trace", "list", "--url", url)

    assert (ran.returncode, "secret" in ran.stderr) == (2, False)
    assert said in ran.stderr


def test_nobody_there_says_what_to_start(quick: Command) -> None:
    with socket.socket() as nobody:  # bound and never listening: connections are refused
        nobody.bind(("127.0.0.1", 0))
        ran = quick(
            "doctor", "--losses", "--url", f"http://127.0.0.1:{nobody.getsockname()[1]}"
        )

    assert ran.returncode == 3
    assert "nilometer serve" in ran.stderr


def test_names_of_metrics_stay_whole_in_a_narrow_terminal(
    quick: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal.console(), "_width", 80)
    name, told = "http.server.response.bytes", {"unit": "By", "description": "of bodies " * 20}
    metric = {**METRIC, **told, "name": name, "dimensions": ["http.response.status_class"]}
    with FakeCollector(always({"metrics": [metric], "more": False})) as fake:
        listed = quick("metrics", "list", "--url", fake.url).stdout

    assert max(map(len, listed.splitlines())) <= 80
    assert f" {name} " in listed


def test_a_token_goes_to_the_collector_and_not_along_a_redirect(
    quick: Command, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("# ours\n\n  sesame-open  \nsecond\n")
    with (
        FakeCollector(always({"traces": [], "more": False})) as other,
        FakeCollector(always(b"", 302, Location=other.url)) as first,
    ):
        quick("trace", "list", "--url", first.url, "--token-file", str(tokens))

    assert ([one.token for one in first.asked], other.asked) == (["Bearer sesame-open"], [])


def test_a_token_goes_to_the_collector_and_to_no_proxy_of_the_environment(
    nilometer: Command, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("a-token-of-sixteen")
    with (
        FakeCollector(always({"metrics": [], "more": False})) as collector,
        FakeCollector(always({"metrics": [], "more": False})) as proxy,
    ):
        place = ("--url", collector.url, "--token-file", str(file))
        proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy"), proxy.url)
        nilometer("metrics", "list", *place, **proxies, no_proxy="", NO_PROXY="")

    assert [asked.token for asked in collector.asked] == ["Bearer a-token-of-sixteen"]
    assert proxy.asked == []


def test_a_token_that_does_not_open_is_told_from_one_that_is_missing(
    quick: Command, tmp_path: Path
) -> None:
    (tmp_path / "tokens").write_text("sesame")
    with FakeCollector(always({"detail": "no"}, 401)) as fake:
        ran = quick(
            "trace", "list", "--url", fake.url, NILOMETER_TOKEN_FILE=str(tmp_path / "tokens")
        )

    assert (ran.returncode, "knows no such token" in ran.stderr) == (4, True)
    assert "sesame" not in ran.stderr


@pytest.mark.parametrize("content", [b"", b"# only\n", b"\xff\xfe", "né".encode(), b"a\x00b"])
def test_a_file_without_a_token_is_refused(
    quick: Command, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "t").write_bytes(content)
    ran = quick("trace", "list", "--token-file", str(tmp_path / "t"))

    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    assert "[bad-token-file]" in ran.stderr


def test_a_trace_of_ten_thousand_spans_in_a_row_is_drawn_and_written(
    nilometer: Command,
) -> None:
    """As our collector sends it: what is deeper than 200 stands side by side."""
    deep = [node(f"s{number}") for number in range(10_000)]
    for at in range(200):
        deep[at]["children"] = [deep[at + 1]] if at < 199 else deep[200:]
    with FakeCollector(always(trace(deep[0], spans=10_000))) as fake:
        table = nilometer("trace", "show", ID, "--url", fake.url, COLUMNS="100")
        document = nilometer("trace", "show", ID, "--url", fake.url, "--json")

    assert "... 9,500 more; see --json" in table.stdout
    assert max(map(len, table.stdout.splitlines())) <= 100
    assert "s9999" in document.stdout


def test_nothing_is_coloured_or_cut_in_a_pipe(nilometer: Command) -> None:
    row = {**ANSWERS["trace", "list"]["traces"][0], "id": "ab" * 16, "root": "r" * 300}
    with FakeCollector(always({"traces": [row], "more": False})) as fake:
        ran = nilometer("trace", "list", "--url", fake.url, TERM="xterm-256color")

    assert "ab" * 16 in ran.stdout
    assert "r" * 300 in ran.stdout
    assert "\x1b" not in ran.stdout


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (
            ("trace", "show", ID),
            trace(
                node("n" * 300, service="s" * 80, attributes={"url.path": "/" + "p" * 400}),
                node("short"),
            ),
        ),
        (
            ("metrics", "list"),
            {
                "metrics": [
                    {**METRIC, "name": "n", "description": "d" * 400},
                    {**METRIC, "name": "m" * 300, "description": "d"},
                ],
                "more": False,
            },
        ),
    ],
    ids=["a tree", "a table"],
)
def test_in_a_pipe_no_line_ends_in_blanks_and_nothing_is_cut(
    nilometer: Command, command: tuple[str, ...], answer: dict[str, Any]
) -> None:
    with FakeCollector(always(answer)) as fake:
        ran = nilometer(*command, "--url", fake.url)

    assert [line for line in ran.stdout.splitlines() if line.endswith(" ")] == []
    assert "…" not in ran.stdout
    for text in re.findall(r"([a-z])\1{70,}", json.dumps(answer)):
        assert re.search(rf"{text}{{80}}", ran.stdout)


@pytest.mark.parametrize(
    "given",
    ["../../health", "", " ", "ab", ID + "0", "g" * 32, "x\x1b[31m", ID[:31] + "\u0660"],
)
def test_an_id_that_is_none_is_refused_before_anything_is_asked(
    quick: Command, given: str
) -> None:
    with FakeCollector(always(trace())) as fake:
        ran = quick("trace", "show", given, "--url", fake.url)

    assert (ran.returncode, ran.stdout, fake.asked) == (2, "", [])
    assert "a trace's id is 32 hex digits" in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_an_id_may_be_written_as_a_uuid(quick: Command) -> None:
    with FakeCollector(always(trace())) as fake:
        quick("trace", "show", "ABABABAB-abab-abab-abab-abababababab", "--url", fake.url)

    assert [one.path for one in fake.asked] == [f"/api/v1/traces/{ID}"]


@pytest.mark.parametrize("columns", ["20", "40", "80", "1", "0", "many"])
def test_ids_are_whole_in_any_terminal(nilometer: Command, columns: str) -> None:
    row = {**ANSWERS["trace", "list"]["traces"][0], "id": "ab" * 16}
    with FakeCollector(always({"traces": [row], "more": False})) as fake:
        ran = nilometer("trace", "list", "--url", fake.url, COLUMNS=columns)

    assert ran.returncode == 0, ran.stderr
    if columns in ("40", "80", "many"):
        assert "ab" * 16 in ran.stdout


def on_a_terminal(*arguments: str, **env: str) -> tuple[int, str]:
    """A command whose output is a terminal: how it ended and what it drew."""
    main, other = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "nilometer", *arguments],
        stdin=other,
        stdout=other,
        stderr=other,
        env={**os.environ, "TERM": "xterm-256color", **env},
    )
    os.close(other)
    drawn = b""
    try:
        while piece := os.read(main, 65536):
            drawn += piece
    except OSError:  # the other end closed: that is how a terminal ends
        pass
    os.close(main)
    return process.wait(), drawn.decode()


def test_colours_are_for_terminals_and_no_color_takes_them_away() -> None:
    with FakeCollector(always(trace(node("x", status="error")))) as fake:
        _, coloured = on_a_terminal("trace", "show", ID, "--url", fake.url)
        _, plain = on_a_terminal("trace", "show", ID, "--url", fake.url, NO_COLOR="1")

    assert "\x1b[31m" in coloured
    assert "\x1b[31m" not in plain


def test_a_document_for_another_tool_is_made_safe_on_a_terminal_only(
    nilometer: Command,
) -> None:
    with FakeCollector(always(b'digraph { "\x1b[31m" }')) as fake:
        command = ("trace", "show", ID, "--format", "dot", "--url", fake.url)
        _, drawn = on_a_terminal(*command)
        piped = nilometer(*command)

    assert ("\x1b[31m" in drawn, "digraph" in drawn) == (False, True)
    assert piped.stdout == 'digraph { "\x1b[31m" }\n'


def test_who_reads_no_further_ends_the_command_quietly() -> None:
    row = ANSWERS["trace", "list"]["traces"][0]
    with FakeCollector(always({"traces": [row] * 5000, "more": False})) as fake:
        for flags in ([], ["--json"]):
            command = [sys.executable, "-m", "nilometer", "trace", "list", "--url", fake.url]
            process = subprocess.Popen(
                [*command, *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.read(10)
            process.stdout.close()
            said = process.stderr.read()
            process.stderr.close()

            assert (process.wait(), said) == (141, b"")


def test_ctrl_c_while_a_collector_hangs_ends_quietly_and_at_once(
    start_process: Callable[..., Any], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hangs:
        url = f"http://127.0.0.1:{hangs.getsockname()[1]}"
        process = start_process(
            [sys.executable, "-m", "nilometer", "trace", "list", "--url", url],
            ready=f"waiting for {url}",  # said after two seconds: somebody wonders by then
        )
        process.popen.send_signal(signal.SIGINT)
        code = process.popen.wait(30)

    assert (code, process.output().strip()) == (130, f"waiting for {url} ...")


def test_a_full_disk_under_the_output_is_told() -> None:
    ran = subprocess.run(
        f"{sys.executable} -m nilometer --help > /dev/full",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1), ran.stderr
    assert "No space left on device" in ran.stderr


def test_a_closed_output_is_no_traceback() -> None:
    with FakeCollector(always(ANSWERS["metrics", "list"])) as fake:
        ran = subprocess.run(
            f"{sys.executable} -m nilometer metrics list --url {fake.url} >&- 2>&-",
            shell=True,
            check=False,
        )

    assert ran.returncode == 0


def test_text_that_is_no_utf8_on_the_command_line_reaches_the_collector(
    nilometer: Command,
) -> None:
    with FakeCollector(always({"traces": [], "more": False})) as fake:
        ran = nilometer("trace", "list", "--name", "caf\udce9", "--url", fake.url)

    assert (ran.returncode, fake.asked[0].query["name"]) == (1, ["caf\ufffd"])


def test_what_cannot_be_asked_together_is_refused(nilometer: Command, tmp_path: Path) -> None:
    for command in (
        ("trace", "show", ID, "--json", "--format", "dot"),
        ("trace", "new", "--key-file", "k", "--json", "--curl"),
        ("doctor", "--probe", "--losses"),
    ):
        ran = nilometer(*command, cwd=tmp_path)

        assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [(("trce",), "trace"), (("trace", "shwo"), "show"), (("metrics", "stat"), "stats")],
)
def test_a_misspelt_command_is_told_the_nearest_and_all(
    quick: Command, typed: tuple[str, ...], meant: str
) -> None:
    ran = quick(*typed)

    assert ran.returncode == 2
    assert f"did you mean '{meant}'? (" in ran.stderr


@pytest.mark.parametrize(
    "command", [("trace", "list"), ("metrics", "top"), ("metrics", "list")]
)
@pytest.mark.parametrize("limit", ["0", "-1", "1001", "many", ""])
def test_a_limit_out_of_bounds_is_refused_before_anybody_is_asked(
    quick: Command, command: tuple[str, ...], limit: str
) -> None:
    ran = quick(*command, "--limit", limit, "--url", "http://127.0.0.1:1")

    assert (ran.returncode, "--limit" in ran.stderr) == (2, True)
