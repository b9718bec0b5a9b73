"""memcached on what a real one answered (tests/record_brokers.py), and on what is no answer."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.counters import link, memcached
from nilometer.counters.backend import Surroundings
from nilometer.counters.delta import delta
from nilometer.errors import ConfigError
from tests.counters.servers import dripping, reads, refusal, replaying, silent

DATA = Path(__file__).parent.parent / "data" / "counters" / "memcached"
STATS = (DATA / "stats.txt").read_bytes()
URL = "memcached://127.0.0.1:{port}"


def stats(**changes: int) -> bytes:
    """The recorded reply with some figures changed."""
    lines = STATS.split(b"\r\n")
    for name, value in changes.items():
        (at,) = [i for i, line in enumerate(lines) if line.split(b" ")[1:2] == [name.encode()]]
        lines[at] = f"STAT {name} {value}".encode()
    return b"\r\n".join(lines)


def test_its_counters_are_read() -> None:
    (read,) = reads(URL, STATS)

    totals = read.totals()
    assert totals.keys() <= memcached.FACTS.keys()
    assert {n: totals[n] for n in ("cmd_get", "cmd_set", "get_hits", "get_misses")} == {
        "cmd_get": 2,
        "cmd_set": 1,
        "get_hits": 1,
        "get_misses": 1,
    }
    assert read.version == "1.6.18"
    assert read.incarnation.startswith("pid ")


def test_a_restart_and_a_reset_are_other_incarnations() -> None:
    before, same, reset = reads(
        URL, stats(bytes_read=100), stats(bytes_read=107), stats(bytes_read=7)
    )
    one, other = reads(URL, stats(bytes_read=100), stats(bytes_read=107, pid=1))

    assert delta(before, same).because == ""
    assert "figures were reset" in delta(same, reset).because
    assert "restarted" in delta(one, other).because


@pytest.mark.parametrize(
    ("reply", "because"),
    [
        (b"ERROR\r\n", "not a reply of memcached: 'ERROR'"),
        (b"CLIENT_ERROR unauthenticated\r\n", "CLIENT_ERROR unauthenticated"),
        (b"STAT pid 1\r\n", "half a reply"),
        (b"STAT x 1\r\n" * 1001, "more than 1000 lines"),
        (b"END\r\n", "no pid: it is no memcached"),
        (b"", "hung up without a word"),
    ],
)
def test_another_answer_is_told(reply: bytes, because: str) -> None:
    assert because in refusal(URL, replaying(reply))


def test_a_login_that_is_refused_is_told_without_the_password() -> None:
    said = refusal(
        "memcached://me:s3cret@127.0.0.1:{port}",
        replaying(b"CLIENT_ERROR authentication failure\r\n"),
    )

    assert "login: 'CLIENT_ERROR authentication failure'" in said
    assert "s3cret" not in said


@pytest.mark.parametrize("answer", [silent, dripping(b"STAT pid 1\r\nSTAT ")])
def test_a_server_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch, answer) -> None:
    monkeypatch.setattr(link, "ANSWER_S", 0.3)

    assert "no whole answer in 0.3 s" in refusal(URL, answer)


@given(st.binary(max_size=200) | st.binary(max_size=50).map(b"STAT ".__add__))
def test_any_bytes_are_statistics_or_refused(data: bytes) -> None:
    try:
        text = memcached.reply(io.BufferedReader(io.BytesIO(data)))
    except (memcached.ReplyError, ConnectionResetError):
        return
    memcached.counted(text)


@given(st.text(alphabet="STAT pidcme_get\n0123456789.-", max_size=200))
def test_any_text_is_counted_or_left(text: str) -> None:
    values, told = memcached.counted(text)

    assert all(isinstance(value, int | float) for value in values.values())
    memcached.process_of({"pid": "1", **told})


def test_it_is_where_the_variable_says_or_on_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def found(**environment: str) -> list:
        targets = memcached.find(Surroundings(environment, Path("/nowhere")))
        return [(target.host, target.port) for target in targets]

    assert found(MEMCACHED_SERVERS="a, [::1]:11212") == [("a", 11211), ("::1", 11212)]
    with pytest.raises(ConfigError, match="'a:b' is not host:port"):
        found(MEMCACHED_SERVERS="a:b")
    monkeypatch.setattr(memcached, "listens", lambda port: port == 11211)
    assert found() == [("127.0.0.1", 11211)]
    monkeypatch.setattr(memcached, "listens", lambda port: False)
    assert found() == []
