"""Redis on what a real one answered (tests/record_brokers.py), and on what is no answer."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.counters import link, redis
from nilometer.counters.backend import BackendError, Surroundings, connect
from nilometer.counters.delta import delta
from nilometer.counters.target import Target
from nilometer.errors import ConfigError
from tests.counters.servers import dripping, reads, refusal, replaying, serving, silent

INFO = (Path(__file__).parent.parent / "data" / "counters" / "redis" / "info.txt").read_bytes()
URL = "redis://127.0.0.1:{port}"


def info(**changes: str) -> bytes:
    """The recorded reply with some figures changed."""
    text = INFO.split(b"\r\n", 1)[1].decode()
    for name, value in changes.items():
        old = next(line for line in text.splitlines() if line.startswith(f"{name}:"))
        text = text.replace(old, f"{name}:{value}")
    body = text.removesuffix("\r\n").encode()
    return b"$%d\r\n%b\r\n" % (len(body), body)


def test_commands_are_counted_by_name_and_altogether() -> None:
    (read,) = reads(URL, INFO)

    totals = read.totals()
    assert {name: totals[name] for name in totals if name.endswith("calls")} == {
        **{f"cmdstat_{name}.calls": n for name, n in zip(("get", "set"), (2, 2), strict=True)},
        "cmdstat_incr.calls": 1,
        "cmdstat_lpush.calls": 1,
        **{f"cmdstat_{name}.rejected_calls": 0 for name in ("get", "set", "incr", "lpush")},
        **{f"cmdstat_{name}.failed_calls": 0 for name in ("get", "set", "incr")},
        "cmdstat_lpush.failed_calls": 1,
    }
    assert totals["errorstat_WRONGTYPE.count"] == 1
    assert totals["total_commands_processed"] == 6
    assert (totals["keyspace_hits"], totals["keyspace_misses"]) == (2, 0)
    assert all(name in read.facts for name in totals)
    assert read.version == "7.0.15"


def test_a_restart_is_another_incarnation() -> None:
    one, other = reads(URL, info(), info(run_id="0" * 40))

    assert "restarted" in delta(one, other).because


def test_statistics_reset_are_another_incarnation_once() -> None:
    """Our own earlier INFO is missing in them, also where all else has grown beyond."""
    before = info(total_reads_processed="5\r\ncmdstat_info:calls=3")
    after = info(total_reads_processed="50\r\ncmdstat_info:calls=2")
    later = info(total_reads_processed="50\r\ncmdstat_info:calls=3")

    one, two, three = reads(URL, before, after, later)

    assert "figures were reset" in delta(one, two).because
    assert delta(two, three).because == ""


@pytest.mark.parametrize(
    ("reply", "because"),
    [
        (b"-NOAUTH Authentication required.\r\n", "name the password: redis://:PASSWORD@host"),
        (b"-NOPERM no permissions to run\r\n", "ACL SETUSER name +info"),
        (b"-LOADING Redis is loading\r\n", "INFO: LOADING Redis is loading"),
        (b"HTTP/1.1 400 Bad\r\n", "not a reply of Redis: b'HTTP/1.1 400 Bad"),
        (b"$9\r\nhalf", "half a reply"),
        (b"$99999999999\r\n", "a reply of more than"),
        (b"$3\r\nabc\r\n", "has no run_id: it is no Redis"),
        (b"+" + b"x" * 5000 + b"\r\n", "it is no Redis"),
        (b"", "it hung up without a word"),
    ],
)
def test_another_answer_is_told(reply: bytes, because: str) -> None:
    assert because in refusal(URL, replaying(reply))


def test_a_wrong_password_is_told_and_not_shown() -> None:
    said = refusal(
        "redis://me:s3cret@127.0.0.1:{port}",
        replaying(b"-WRONGPASS invalid username-password pair\r\n"),
    )

    assert "AUTH: WRONGPASS invalid username-password pair" in said
    assert "s3cret" not in said


@pytest.mark.parametrize("answer", [silent, dripping(b"$900\r\n"), dripping(b"+")])
def test_a_server_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch, answer) -> None:
    monkeypatch.setattr(link, "ANSWER_S", 0.3)

    said = refusal(URL, answer)

    assert "no whole answer in 0.3 s" in said or "it is no Redis" in said


def test_a_server_that_hung_up_meanwhile_is_asked_again() -> None:
    with serving(replaying(info())) as port:
        backend = connect(f"redis://127.0.0.1:{port}", origin="test")

        assert backend.read().values == backend.read().values

        backend.close()


def test_after_an_error_the_next_read_connects_again() -> None:
    with serving(replaying(b"nonsense\r\n")) as port:
        backend = connect(f"redis://127.0.0.1:{port}", origin="test")
        for _ in range(2):
            with pytest.raises(BackendError, match="not a reply of Redis"):
                backend.read()
        backend.close()


@given(st.binary(max_size=200) | st.binary(max_size=50).map(b"$20\r\n".__add__))
def test_any_bytes_are_a_reply_or_refused(data: bytes) -> None:
    try:
        assert isinstance(redis.reply(io.BufferedReader(io.BytesIO(data))), str)
    except (redis.ReplyError, ConnectionResetError):
        return


@given(st.text(alphabet="cmdstat_get:calls=,.0123456789\n#e+- ", max_size=200))
def test_any_text_of_info_is_counted_or_left(text: str) -> None:
    values, facts, _ = redis.counted(text)

    assert all(value >= 0 for value in values.values())
    assert facts.keys() <= {name for name, _ in values}


@given(st.lists(st.text(max_size=9)))
def test_a_command_says_each_word_with_its_length(words: list[str]) -> None:
    file = io.BytesIO(redis.command(*words))

    assert file.readline() == b"*%d\r\n" % len(words)
    for word in words:
        assert file.readline() == b"$%d\r\n" % len(word.encode())
        assert file.read(len(word.encode()) + 2) == word.encode() + b"\r\n"


def test_it_is_where_its_own_variable_says() -> None:
    def found(url: str) -> Target:
        (target,) = redis.find(Surroundings({"REDIS_URL": url}, Path("/nowhere")))
        redis.connect(target)
        return target

    one = found("rediss://me:s3cret@cache:6380/0?ssl_cert_reqs=none")
    assert (one.host, one.port, one.user, one.password) == ("cache", 6380, "me", "s3cret")
    assert (one.scheme, one.options) == ("rediss", ())
    assert found("unix://:pw@/run/r.sock?db=1").option("socket") == "/run/r.sock"
    with pytest.raises(ConfigError, match="REDIS_URL"):
        found("postgres//cache")


def test_without_a_variable_it_is_looked_for_on_this_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    around = Surroundings({}, tmp_path)
    monkeypatch.setattr(redis, "listens", lambda port: port == 6379)
    assert [(t.host, t.port) for t in redis.find(around)] == [("127.0.0.1", 6379)]
    monkeypatch.setattr(redis, "listens", lambda port: False)
    monkeypatch.setattr(redis, "SOCKETS", (str(tmp_path / "none"),))
    assert redis.find(around) == []
