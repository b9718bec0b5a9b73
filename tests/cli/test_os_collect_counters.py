"""The command of os-performance-tools, with its flags: also where that one crashed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nilometer.cli.collecting import collected
from nilometer.counters.backend import BACKENDS, Surroundings
from nilometer.counters.choice import chosen
from nilometer.model import Batch, Kind, Reading, Resource
from nilometer.wire import jsonlines
from nilometer.wire.subunit import attachments

if TYPE_CHECKING:
    from collections.abc import Callable

    Ran = subprocess.CompletedProcess[bytes]


@pytest.fixture
def orders(tmp_path: Path) -> Callable[[int], None]:
    """``orders(3)``: three more in a file that is read as a backend."""

    def add(number: int) -> None:
        reading = Reading("orders", Kind.COUNTER, (), number, 1, 2)
        with (tmp_path / "shop.jsonl").open("ab") as stream:
            stream.write(jsonlines.encode(Batch(Resource("shop"), (reading,))))

    add(5)
    return add


@pytest.fixture
def collect(tmp_path: Path) -> Callable[..., Ran]:
    """The command, as a process that reads that file."""

    def run(*flags: str) -> Ran:
        words = ["--backend", f"nilometer://{tmp_path}/shop.jsonl", *flags]
        return subprocess.run(
            [sys.executable, "-m", "nilometer.cli.os_collect_counters", *words],
            capture_output=True,
            timeout=60,
            cwd=tmp_path,
        )

    return run


def document(ran: Ran) -> dict[str, Any]:
    return json.loads(ran.stdout)


def test_it_prints_what_the_old_one_printed_and_more(orders, collect) -> None:
    ran = collect()

    assert (ran.returncode, ran.stderr) == (0, b"")
    assert set(document(ran)) == {"__meta__", "mysql", "queues", "nilometer"}
    assert document(ran)["nilometer"] == {"orders": 5}
    assert ran.stdout.startswith(b'{\n "__meta__": {\n')


def test_a_prefix_in_both_documents_is_kept_and_no_error(orders, collect, tmp_path) -> None:
    collect("--meta-prefix", "gate.job1", "--output", "before.json")
    orders(3)

    ran = collect("--meta-prefix", "gate.job1", "--delta", "before.json")

    assert ran.returncode == 0
    assert document(ran)["nilometer"] == {"orders": 3}
    assert document(ran)["__meta__"]["prefix"] == "gate.job1"
    assert document(ran)["__meta__"]["delta_seconds"] > 0


def test_what_collecting_cost_is_told(orders, collect) -> None:
    cost = document(collect())["__meta__"]["cost"]

    assert sorted(cost) == ["cpu_ms", "max_rss_bytes", "read_ms"]
    assert 0 < cost["read_ms"] < 60_000
    assert 10 < cost["cpu_ms"] < 60_000  # an interpreter that does nothing takes as much
    assert 5 << 20 < cost["max_rss_bytes"] < 1 << 30


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_place_that_was_only_guessed_and_is_not_there_is_no_error(monkeypatch) -> None:
    monkeypatch.setattr("nilometer.counters.rabbitmq.PROMETHEUS_PORT", closed_port())
    api = f"127.0.0.1:{closed_port()}"
    monkeypatch.setenv("OS_QA_RABBITMQ_API", api)
    surroundings = Surroundings(os.environ, Path("/nowhere"))
    others = [name for name in BACKENDS if name != "rabbitmq"]

    guessed = collected(chosen([], surroundings, without=others))
    named = collected(chosen([("rabbitmq", "-b")], surroundings))

    assert list(guessed.told["passed_over"]) == ["rabbitmq"]
    assert guessed.told["unread"] == {}
    assert list(named.told["unread"]) == ["rabbitmq"]


def test_backends_that_another_tool_s_document_does_not_know_are_no_error(
    orders, collect, tmp_path
) -> None:
    theirs = {"__meta__": {"unixtime": 1.0}, "mysql": {}, "queues": {}}
    (tmp_path / "theirs.json").write_text(json.dumps(theirs))

    ran = collect("--delta", "theirs.json")

    assert (ran.returncode, ran.stderr) == (0, b"")
    assert document(ran)["__meta__"]["passed_over"] == {
        "nilometer": "it is not in the first document"
    }


@pytest.mark.parametrize("program", [("counters", "collect"), ("os",)], ids=" ".join)
def test_whatever_a_backend_or_a_document_says_what_is_printed_is_json(
    tmp_path, program
) -> None:
    said = '{"name": "m", "fields": {"a": NaN, "b": -Infinity, "c": 1e999, "d": 2}, "tags": {}}'
    (tmp_path / "t.json").write_text(said + "\n")
    earlier = {"telegraf": {"m.d": 1.0}, "__meta__": {"unixtime": 7e77}}
    text = json.dumps(earlier).replace("1.0", '1, "m.x": NaN').replace("7e+77", "1e999")
    (tmp_path / "before.json").write_text(text)
    module = "nilometer" if program[0] == "counters" else "nilometer.cli.os_collect_counters"
    words = [*(program if program[0] == "counters" else ()), "--delta", "before.json"]
    named = ["--backend", f"telegraf://{tmp_path}/t.json"]

    for flags, value in (([], 2), (words[-2:], 1)):
        ran = subprocess.run(
            [sys.executable, "-m", module, *words[:-2], *named, *flags],
            capture_output=True,
            timeout=60,
            cwd=tmp_path,
            check=False,
        )
        found = json.loads(ran.stdout, parse_constant=pytest.fail)
        assert found["telegraf"] == {"m.d": value}


@pytest.mark.parametrize("flags", ["", "--subunit"])
def test_a_full_disk_under_the_output_is_told_in_a_line(tmp_path, flags) -> None:
    (tmp_path / "shop.jsonl").touch()
    program = f"{sys.executable} -m nilometer.cli.os_collect_counters {flags}"

    ran = subprocess.run(
        f"{program} --backend nilometer://{tmp_path}/shop.jsonl > /dev/full",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )

    said = "os-collect-counters: standard output: No space left on device\n"
    assert (ran.returncode, ran.stderr) == (2, said)


def test_a_backend_that_fails_is_named_and_the_exit_code_says_so(orders, collect) -> None:
    ran = collect("--backend", "redis://127.0.0.1:1")

    assert ran.returncode == 3
    assert b"redis at 127.0.0.1:1: nobody listens there" in ran.stderr
    assert document(ran)["nilometer"] == {"orders": 5}
    assert list(document(ran)["__meta__"]["unread"]) == ["redis"]


@pytest.mark.parametrize(
    ("flags", "name"), [((), "counters.json"), (("mine.json",), "mine.json")]
)
def test_as_subunit_the_document_is_an_attachment(orders, collect, flags, name) -> None:
    ran = collect("--subunit", *flags)

    [found] = attachments(ran.stdout, file_name=name).attachments
    assert ran.returncode == 0
    assert json.loads(found.content)["nilometer"] == {"orders": 5}


@pytest.mark.parametrize(
    ("flags", "because"),
    [
        (("--delta", "nowhere.json"), b"--delta nowhere.json: No such file or directory"),
        (("--output", "no/dir"), b"--output no/dir: No such file or directory"),
        (("--backend", "mysqll://x"), b"no backend for 'mysqll://x'; did you mean 'mysql'"),
        (
            ("--loglevel", "debgu"),
            b"--loglevel: 'debgu' is no number and no level; did you mean 'debug'? (debug,",
        ),
        (("--loglevel", "LOUD"), b"'LOUD' is no number and no level; choose from debug, info,"),
    ],
)
def test_a_wrong_word_is_told(orders, collect, flags, because) -> None:
    ran = collect(*flags)

    assert ran.returncode == 2
    assert because in ran.stderr


@pytest.mark.parametrize("flags", [(), ("--subunit",)])
def test_who_reads_no_further_ends_the_command_quietly(orders, tmp_path, flags) -> None:
    words = ["--backend", f"nilometer://{tmp_path}/shop.jsonl", *flags]
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "nilometer.cli.os_collect_counters", *words],
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writing)

    assert (ran.returncode, ran.stderr) == (141, b"")


PROGRAMS = {
    "nilometer counters collect": ("nilometer", "counters", "collect"),
    "os-collect-counters": ("nilometer.cli.os_collect_counters",),
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
@pytest.mark.parametrize("moved", [{"delta_seconds": 1.5}, {"clock_went_back_s": 2.0}])
def test_what_says_how_far_counters_moved_is_no_document_to_count_from(
    orders, tmp_path, program, moved
) -> None:
    told = {"__meta__": {"unixtime": 9.0, **moved}, "nilometer": {"orders": 3}}
    (tmp_path / "rd.json").write_text(json.dumps(told))
    words = ["--backend", f"nilometer://{tmp_path}/shop.jsonl", "--delta", "rd.json"]

    ran = subprocess.run(
        [sys.executable, "-m", *program, *words],
        capture_output=True,
        timeout=60,
        cwd=tmp_path,
        check=False,
    )

    because = (
        b"--delta rd.json: it says how far counters moved, as it was collected with --delta "
        b"itself; give the document of the moment from which to count [bad-counters-document]\n"
    )
    assert (ran.returncode, ran.stdout) == (2, b"")
    assert ran.stderr.endswith(because)


def test_what_was_read_and_is_not_in_the_earlier_document_is_named(
    orders, nilometer, tmp_path
) -> None:
    (tmp_path / "empty.json").write_text("{}")
    named = ("-b", f"nilometer://{tmp_path}/shop.jsonl")

    ran = nilometer("counters", "collect", *named, "--delta", str(tmp_path / "empty.json"))

    assert (ran.returncode, ran.stderr) == (
        1,
        "nilometer: the document of --delta does not have nilometer\n",
    )


def test_it_loads_no_library_of_terminals(python: str) -> None:
    code = "import sys, nilometer.cli.os_collect_counters\n"
    code += "print({'click', 'rich'} & set(sys.modules))"
    said = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)

    assert said.stdout == "set()\n"


def test_documents_come_out_of_a_stream_as_they_went_in(
    orders, collect, nilometer, tmp_path
) -> None:
    (tmp_path / "run").write_bytes(collect("--subunit").stdout)
    one = nilometer("counters", "from-subunit", str(tmp_path / "run"))
    orders(2)
    with (tmp_path / "run").open("ab") as stream:
        stream.write(collect("--subunit").stdout)
    two = nilometer("counters", "from-subunit", str(tmp_path / "run"))
    last = nilometer("counters", "from-subunit", str(tmp_path / "run"), "--last")

    assert (one.returncode, json.loads(one.stdout)["nilometer"]) == (0, {"orders": 5})
    lines = [json.loads(line)["nilometer"] for line in two.stdout.splitlines()]
    assert (two.returncode, lines) == (0, [{"orders": 5}, {"orders": 7}])
    assert (last.returncode, json.loads(last.stdout)["nilometer"]) == (0, {"orders": 7})


def test_of_a_damaged_stream_what_is_whole_is_printed_and_the_rest_told(
    orders, collect, nilometer, tmp_path
) -> None:
    whole = collect("--subunit").stdout
    (tmp_path / "run").write_bytes(whole + whole[:-9])

    ran = nilometer("counters", "from-subunit", str(tmp_path / "run"))

    assert ran.returncode == 4
    assert json.loads(ran.stdout.splitlines()[0])["nilometer"] == {"orders": 5}
    assert "the stream is damaged: Short read" in ran.stderr


@pytest.mark.parametrize(
    ("content", "code", "because"),
    [
        (b"", 1, "no attachment 'counters.json' with counters in it"),
        (None, 2, "No such file or directory"),
    ],
)
def test_a_stream_without_counters_is_told(nilometer, tmp_path, content, code, because) -> None:
    if content is not None:
        (tmp_path / "run").write_bytes(content)

    ran = nilometer("counters", "from-subunit", str(tmp_path / "run"))

    assert (ran.returncode, ran.stdout) == (code, "")
    assert because in ran.stderr


def test_what_reading_four_backends_does_not_need_is_not_imported(tmp_path) -> None:
    code = (
        "import sys\n"
        "from nilometer.cli.os_collect_counters import backends, _parser\n"
        "four = ['mysql://h', 'postgresql://h', 'rabbitmq://h', 'redis://h']\n"
        "backends(_parser().parse_args([f'--backend={url}' for url in four]).backend)\n"
        "print(*sys.modules)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, cwd=tmp_path, timeout=60, check=True
    )

    too_dear = {"click", "rich", "logging", "shutil", "ssl", "inspect", "encodings.idna"}
    assert too_dear & set(ran.stdout.decode().split()) == set()
