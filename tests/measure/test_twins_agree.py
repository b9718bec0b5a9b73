"""The Python file is the specification; the C twin does, says and refuses the same."""

import inspect
import types

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nilometer.clock import Clock
from nilometer.measure import Registry, _core, folding, pure
from nilometer.model import Distribution, Level
from nilometer.model.distribution import BOUNDARIES_63, bucket_of

PUBLIC = ["Arena", "Counter", "Family", "Gauge", "Lap", "Timer"]
HANDLES = ["Counter", "Gauge", "Timer"]


def registries():
    clock = Clock(lambda: 0, lambda: 0, lambda _s: None)
    return Registry(core=pure, clock=clock), Registry(core=_core, clock=clock)


def outcome(call):
    """What a call gives, or how it fails."""
    try:
        return call()
    except (Exception, GeneratorExit) as error:
        return type(error), str(error)


# --- the same values ------------------------------------------------------------------------

elapsed = st.one_of(
    st.integers(0, 200), st.integers(0, 2**42), st.integers(0, 2**63 - 1), st.integers()
)
numbers = st.one_of(st.integers(), st.floats(), st.booleans(), st.none(), st.text(max_size=2))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("record"), elapsed),
        st.tuples(st.just("add"), elapsed),
        st.tuples(st.just("set"), numbers),
        st.tuples(st.just("move"), numbers),
        st.tuples(st.just("bound"), st.dictionaries(st.sampled_from("abc"), numbers)),
        st.tuples(st.just("level"), st.sampled_from(list(Level))),
        st.tuples(st.just("fail"), st.sampled_from([KeyError, ValueError, GeneratorExit])),
        st.tuples(st.just("collect"), st.none()),
        st.tuples(st.just("reset"), st.none()),
    ),
    max_size=60,
)


def fail(timer, kind):
    with timer.lap():
        raise kind


def play(registry, script):
    """Do all of it; give all that was answered, refused and collected."""
    counter, gauge, timer = registry.counter("c"), registry.gauge("g"), registry.timer("t")
    do = {
        "record": timer.record,
        "add": counter.add,
        "set": gauge.set,
        "move": gauge.add,
        "bound": lambda dimensions: repr(counter.bind(**dimensions).add(2)),
        "level": lambda level: registry.set_level("", level),
        "fail": lambda kind: fail(timer, kind),
        "collect": lambda _none: registry.collect(),
        "reset": lambda _none: registry.reset_after_fork(),
    }
    seen = [outcome(lambda: do[what](value)) for what, value in script]  # noqa: B023
    registry.set_level("", Level.BASIC)
    return [*seen, registry.collect(), registry.instruments()]


@given(steps)
def test_the_twins_answer_collect_and_refuse_the_same(script):
    python, c = (play(registry, script) for registry in registries())

    assert repr(python) == repr(c)


@given(st.lists(st.integers(0, 3_600_000_000_000), max_size=1500))
@example([*range(1, 1400)])
def test_both_keep_exactly_the_distribution_of_the_model(values):
    for registry in registries():
        timer = registry.timer("t")
        for value in values:
            timer.record(value)
        expected = [Distribution.of(values)] if values else []

        assert [reading.value for reading in registry.collect()[0]] == expected


def test_every_bucket_has_the_same_edges_in_both():
    edges = {
        edge + step
        for octave in range(42)
        for boundary in BOUNDARIES_63
        for edge in [boundary >> (63 - octave)]
        for step in (-1, 0, 1)
        if edge + step > 0
    }
    for edge in sorted(edges):
        expected = {min(bucket_of(edge), folding.BUCKET_MAX): 1}
        for registry in EDGES:
            registry.timer("t").record(edge)
            assert registry.timer("t").take()[4] == expected, edge


EDGES = registries()


def test_the_boundaries_in_c_are_those_of_the_model():
    assert _core.BOUNDARIES_63 == BOUNDARIES_63


# --- the same words -------------------------------------------------------------------------


@pytest.mark.parametrize("name", HANDLES)
def test_the_twins_say_the_same_of_themselves(name):
    python, c = getattr(pure, name), getattr(_core, name)
    public = [
        attribute
        for attribute in dir(python)
        if not attribute.startswith("_") and attribute not in {"fold", "dimensions", "family"}
    ]

    assert python.__doc__.split() == c.__doc__.split()
    for attribute in public:
        one, other = getattr(python, attribute), getattr(c, attribute)
        if isinstance(one, (types.FunctionType, property)):
            assert one.__doc__ == other.__doc__, attribute
        if isinstance(one, types.FunctionType):
            assert list(inspect.signature(one).parameters) == list(
                inspect.signature(other).parameters
            ), attribute


@pytest.mark.parametrize("name", PUBLIC)
def test_the_c_types_cannot_be_changed_or_subclassed(name):
    kind = getattr(_core, name)

    with pytest.raises(TypeError, match="is not an acceptable base type"):
        type("Mine", (kind,), {})
    with pytest.raises(TypeError, match="immutable type"):
        kind.mine = 1


class Odd:
    def __index__(self):
        raise KeyError("index")


class Floaty:
    def __float__(self):
        return 2.5


@pytest.mark.parametrize(
    "value",
    [
        *(-1, 2**63, -(2**80), 2**63 - 1, -(2**63), -(2**63) - 1, 10**400, True),
        *(3.5, float("nan"), float("inf"), float("-inf"), 1e308),
        *("7", b"1", None, [], int, Odd(), Floaty()),
    ],
)
@pytest.mark.parametrize("use", ["counter.add", "timer.record", "gauge.set", "gauge.add"])
def test_odd_values_are_refused_with_the_same_words_and_leave_no_trace(use, value):
    seen = []
    for registry in registries():
        made, method = use.split(".")
        instrument = getattr(registry, made)("x")
        if made == "gauge":
            instrument.set(1e308)
        answer = outcome(lambda: getattr(instrument, method)(value))  # noqa: B023
        if answer is not None and made != "gauge":
            assert registry.collect() == ((), ())
        seen.append((answer, registry.collect()))

    assert repr(seen[0]) == repr(seen[1])


def test_a_dimension_whose_text_fails_is_told_in_the_same_words():
    class Silent:
        def __str__(self):
            raise OSError("no words")

    children = [r.counter("c").bind(a=Silent()) for r in registries()]

    assert [child.dimensions for child in children] == [
        (("a", "<Silent: OSError in str>"),)
    ] * 2
