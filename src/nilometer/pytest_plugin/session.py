"""One run of pytest: what each test spends, wherever it runs, put together at the end.

A test's own are the statements from its setup to the end of its teardown. They travel with the
report of its teardown, so that processes of pytest-xdist need nothing else, and one that dies
takes only its last test along. What fixtures of a wider scope do counts for them.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from nilometer.integrations.callers import show_files_from
from nilometer.pytest_plugin import instruments, summary
from nilometer.pytest_plugin.listening import LISTENING
from nilometer.pytest_plugin.recording import Ledger
from nilometer.pytest_plugin.spent import Session as Everything
from nilometer.pytest_plugin.spent import Spent

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from nilometer.pytest_plugin.backends import Backends

VARIABLE: Final = "NILOMETER_RUN_FILE"
COUNTS_MAX: Final = 200_000  # as many as `measure` reads; the totals come first
ATTRIBUTE: Final = "nilometer"  # of the report that carries what was spent


class Owner:
    """Somebody to whom all that the process does is put down: a test, or a shared fixture."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._ledger = Ledger(takes_all=True)
        self._moved: dict[str, int | float] = {}
        self._before: Mapping[str, int | float] = {}

    def resume(self) -> None:
        """It is its turn."""
        self._before = instruments.tap().now()
        self._ledger.open()

    def pause(self) -> None:
        """It is somebody else's turn."""
        self._ledger.close()
        moved = instruments.moved(dict(self._before), instruments.tap().now())
        for name, n in moved.items():
            self._moved[name] = self._moved.get(name, 0) + n

    def spent(self) -> Spent:
        """What it did in all its turns."""
        return Spent.of(self._ledger, self._moved)


class Session:
    """The hooks of a run in which each test is counted."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._is_worker = hasattr(config, "workerinput")
        # A program that a test starts must not write to it, too.
        self._run_file = "" if self._is_worker else os.environ.pop(VARIABLE, "")
        self._turns: list[Owner] = []
        self._ended: list[Owner] = []
        self.everything = Everything()
        self._json = _writable(config)
        self._unwritten = ""
        mode = config.getoption("--nilometer-backends")
        self._backends: Backends | None = None
        if mode and not self._is_worker:
            from nilometer.pytest_plugin.backends import Backends

            self._backends = Backends(config, mode)
        show_files_from(str(config.rootpath))
        LISTENING.begin()

    def end(self) -> None:
        """Give back what was taken from the environment."""
        if self._turns:  # an interrupt has left somebody's turn open
            self._turns.pop().pause()
        if self._run_file:
            os.environ[VARIABLE] = self._run_file
        if self._backends is not None:
            self._backends.end()

    # --- whose turn it is -------------------------------------------------------------------

    def _take_turn(self, owner: Owner) -> None:
        if self._turns:
            self._turns[-1].pause()
        self._turns.append(owner)
        owner.resume()

    def _end_turn(self, owner: Owner) -> None:
        if not self._turns or self._turns[-1] is not owner:
            return  # a fixture whose end was cut short by an interrupt
        self._turns.pop().pause()
        if self._turns:
            self._turns[-1].resume()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """The test's turn begins."""
        LISTENING.begin()
        if self._backends is not None and self._backends.mode == "test":
            self._backends.open()
        self._take_turn(Owner(item.nodeid))
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """The test's turn ends with its teardown."""
        if call.when != "teardown":
            return (yield)
        told: dict[str, Any] = {}
        owner = next((one for one in self._turns if one.name == item.nodeid), None)
        if owner is not None:
            self._end_turn(owner)
            told["test"] = owner.spent().plain()
            if self._backends is not None and self._backends.mode == "test":
                self.everything.backends_by_test[item.nodeid] = self._backends.close()
        told["fixtures"] = [[one.name, one.spent().plain()] for one in self._ended]
        self._ended.clear()
        report = yield
        setattr(report, ATTRIBUTE, told)
        return report

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any]
    ) -> Generator[None, Any, Any]:
        """A fixture that several tests share pays for itself, also when it is taken down."""
        if fixturedef.scope == "function":
            return (yield)
        owner = Owner(f"{fixturedef.baseid or '.'}::{fixturedef.argname}")
        fixturedef.addfinalizer(lambda: self._fixture_ends(owner))  # runs last
        self._take_turn(owner)
        try:
            return (yield)
        finally:
            self._end_turn(owner)
            fixturedef.addfinalizer(lambda: self._take_turn(owner))  # runs first

    def _fixture_ends(self, owner: Owner) -> None:
        self._end_turn(owner)
        if any(owner.spent().counts.values()):
            self._ended.append(owner)

    # --- putting together -------------------------------------------------------------------

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in what a test spent, in whatever process it ran."""
        if report.when == "call":
            if not report.skipped or hasattr(report, "wasxfail"):
                self.everything.ran.add(report.nodeid)
        elif report.when == "setup" and report.failed:
            self.everything.ran.add(report.nodeid)
        told = getattr(report, ATTRIBUTE, None)
        if told is None:
            return
        if "test" in told:
            self.everything.tests[report.nodeid] = Spent.read(told["test"])
        for name, spent in told["fixtures"]:
            self.everything.fixtures.setdefault(name, []).append(Spent.read(spent))

    def pytest_sessionstart(self) -> None:
        """The run begins."""
        if self._backends is not None and self._backends.mode == "session":
            self._backends.open()

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Write what was asked for."""
        if self._is_worker:
            return
        if self._backends is not None and self._backends.mode == "session":
            self.everything.backends = self._backends.close()
        by = self._config.getoption("--nilometer-by")
        if self._run_file:
            with suppress(OSError):  # `measure` says that it was told nothing
                write_run_file(Path(self._run_file), self.everything, by)
        if self._json is not None:
            text = json.dumps(summary.document(self.everything), indent=1)
            try:
                self._json.write_text(text + "\n", encoding="utf-8")
            except OSError as error:
                self._unwritten = f"--nilometer-json {self._json}: {error.strerror or error}"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show what costs most."""
        config = self._config
        if config.getoption("--nilometer-report") or config.getoption("verbose") > 0:
            summary.show(self.everything, terminalreporter)
        else:
            summary.show_unread(self.everything, terminalreporter)
        if self._unwritten:
            terminalreporter.write_line(self._unwritten, red=True)


def _writable(config: pytest.Config) -> Path | None:
    """The file for the counts, from where pytest was started. Raises pytest.UsageError."""
    given = config.getoption("--nilometer-json")
    if not given:
        return None
    file = Path(config.invocation_params.dir, given)
    if file.is_dir() or not file.parent.is_dir():
        raise pytest.UsageError(f"--nilometer-json {given}: no file can be written there")
    return file


def write_run_file(file: Path, everything: Everything, by: str) -> None:
    """Tell `nilometer measure` what ran and what it took. Raises OSError.

    Where an earlier run of pytest within the same command has written one, both are told.
    """
    told: dict[str, Any] = {
        "work": len(everything.ran),
        "test_set": everything.test_set,
        "counts": everything.counts(by),
    }
    with suppress(FileNotFoundError, ValueError):  # the first, or what is there says nothing
        told = summary.together(json.loads(file.read_text(encoding="utf-8")), told)
    told["counts"] = told["counts"][:COUNTS_MAX]
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    draft.write_text(json.dumps(told), encoding="utf-8")
    draft.replace(file)
