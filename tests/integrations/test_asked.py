"""What stands where connections are asked for, or made, or asked whether they live."""

from __future__ import annotations

import importlib
from inspect import signature

import pytest


@pytest.fixture(params=["sql_pure", "_sql"], ids=["python", "c"])
def sql_twin(request):
    """Every test that asks for it runs once per twin."""
    return importlib.import_module(f"nilometer.integrations.{request.param}")


class Told:
    """What was told, in order; and a clock that goes on by 7 each time it is read."""

    def __init__(self):
        self.said = []
        self.now = 0

    def clock(self):
        self.now += 7
        return self.now

    def asked(self, twin, original):
        return twin.Asked(
            original,
            lambda error: self.said.append(("failed", error)),
            lambda n: self.said.append(("pending", n)),
            lambda ns: self.said.append(("record", ns)),
            self.clock,
        )


def answering(*args, **named):
    """An answer of its arguments."""
    return args, named


def test_who_asks_is_pending_meanwhile_and_timed(sql_twin):
    told = Told()

    def original(*args, **named):
        told.said.append("asked")
        return answering(*args, **named)

    assert told.asked(sql_twin, original)(1, key=2) == ((1,), {"key": 2})
    assert told.said == [("pending", 1), "asked", ("record", 7), ("pending", -1)]


@pytest.mark.parametrize("is_on", [False, True])
def test_what_stands_for_a_function_takes_arguments_of_any_name(sql_twin, is_on):
    given = {"self": 1, "original": 2, "measured": 3, "args": 4}
    made = (
        sql_twin.Switch(answering, answering),
        sql_twin.Choice(answering, lambda **_: answering),
    )
    for one in made:
        one.on = is_on
        assert one(**given) == ((), given)


@pytest.fixture
def unraisable(monkeypatch):
    """What was raised where nobody can take it."""
    said = []
    monkeypatch.setattr("sys.unraisablehook", lambda one: said.append(repr(one.exc_value)))
    return said


def test_a_clock_that_fails_is_none_of_the_application_s_business(unraisable):
    """Of C alone: the Python twin asks a clock as it asks anything else."""
    from nilometer.integrations import _sql

    def clock():
        raise RuntimeError("no time")

    told = Told()
    told.clock = clock
    assert told.asked(_sql, answering)(1) == ((1,), {})
    assert told.said == [("pending", 1), ("record", 0), ("pending", -1)]
    execute = _sql.Execute(answering, {"s": (told.said.append, None)}, None, None, clock)
    assert execute(1, "s") == ((1, "s"), {})
    assert told.said[3:] == [0]
    assert unraisable == ["RuntimeError('no time')"] * 4


class Odd(str):
    """A statement whose own ways fail."""

    failing = ""

    def __hash__(self):
        if self.failing == "hash":
            raise ZeroDivisionError(self.failing)
        return str.__hash__(self)

    def __eq__(self, other):
        raise ZeroDivisionError("eq")


@pytest.mark.parametrize("failing", ["hash", "eq"])
def test_a_statement_that_cannot_be_looked_up_is_executed_and_asked_about(sql_twin, failing):
    asked, told, statement = [], [], Odd("select 1")
    statement.failing = failing

    def find(given):
        asked.append(given)
        return told.append, None

    known = {"select 1": (told.append, None)}
    execute = sql_twin.Execute(answering, known, find, None, lambda: 7)
    args, _ = execute("cursor", statement)

    assert args[1] is asked[0] is statement
    assert told == [0]


def test_an_interrupt_while_a_statement_is_looked_up_passes(sql_twin):
    class Interrupted:
        def __hash__(self):
            raise KeyboardInterrupt

    execute = sql_twin.Execute(answering, {}, None, None, lambda: 7)
    with pytest.raises(KeyboardInterrupt):
        execute("cursor", Interrupted())


def test_what_is_raised_is_told_and_passes(sql_twin):
    told, error = Told(), KeyError("x")

    def original():
        raise error

    with pytest.raises(KeyError) as raised:
        told.asked(sql_twin, original)()

    assert raised.value is error
    assert told.said == [("pending", 1), ("record", 7), ("pending", -1), ("failed", error)]


@pytest.mark.parametrize(
    ("answer", "failures"), [(True, []), (None, []), (0, []), (False, [None])]
)
def test_a_ping_that_says_false_has_failed(sql_twin, answer, failures):
    failed = []

    assert sql_twin.Asked(lambda: answer, failed.append)() is answer
    assert failed == failures


def test_what_is_off_only_passes_on(sql_twin):
    told = Told()
    asked = told.asked(sql_twin, answering)
    asked.on = False
    connecting = sql_twin.Connecting(answering, None, "open")
    switch = sql_twin.Switch(answering, None)
    choice = sql_twin.Choice(answering, None)
    connecting.on = switch.on = choice.on = False

    assert asked(1, k=2) == switch(1, k=2) == choice(1, k=2) == ((1,), {"k": 2})
    assert connecting(Closed, k=2) == ((Closed,), {"k": 2})
    assert told.said == []


class Closed:
    """A connection that is to be made."""

    open = None


class Open:
    """One that is there."""

    open = "socket"


def test_a_connection_is_made_unless_it_is_there_or_does_not_say(sql_twin):
    connecting = sql_twin.Connecting(
        lambda of, n=0: ("passed on", of, n), lambda of, n=0: ("made", of, n), "open"
    )

    assert connecting(Closed, n=3) == ("made", Closed, 3)
    assert connecting(Open, 4) == ("passed on", Open, 4)
    assert connecting(object, 5) == ("passed on", object, 5)
    with pytest.raises(TypeError):
        connecting()


def test_in_a_class_a_connect_is_a_method(sql_twin):
    kind = type("Connection", (Closed,), {})
    kind.connect = sql_twin.Connecting(answering, answering, "open")
    one = kind()

    assert one.connect(1) == ((one, 1), {})


def test_in_a_class_a_switch_and_a_choice_are_methods(sql_twin):
    kind = type("Client", (), {})
    kind.send = sql_twin.Switch(None, answering)
    kind.call = sql_twin.Choice(None, lambda *args, **named: answering)
    one = kind()

    assert one.send(1, k=2) == one.call(1, k=2) == ((one, 1), {"k": 2})


def test_what_is_chosen_for_a_call_is_called_with_what_it_was_given(sql_twin):
    seen = []

    def choose(*args, **named):
        seen.append((args, named))
        return min if len(args) > 1 else answering

    choice = sql_twin.Choice(None, choose)

    assert choice(3, 2, key=abs) == 2
    assert choice(4) == ((4,), {})
    assert seen == [((3, 2), {"key": abs}), ((4,), {})]


@pytest.mark.parametrize("failing", ["choosing", "the chosen"])
def test_what_a_choice_or_a_switch_raises_is_raised(sql_twin, failing):
    def fail(*_):
        raise ZeroDivisionError(failing)

    choice = sql_twin.Choice(None, fail if failing == "choosing" else lambda: fail)
    for one in (choice, sql_twin.Switch(None, fail)):
        with pytest.raises(ZeroDivisionError, match=failing):
            one()


def test_they_say_what_they_stand_for(sql_twin):
    def connect(host, port):
        """Connect."""

    found = (
        sql_twin.Asked(connect, print),
        sql_twin.Connecting(connect, print, "open"),
        sql_twin.Execute(connect, {}, print, print, int),
        sql_twin.Switch(connect, print),
        sql_twin.Choice(connect, print),
    )
    for one in found:
        assert (one.__wrapped__, one.__name__) == (connect, "connect")
        assert list(signature(one).parameters) == ["host", "port"]
