"""What the tests of a session spent, put together from the reports of all its processes."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.pytest_plugin.recording import HEARD, Call

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from nilometer.pytest_plugin.recording import Ledger

    Number = int | float

OWN: Final = "tests"
"""The backend under whose name a run holds what its tests did themselves."""

SHARED: Final = "fixtures."
"""Before the names of what fixtures spent that several tests share: who comes first makes them,
and with several processes each makes its own, so that it is no test's."""

WORDS: Final = {
    "sql.statements": "statement",
    "http.requests": "request",
    "messages.published": "message",
}
"""What the text of a call is called among the dimensions of its part."""


class Spent(NamedTuple):
    """What one test, or one making and ending of a shared fixture, did."""

    counts: Mapping[str, Number]
    calls: Mapping[Call, int]

    @classmethod
    def of(cls, ledger: Ledger, moved: Mapping[str, Number]) -> Spent:
        """What a ledger noted, and how far the instruments moved meanwhile."""
        return cls({**moved, **ledger.counts}, dict(ledger.calls))

    @classmethod
    def read(cls, told: Any) -> Spent:
        """The inverse of `plain`."""
        return cls(told["counts"], {Call(*words): times for *words, times in told["calls"]})

    def plain(self) -> dict[str, Any]:
        """Lists and dictionaries, which a report may carry from one process to another."""
        calls = [[*map(sound, call), times] for call, times in self.calls.items()]
        return {"counts": dict(self.counts), "calls": calls}


def sound(text: str) -> str:
    """A text that can be encoded, whatever was in it."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class Session:
    """Everything that was spent. A test is known by its node id: run again it counts once."""

    def __init__(self) -> None:
        self.ran: set[str] = set()
        self.tests: dict[str, Spent] = {}
        self.fixtures: dict[str, list[Spent]] = {}
        self.backends: dict[str, Any] = {}
        self.backends_by_test: dict[str, dict[str, Any]] = {}

    @property
    def test_set(self) -> str:
        """The digest of the tests that ran, the same in any order; empty if none did."""
        return digest_of(self.ran)

    def of_tests(self) -> dict[str, Spent]:
        """What the tests spent that ran; those that were skipped did no work."""
        return {name: one for name, one in sorted(self.tests.items()) if name in self.ran}

    def counts(self, by: str) -> list[dict[str, Any]]:
        """All counts as `nilometer measure` reads them: totals first, then their parts."""
        totals: dict[str, Number] = {}
        parts: dict[tuple[str, tuple[tuple[str, str], ...]], Number] = {}
        for name, spent in self.of_tests().items():
            owner = name if by == "test" else name.partition("::")[0]
            _add(totals, parts, "", spent, (by, owner))
        for name, several in sorted(self.fixtures.items()):
            for spent in several:
                _add(totals, parts, SHARED, spent, ("fixture", name))
        first = [_count(OWN, name, n, ()) for name, n in sorted(totals.items()) if n]
        ranked = sorted(parts.items(), key=lambda item: (-abs(item[1]), item[0]))
        return [
            *first,
            *(_count(OWN, name, n, of) for (name, of), n in ranked if n),
            *self._counts_of_backends(by),
        ]

    def _counts_of_backends(self, by: str) -> Iterator[dict[str, Any]]:
        """What each test moved in each backend; the totals are `measure`'s to read."""
        moved: dict[tuple[str, str, str], Number] = {}
        for name, backends in sorted(self.backends_by_test.items()):
            if name not in self.ran:
                continue
            owner = name if by == "test" else name.partition("::")[0]
            for backend, told in backends.items():
                for counter, n in told["counts"].items():
                    key = (backend, counter, owner)
                    moved[key] = moved.get(key, 0) + n
        for (backend, counter, owner), n in moved.items():
            yield _count(backend, counter, n, ((by, owner),))


def _add(
    totals: dict[str, Number],
    parts: dict[tuple[str, tuple[tuple[str, str], ...]], Number],
    prefix: str,
    spent: Spent,
    owner: tuple[str, str],
) -> None:
    for counter, n in spent.counts.items():
        name = prefix + counter
        totals[name] = totals.get(name, 0) + n
        key: tuple[str, tuple[tuple[str, str], ...]] = (name, (owner,))
        parts[key] = parts.get(key, 0) + n
    for call, times in spent.calls.items():
        told = ((WORDS[call.kind], call.text), ("caller", call.where))
        key = (prefix + call.kind, tuple((word, text) for word, text in told if text))
        parts[key] = parts.get(key, 0) + times


def _count(
    backend: str, counter: str, delta: Number, dimensions: Iterable[tuple[str, str]]
) -> dict[str, Any]:
    said = {name: sound(value) for name, value in dimensions}
    return {
        "backend": backend,
        "counter": counter,
        "delta": delta,
        "unit": "1",
        **({"dimensions": said} if said else {}),
    }


def digest_of(names: Iterable[str]) -> str:
    """The digest of a set of names, as `nilometer measure` makes it of a JUnit file."""
    text = "\n".join(sorted(names)).encode("utf-8", "backslashreplace")
    return blake2b(text, digest_size=8).hexdigest() if text else ""


assert set(WORDS) == set(HEARD)
