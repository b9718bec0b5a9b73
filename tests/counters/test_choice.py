"""Which backends are read: a stranger's that fails is named, and takes no other along."""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.clock import Clock
from nilometer.counters import backend as backends
from nilometer.counters.backend import Surroundings
from nilometer.counters.choice import chosen
from nilometer.counters.figures import Fact, Figures
from nilometer.counters.gather import Gatherer, Unread
from nilometer.counters.snapshot import Snapshot
from nilometer.counters.target import Target
from nilometer.errors import ConfigError

HERE = Surroundings({}, Path("/nowhere"))


class Stranger:
    """A backend that somebody else wrote; `does` is what it does otherwise."""

    name = "strange"
    instance = "there"
    settle_s = 0.0

    def __init__(self, does: dict[str, Any]) -> None:
        self._does = does

    def read(self) -> Any:
        return self._do("read", Figures({("a", ()): 1}, "start"))

    def facts(self) -> Any:
        return self._do("facts", {})

    def close(self) -> Any:
        return self._do("close", None)

    def _do(self, what: str, otherwise: object) -> Any:
        done = self._does.get(what, otherwise)
        if isinstance(done, BaseException):
            raise done
        return done


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch):
    """Bring a package's backend, which does this and that, beside one that works."""

    def bring(**does: Any) -> None:
        for name, doing in (("strange", does), ("well", {})):
            module = ModuleType(f"{name}_module")
            backend = Stranger(doing)
            backend.name = name
            module.MEANING = "strange"
            module.find = lambda _s, b=backend: b._do("find", [Target(b.name, "here")])
            module.connect = lambda _t, b=backend: b._do("connect", b)
            monkeypatch.setitem(sys.modules, f"{name}_module", module)
        if "load" in does:
            monkeypatch.setattr(backends, "_load", lambda name: _load(name, does["load"]))
        points = [
            SimpleNamespace(name="strange", value="strange_module"),
            SimpleNamespace(name="well", value="well_module"),
        ]
        monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: points)

    return bring


def _load(name: str, error: BaseException) -> ModuleType:
    if name == "strange_module":
        raise error
    return sys.modules[name]


def read(named: list[tuple[str, str]]) -> list[Snapshot | Unread]:
    everything = chosen(named, HERE, without=backends.BACKENDS)
    gatherer = Gatherer(everything, Clock(), patience_s=5)
    try:
        return gatherer.gather()
    finally:
        gatherer.close()


@pytest.mark.parametrize(
    "named", [[], [("strange", "-b"), ("well", "-b")]], ids=["all", "named"]
)
@pytest.mark.parametrize(
    ("does", "because"),
    [
        ({"load": RuntimeError("no")}, "it cannot be loaded: RuntimeError: no"),
        ({"load": SystemExit(9)}, "it cannot be loaded: SystemExit: 9"),
        ({"find": ValueError("no")}, "find(): ValueError: no"),
        ({"find": SystemExit(9)}, "find(): SystemExit: 9"),
        ({"connect": TypeError("no")}, "connect(): TypeError: no"),
        ({"connect": object()}, "connect(): AttributeError"),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, dict) else "",
)
def test_a_stranger_s_backend_that_fails_is_named_and_takes_no_other_along(
    stranger, does, because, named
) -> None:
    stranger(**does)

    broken, well = read(named)

    assert isinstance(broken, Unread)
    assert broken.backend == "strange"
    assert f"backend 'strange', strange_module: {because}" in broken.because
    assert isinstance(well, Snapshot)
    assert well.values == {("a", ()): 1}


@pytest.mark.parametrize(
    ("does", "because"),
    [
        ({"read": KeyError("no")}, "KeyError: 'no'"),
        ({"read": SystemExit(3)}, "SystemExit: 3"),
        ({"read": None}, "read() gave None, which are no Figures"),
        ({"read": Figures(None, "start")}, "which are no Figures"),
        (
            {"read": Figures({}, None)},
            "whose incarnation, version, unseen or unread is no text",
        ),
        (
            {"read": Figures({}, "", unseen=1)},
            "whose incarnation, version, unseen or unread is no text",
        ),
        ({"facts": None}, "facts() gave None, which is no mapping"),
        ({"facts": {"a": "text"}}, "facts() gave 'text', which is no Fact"),
    ],
    ids=str,
)
def test_what_a_stranger_gives_that_is_nothing_is_told(stranger, does, because) -> None:
    stranger(**does)

    broken, well = read([])

    assert isinstance(broken, Unread)
    assert broken.because.startswith("strange at there: ")
    assert because in broken.because
    assert isinstance(well, Snapshot)


@pytest.mark.parametrize(
    ("series", "value", "shown"),
    [
        (("bad", ()), Decimal("1.5"), "bad = Decimal('1.5')"),
        (("bad", ()), "12", "bad = '12'"),
        (("bad", ()), None, "bad = None"),
        (("bad", ()), True, "bad = True"),
        (("bad", ()), float("nan"), "bad = nan"),
        (("bad", ()), float("-inf"), "bad = -inf"),
        ("bad", 1, "'bad' = 1"),
        (("bad", "x"), 1, "('bad', 'x') = 1"),
        (("bad", (("k", 1),)), 1, "('bad', (('k', 1),)) = 1"),
    ],
    ids=str,
)
def test_what_is_no_finite_number_of_a_counter_is_left_out_and_told(
    stranger, series, value, shown
) -> None:
    stranger(read=Figures({series: value, ("good", ()): 2}, "start"), facts={"good": Fact("x")})

    first, _ = read([])

    assert isinstance(first, Snapshot)
    assert first.values == {("good", ()): 2}
    assert first.notes == (f"left out, being no finite number of a counter: {shown}",)


@given(
    st.dictionaries(st.text() | st.tuples(st.text(), st.just(())), st.integers() | st.floats())
)
def test_whatever_is_kept_json_can_say(values: dict[Any, Any]) -> None:
    import json

    from nilometer.counters.sound import sound_figures

    kept = sound_figures(Figures(values, "start")).values

    json.dumps(list(kept.values()), allow_nan=False)
    assert all(isinstance(series, tuple) for series in kept)


def test_a_variable_of_nonsense_takes_no_other_along_unless_its_backend_was_named(
    stranger,
) -> None:
    stranger()
    around = Surroundings({"REDIS_URL": "sentinel://cache"}, Path("/nowhere"))
    without = [name for name in backends.BACKENDS if name != "redis"]

    lost, one, _ = Gatherer(chosen([], around, without=without), Clock()).gather()

    assert isinstance(one, Snapshot)
    assert isinstance(lost, Unread)
    assert lost.because.startswith("redis: REDIS_URL: no backend for 'sentinel://cache'")
    assert lost.because.endswith("[no-such-backend]")
    with pytest.raises(ConfigError, match="REDIS_URL: no backend for"):
        chosen([("redis", "-b")], around)


def test_connections_that_cannot_be_closed_are_told_and_the_others_closed(stranger) -> None:
    stranger(close=OSError("no"))
    gatherer = Gatherer(chosen([], HERE, without=backends.BACKENDS), Clock())

    assert gatherer.close() == ["strange at there: close: OSError: no"]


def test_a_misspelt_name_that_is_to_be_left_out_is_an_error_with_the_nearest(stranger) -> None:
    stranger()

    with pytest.raises(ConfigError) as refused:
        chosen([], HERE, without=[*backends.BACKENDS, "well", "redsi"])

    said = str(refused.value)
    assert said.startswith("--without: no backend 'redsi'; did you mean 'redis'? (mysql,")
    assert said.endswith("strange, well) [no-such-backend]")


@pytest.mark.parametrize(
    ("name", "variable", "said"),
    [
        ("queues", "OS_QA_RABBITMQ_API", "http://me:s3cret@broker:zz"),
        ("queues", "OS_QA_RABBITMQ_API", "http://me:s3cret/more@broker"),
        ("rabbitmq", "OS_QA_RABBITMQ_API", "me:s3cret@broker:15672/api"),
        ("kafka", "KAFKA_BOOTSTRAP_SERVERS", "SASL_SSL://me:s3cret@broker:9092"),
        ("kafka", "KAFKA_BOOTSTRAP_SERVERS", "me:s3cret@broker"),
        ("memcached", "MEMCACHED_SERVERS", "me:s3cret@cache:11211"),
        ("memcached", "MEMCACHED_SERVERS", "me:s3cret@cache"),
        ("redis", "REDIS_URL", "redis://:s3cret@[bad"),
        ("mongodb", "MONGODB_URI", "mongodb://me:s3cret@a:1,b:x/db"),
    ],
)
def test_nothing_that_is_said_of_a_variable_shows_a_password(
    name: str, variable: str, said: str
) -> None:
    try:
        (one,) = chosen([(name, "-b")], Surroundings({variable: said}, Path("/nowhere")))
    except ConfigError as error:
        told = str(error)
    else:
        told = f"{one.instance} {one}"

    assert "s3c" not in told
    assert variable in told or "broker" in told or "a:1" in told
