"""Several backends of one kind in a run: each is what it is alone, under another name."""

from __future__ import annotations

from nilometer.counters.apart import apart
from nilometer.counters.figures import Figures


class Lagging:
    """A backend that learns at a read that its figures lag, as PostgreSQL does."""

    name = "postgresql"
    settle_s = 0.0
    servers = (("postgresql", "started then"),)

    def __init__(self, instance: str) -> None:
        self.instance = instance

    def read(self) -> Figures:
        self.settle_s = 10.0
        return Figures({("xact_commit", ()): 1}, "", "")

    def facts(self) -> dict:
        return {}

    def close(self) -> None:
        """Nothing is open."""


def test_each_of_several_is_waited_for_as_it_would_be_alone() -> None:
    one, other = apart([Lagging("a"), Lagging("b")])

    one.read()

    assert (one.settle_s, other.settle_s) == (10.0, 0.0)


def test_each_of_several_has_its_place_in_its_name_and_one_alone_has_not() -> None:
    assert [backend.name for backend in apart([Lagging("a"), Lagging("b")])] == [
        "postgresql@a",
        "postgresql@b",
    ]
    assert [backend.name for backend in apart([Lagging("a")])] == ["postgresql"]
