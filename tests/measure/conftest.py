"""Every test of measure/ that asks for a registry runs once per twin."""

from importlib import import_module

import pytest

from nilometer.clock import Clock
from nilometer.measure import Registry

TWINS = {"python": "nilometer.measure.pure", "c": "nilometer.measure._core"}


class Hands:
    """A clock moved by hand: `elapsed_ns` and `wall_ns` are what it shows."""

    def __init__(self):
        self.elapsed_ns = 0
        self.wall_ns = 1_000
        self.clock = Clock(lambda: self.elapsed_ns, lambda: self.wall_ns, lambda _s: None)


@pytest.fixture(params=TWINS)
def core(request):
    return import_module(TWINS[request.param])


@pytest.fixture
def hands():
    return Hands()


@pytest.fixture
def registry(core, hands):
    return Registry(core=core, clock=hands.clock)


def moved(registry):
    """What a collect gives: value by name and dimensions; timers as (samples, total)."""
    readings, _events = registry.collect()
    return {
        (reading.name, *(f"{key}={value}" for key, value in reading.dimensions)): (
            reading.value
            if isinstance(reading.value, (int, float))
            else (reading.value.samples, reading.value.total)
        )
        for reading in readings
    }
