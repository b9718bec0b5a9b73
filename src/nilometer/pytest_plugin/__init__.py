"""What each test costs: statements, requests and instruments counted, and budgets for them.

`pytest --nilometer` counts for every test; the fixture `nilometer_budget`, which needs no flag,
fails a test that does more than it may:

    def test_the_list_of_orders(nilometer_budget):
        with nilometer_budget(sql_statements=3):
            orders()

The marker of the same name, ``@pytest.mark.nilometer_budget(sql_statements=3)``, takes the
whole test.

pytest loads this module at every start, so it loads nothing of ours until it is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from nilometer.pytest_plugin.budgets import Budget

__all__ = ["budget", "nilometer_budget"]

NAME: Final = "nilometer-session"
FLAGS: Final = (
    "--nilometer",
    "--nilometer-report",
    "--nilometer-json",
    "--nilometer-backends",
)
"""Each of these asks for counting; the others say how."""


def budget(
    *,
    sql_statements: int | None = None,
    http_requests: int | None = None,
    instruments: Mapping[str, int] | None = None,
    **by_name: int,
) -> Budget:
    """``with budget(sql_statements=3):`` fails if the block makes more than three.

    Any instrument of Nilometer can be named with underscores for its dots, or as it is called
    in `instruments`; a timer counts how often it was used. Raises BudgetError.
    """
    from nilometer.pytest_plugin.budgets import Budget

    limits: dict[str, int] = {**by_name, **(instruments or {})}
    if sql_statements is not None:
        limits["sql_statements"] = sql_statements
    if http_requests is not None:
        limits["http_requests"] = http_requests
    return Budget(limits)


@pytest.fixture(scope="session")
def nilometer_budget(pytestconfig: pytest.Config) -> Callable[..., Budget]:
    """``with nilometer_budget(sql_statements=3): ...`` fails if it makes more than three."""
    from nilometer.integrations.callers import show_files_from

    show_files_from(str(pytestconfig.rootpath))
    return budget


@pytest.hookimpl(hookwrapper=True)  # the form that every pytest knows
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, None]:
    """Hold a test that is marked to its budget; its fixtures are not counted."""
    marker = item.get_closest_marker("nilometer_budget")
    if marker is None:
        yield
        return
    from nilometer.integrations.callers import show_files_from
    from nilometer.pytest_plugin.budgets import BudgetError

    show_files_from(str(item.config.rootpath))
    try:
        if marker.args or not marker.kwargs:
            raise BudgetError(
                "the marker nilometer_budget takes its limits by name: (sql_statements=3)",
                slug="budget-invalid",
            )
        limits = budget(**marker.kwargs)
        limits.__enter__()
    except BudgetError as error:
        pytest.fail(f"BudgetError: {error}", pytrace=False)
    outcome = yield
    try:
        limits.__exit__(*(outcome.excinfo or (None, None, None)))
    except BudgetError as error:
        outcome.force_exception(pytest.fail.Exception(f"BudgetError: {error}", pytrace=False))


def pytest_addoption(parser: pytest.Parser) -> None:
    """The flags, and the setting of pytest.ini that stands for the first."""
    group = parser.getgroup("nilometer", "what each test costs (Nilometer)")
    group.addoption(
        "--nilometer",
        action="store_true",
        help="count SQL statements, HTTP requests and instruments of each test",
    )
    group.addoption(
        "--nilometer-report",
        action="store_true",
        help="show what costs most at the end, as -v does",
    )
    group.addoption(
        "--nilometer-json", metavar="FILE", default="", help="write all counts to this file"
    )
    group.addoption(
        "--nilometer-by",
        choices=("test", "module"),
        default="test",
        help="tell counts apart by test or by module (default: test)",
    )
    group.addoption(
        "--nilometer-backends",
        choices=("session", "test"),
        help="count what databases and brokers do, in the whole run or, one by one, per test",
    )
    group.addoption(
        "--nilometer-backend",
        metavar="URL",
        action="append",
        default=[],
        help="a backend to read; without it those of the settings, else all that are found",
    )
    parser.addini("nilometer", "count as --nilometer does", type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Begin, if asked to."""
    config.addinivalue_line(
        "markers",
        "nilometer_budget(sql_statements=3, ...): fail the test if it does more than this",
    )
    if config.getini("nilometer") or any(config.getoption(flag) for flag in FLAGS):
        from nilometer.pytest_plugin.session import Session

        config.pluginmanager.register(Session(config), NAME)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave nothing behind."""
    import sys

    session = config.pluginmanager.get_plugin(NAME)
    if session is not None:
        config.pluginmanager.unregister(session)
        session.end()
    if "nilometer.pytest_plugin.listening" in sys.modules:
        from nilometer.pytest_plugin.instruments import let_go
        from nilometer.pytest_plugin.listening import LISTENING

        LISTENING.end()
        let_go()
