"""The benchmark runs, and measures what was promised; what it measures decides no test."""

from __future__ import annotations

import dis
import json
import statistics
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # the benchmark is not part of the package

from bench import integrations  # noqa: E402
from bench.page import write  # noqa: E402
from bench.pairs import Added, Pair, added, calls, median_bounds, spent  # noqa: E402
from bench.peers import nilometer_library  # noqa: E402
from bench.peers.floor import two_clocks  # noqa: E402
from bench.run import (  # noqa: E402
    PEERS,
    Measured,
    judged,
    measure_all,
    modules,
    table_of,
    together,
    verdict,
)
from bench.targets import FLOOR_NS, TARGETS, Target  # noqa: E402
from nilometer.trace import drain_spans  # noqa: E402

ELSEWHERE = "nilometer_sqlalchemy14"  # has an environment of its own
PYLIBMC = ("pylibmc",) if sys.version_info < (3, 12) else ()  # it comes ready-made for 3.11
OURS = [
    (name, case)
    for name in modules()
    if name.startswith("nilometer_") and name != ELSEWHERE
    for case in import_module(f"bench.peers.{name}").CASES
    if PYLIBMC or not case.startswith("pylibmc ")
]


def test_every_target_names_a_case_that_is_measured() -> None:
    assert {target.case for target in TARGETS} <= {case for _, case in OURS}


def test_each_file_of_cases_is_some_peer_s() -> None:
    assert {module for _, module, _ in PEERS} == set(modules())


def measured(*floors: float, **other: Any) -> Measured:
    """A case that took from so many floors to so many."""
    told = {"thread_ns": 15, "process_ns": 15, "spread": 1, "floor_ns": 2 * FLOOR_NS}
    low, high = floors
    return Measured("counter", "nilometer C", **told | other, floors_low=low, floors_high=high)


def test_a_target_is_met_or_missed_only_where_all_of_the_uncertainty_is_on_one_side() -> None:
    target = Target("counter", "nilometer C", FLOOR_NS)  # one floor

    assert [
        verdict(target, measured(low, high))["verdict"]
        for low, high in [(0.8, 1.0), (0.9, 1.1), (1.0, 1.01), (1.01, 1.2)]
    ] == ["met", "within noise", "within noise", "missed"]


def test_processes_that_disagree_give_no_verdict() -> None:
    one = Added(10, 10, 1, 100, 136, 5, 0.8, 0.9)
    other = Added(14, 14, 3, 100, 150, 4, 1.1, 1.2)
    both = together("counter", "nilometer C", [one, other])

    assert both == Measured("counter", "nilometer C", 12, 12, 3, 143, 5, 0.8, 1.2)
    assert verdict(Target("counter", "nilometer C", FLOOR_NS), both)["verdict"] == (
        "within noise"
    )


def test_a_machine_that_changes_its_speed_while_it_measures_changes_no_ratio(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The floor takes its turn in each round: at half the speed both cost twice."""
    clock = {"now_ns": 0, "tick": 0}
    monkeypatch.setattr(time, "thread_time_ns", lambda: clock["now_ns"])

    def costing(ns: int) -> Any:
        def loop(times: int) -> None:
            clock["tick"] += 1
            slow = 2 if clock["tick"] % 80 > 40 else 1
            clock["now_ns"] += times * ns * slow

        return loop

    case = Pair(costing(100), costing(700))
    found = added(case, Pair(costing(100), costing(300)), rounds=41)

    assert found.thread_ns in (600, 1200)
    assert found.spread > 0
    assert 2.5 < found.floors_low <= 3 <= found.floors_high < 3.5


def test_a_case_that_failed_is_a_target_missed_and_not_left_out() -> None:
    failed = [Measured(t.case, t.peer, 0, 0, 0, failure="ImportError") for t in TARGETS]

    told = judged(failed)

    assert [(one["measured_ns"], one["verdict"]) for one in told] == (
        [(None, "missed")] * len(TARGETS)
    )


def test_targets_of_a_module_that_cannot_be_imported_are_missed_and_not_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bench.run.PEERS", (("nilometer C", "no_such_module", {}),))
    mine = [target.case for target in TARGETS if target.peer == "nilometer C"]

    told = judged(measure_all("", 2))

    assert [(one["case"], one["verdict"]) for one in told] == [(c, "missed") for c in mine]


@given(st.lists(st.integers(), min_size=1), st.randoms())
def test_the_bounds_of_a_median_hold_it_and_know_no_order(
    values: list[int], shuffle: Any
) -> None:
    low, high = median_bounds([float(value) for value in values])
    shuffle.shuffle(values)

    assert low <= statistics.median(float(value) for value in values) <= high
    assert median_bounds([float(value) for value in values]) == (low, high)


def test_the_page_of_a_run_is_written_where_the_docs_show_it(tmp_path: Path) -> None:
    for page in ("performance.md", "measuring.md"):
        (tmp_path / page).write_text((ROOT / "docs" / page).read_text())
    cases = [*nilometer_library.CASES]
    results = [
        Measured(case, peer, 50 * n, 50 * n, 1, 100 * n, 1, 0.4, 0.6)
        for n, peer in ((1, "nilometer C"), (2, "nilometer pure"))
        for case in cases
    ]
    document = {
        "python": "3.11.7",
        "floor_ns": 300,
        "cases": [one._asdict() for one in results],
        "targets": judged(results),
        "integrations": integrations.rows_of([one._asdict() for one in results], 300),
        "import": {"import_ms": 19, "spread": 2, "target_ms": 20, "verdict": "within noise"},
        "collector": {},
    }
    write(document, tmp_path)
    told = [(tmp_path / page).read_text() for page in ("performance.md", "measuring.md")]

    assert told[0].count("| timer on | 150 | 150 |") == 1  # both are half their floor
    assert "| counter, C | 8.0 | 100 ± 1.0 | 5.9 | 50 ± 1.0 | **missed** |" in told[0]
    assert "| 20 |  |  | 19 ± 2 | within noise |" in told[0]
    assert "| redis | 150 | 150 | 150 |  |  |  |  |  |  |  |" in told[0]
    assert "took 300 ns for" in told[1]
    assert told[1].count("| 150 | 150 |") == 6
    write(document, tmp_path)
    assert told == [(tmp_path / p).read_text() for p in ("performance.md", "measuring.md")]


def figure(case: str, peer: str, ns: float, spread: float = 0) -> dict[str, Any]:
    """A case that took so many ns where the floor was 100, more or less."""
    low, high = (ns - spread) / 100, (ns + spread) / 100
    return Measured(case, peer, ns, ns, spread, 100, 1, low, high)._asdict()


def test_cases_of_one_integration_in_its_states_are_a_row_beside_its_peers() -> None:
    measured = [
        figure("redis switched off", "nilometer C", 10),
        figure("redis untraced", "nilometer C", 50),
        figure("redis untraced", "nilometer pure", 500),
        figure("redis traced", "nilometer C", 400, 20),
        figure("redis untraced", "OpenTelemetry", 1000),
        figure("redis traced", "OpenTelemetry", 2000, 500),
        figure("redis traced", "ddtrace", 3000),
        figure("span untraced", "nilometer C", 20),
        figure("publish traced, not signed", "nilometer C", 20),
        figure("kombu untraced, its call", "nilometer C", 20),
        figure("memcached untraced", "OpenTelemetry", 1000),
    ]
    redis, kombu = integrations.rows_of(measured, 200)

    assert redis == {
        "what": "redis",
        "ns": {
            "nilometer C": {"switched off": 20, "untraced": 100, "traced": 800},
            "OpenTelemetry": {"switched off": None, "untraced": 2000, "traced": 4000},
            "ddtrace": {"switched off": None, "untraced": None, "traced": 6000},
        },
        "shares": {"untraced": [0.05, 0.05, 0.05], "traced": [0.152, 0.2, 0.28]},
        "verdict": "missed",
    }
    assert integrations.cells_of(redis) == [
        *("redis", "20", "100", "800", "2,000", "4,000", "", "6,000", "1/20", "1/5", "missed")
    ]
    assert (kombu["what"], kombu["shares"], kombu["verdict"]) == ("kombu, its call", {}, "")


@pytest.mark.parametrize(
    ("ours", "spread", "said"),
    [
        (90, 5, "met"),
        (90, 15, "within noise"),
        (110, 15, "within noise"),
        (110, 5, "missed"),
        (-10, 20, "met"),
    ],
)
def test_an_integration_meets_its_share_where_all_of_the_uncertainty_does(
    ours: float, spread: float, said: str
) -> None:
    case = "redis untraced"
    measured = [
        figure(case, "nilometer C", ours, spread),
        figure(case, "OpenTelemetry", 1000),
    ]
    (row,) = integrations.rows_of(measured, 100)

    assert row["verdict"] == said


def test_what_a_peer_measured_as_noise_judges_nobody() -> None:
    measured = [
        figure("redis untraced", "nilometer C", 10),
        figure("redis untraced", "OpenTelemetry", 10, 20),
    ]
    (row,) = integrations.rows_of(measured, 100)

    assert (row["shares"], row["verdict"]) == ({"untraced": None}, "")


def test_a_case_that_failed_is_no_figure_of_its_integration() -> None:
    failed = Measured("redis untraced", "nilometer C", 0, 0, 0, failure="no")._asdict()

    assert integrations.rows_of([failed], 100) == []


def test_what_runs_behind_a_side_is_the_processs_time_and_its_calls_are_bounded() -> None:
    given: list[int] = []
    behind: list[int] = []

    def after() -> None:
        behind.append(sum(range(200_000)))

    added(Pair(given.append, given.append, after, 100), Pair(*two_clocks()), rounds=2)
    thread_ns, process_ns = spent(Pair(given.append, given.append, after), given.append, 1)

    assert max(given) == 100
    assert len(behind) > 2
    assert process_ns > 10 * thread_ns


def test_a_function_is_called_as_any_code_calls_it() -> None:
    """``f(*arguments)`` keeps the interpreter from what it does at ordinary calls."""
    loop = calls(max, 1, 2)

    assert "CALL_FUNCTION_EX" not in {one.opname for one in dis.get_instructions(loop)}


def test_a_traced_request_of_the_benchmark_is_traced_each_time() -> None:
    headers = nilometer_library.own_headers()

    for kind in (nilometer_library.wsgi, nilometer_library.asgi):
        for sent in (headers, [nilometer_library.osprofiler_headers()]):
            pair = kind(*sent)
            drain_spans()
            for _ in range(2):  # behind a side the nonces are forgotten
                pair.measured(len(headers))

                assert len(drain_spans()) == len(headers)
                assert pair.after is not None
                pair.after()


def test_no_ratio_is_told_to_a_figure_that_is_noise() -> None:
    results = [
        Measured("sql", "nilometer C", 7, 7, 997),
        Measured("sql", "ddtrace", 7004, 7004, 10),
    ]
    console = Console(width=120)
    with console.capture() as shown:
        console.print(table_of(results))

    assert "ddtrace" in shown.get()
    assert "1000" not in shown.get().replace(",", "")


STOOD_FOR = """
import sys
from bench.peers.{module} import CASES
from nilometer.measure import REGISTRY
from nilometer.trace import drain_spans

pair = CASES["{case}"]()
REGISTRY.collect()
for side in pair[:2]:
    side(7)
    told = [r.value.samples for r in REGISTRY.collect()[0] if r.name == "{name}"]
    print(sum(told), len(drain_spans()))
"""


@pytest.mark.parametrize(
    ("module", "what", "name"),
    [
        ("nilometer_mysql", "pymysql", "db.client.operation"),
        ("nilometer_mysql", "mysqlclient", "db.client.operation"),
        ("nilometer_library", "python-memcached", "db.client.operation"),
        *[("nilometer_library", name, "db.client.operation") for name in PYLIBMC],
        ("nilometer_threads", "thread", "task.run"),
        ("nilometer_threads", "thread pool submit", "thread_pool.run"),
        ("nilometer_threads", "process", "task.run"),
    ],
)
@pytest.mark.parametrize("state", ["untraced", "traced"])
def test_what_stands_for_a_server_or_a_start_is_measured_at_each_call_and_bare_never(
    module: str, what: str, name: str, state: str
) -> None:
    code = STOOD_FOR.format(module=module, case=f"{what} {state}", name=name)
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    spans = 7 if state == "traced" and what != "thread pool submit" else 0

    assert ran.stdout.splitlines() == ["0 0", f"7 {spans}"], ran.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("module", "case"), OURS)
def test_every_case_of_ours_runs_in_a_process_of_its_own(module: str, case: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "bench.case", module, case, "2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout.splitlines()[-1])["calls"] > 0
