"""What a session spent, as text, as JSON, and as the sum of several sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer.pytest_plugin.budgets import TIMES, printable
from nilometer.pytest_plugin.recording import REQUESTS, STATEMENTS, Call
from nilometer.pytest_plugin.spent import digest_of, sound

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest

    from nilometer.pytest_plugin.spent import Session, Spent

TESTS_SHOWN: Final = 10
CALLS_SHOWN: Final = 5


def show(session: Session, terminal: pytest.TerminalReporter) -> None:
    """The tests with most statements, and the statements made most often from one line."""
    tests = session.of_tests()
    statements, requests = (
        sum(spent.counts.get(kind, 0) for spent in tests.values())
        for kind in (STATEMENTS, REQUESTS)
    )
    terminal.section("nilometer")
    terminal.write_line(
        f"{len(tests)} tests: {statements} SQL statements, {requests} HTTP requests"
    )
    ranked = sorted(tests.items(), key=lambda item: (_cost(item[1]), item[0]))[:TESTS_SHOWN]
    for name, spent in ranked:
        if any(_cost(spent)):
            counts = spent.counts.get(STATEMENTS, 0), spent.counts.get(REQUESTS, 0)
            terminal.write_line(f"{counts[0]:8} statements {counts[1]:5} requests  {name}")
    calls: dict[Call, int] = {}
    for spent in tests.values():
        for call, times in spent.calls.items():
            calls[call] = calls.get(call, 0) + times
    for call, times in sorted(calls.items(), key=lambda item: (-item[1], item[0]))[
        :CALLS_SHOWN
    ]:
        terminal.write_line(f"{times:8} {TIMES} {printable(call.text)}")
        if call.where:
            terminal.write_line(f"{'':10} {printable(call.where)}")
    _show_backends(session, terminal)


def show_unread(session: Session, terminal: pytest.TerminalReporter) -> None:
    """Backends of which nothing is known; whoever asked for them hears it in any case."""
    for backend, because in _unread(session):
        terminal.write_line(f"nilometer: {backend}: {printable(because)}")


def _unread(session: Session) -> list[tuple[str, str]]:
    """The backends of which nothing is known, in the whole run or in tests of it, and why."""
    tests: dict[tuple[str, str], int] = {}
    for of_test in session.backends_by_test.values():
        for backend, told in of_test.items():
            if told.get("because"):
                key = backend, told["because"]
                tests[key] = tests.get(key, 0) + 1
    whole = [
        (b, told["because"]) for b, told in session.backends.items() if told.get("because")
    ]
    of = len(session.backends_by_test)
    return sorted(
        whole + [(b, f"in {n} of {of} tests: {why}") for (b, why), n in tests.items()]
    )


def _show_backends(session: Session, terminal: pytest.TerminalReporter) -> None:
    for backend, because in _unread(session):
        terminal.write_line(f"{backend}: {printable(because)}")
    for backend, told in sorted(session.backends.items()):
        ranked = sorted(told["counts"].items(), key=lambda item: (-abs(item[1]), item[0]))
        for counter, n in ranked[:CALLS_SHOWN]:
            terminal.write_line(f"{n:8} {printable(counter)}  {backend}")


def _cost(spent: Spent) -> tuple[int | float, int | float]:
    """Smaller for what costs more."""
    return -spent.counts.get(STATEMENTS, 0), -spent.counts.get(REQUESTS, 0)


def document(session: Session) -> dict[str, Any]:
    """Everything, as `--nilometer-json` writes it."""
    return {
        "work": len(session.ran),
        "test_set": session.test_set,
        "tests": [
            {"test": name, **_plain(spent), **_backends(session.backends_by_test.get(name))}
            for name, spent in session.of_tests().items()
        ],
        "fixtures": [
            {"fixture": name, **_plain(spent)}
            for name, several in sorted(session.fixtures.items())
            for spent in several
        ],
        **({"backends": session.backends} if session.backends else {}),
    }


def _backends(told: dict[str, Any] | None) -> dict[str, Any]:
    return {"backends": told} if told else {}


def _plain(spent: Spent) -> dict[str, Any]:
    ranked = sorted(spent.calls.items(), key=lambda item: (-item[1], item[0]))
    return {
        "counts": dict(sorted(spent.counts.items())),
        "calls": [
            {"kind": c.kind, "text": sound(c.text), "where": sound(c.where), "times": times}
            for c, times in ranked
        ],
    }


def together(earlier: Any, later: Mapping[str, Any]) -> dict[str, Any]:
    """What two runs of pytest within one command told, added up."""
    if not isinstance(earlier, dict) or not isinstance(earlier.get("counts"), list):
        return dict(later)
    counts: dict[tuple[Any, ...], dict[str, Any]] = {}
    for count in (*earlier["counts"], *later["counts"]):
        dimensions = tuple(sorted(count.get("dimensions", {}).items()))
        key = (count["backend"], count["counter"], dimensions)
        known = counts.get(key)
        counts[key] = {**count, "delta": count["delta"] + (known["delta"] if known else 0)}
    return {
        "work": earlier.get("work", 0) + later["work"],
        "test_set": digest_of([str(earlier.get("test_set", "")), later["test_set"]]),
        "counts": sorted(counts.values(), key=lambda count: bool(count.get("dimensions"))),
    }
