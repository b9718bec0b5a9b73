"""The benchmark runs, and measures what was promised; what it measures decides no test."""

from __future__ import annotations

import dis
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # the benchmark is not part of the package

from bench.pairs import Pair, added, calls, spent  # noqa: E402
from bench.peers import nilometer_library  # noqa: E402
from bench.run import judged, verdict  # noqa: E402
from bench.targets import FLOOR_NS, TARGETS, Target  # noqa: E402
from nilometer.trace import drain_spans  # noqa: E402


def test_every_target_names_a_case_that_is_measured() -> None:
    assert {target.case for target in TARGETS} <= set(nilometer_library.CASES)


def test_a_target_is_met_or_missed_by_the_floor_of_its_own_run() -> None:
    from bench.run import Measured

    target = Target("counter", "nilometer C", 8)
    slow = 2 * FLOOR_NS

    assert verdict(target, Measured("counter", target.peer, 15, 15, 1, slow))["met"]
    assert not verdict(target, Measured("counter", target.peer, 17, 17, 1, slow))["met"]


def test_a_case_that_failed_is_a_target_missed_and_not_left_out() -> None:
    from bench.run import Measured

    failed = [Measured(t.case, t.peer, 0, 0, 0, failure="ImportError") for t in TARGETS]

    told = judged(failed)

    assert [(one["measured_ns"], one["met"]) for one in told] == [(None, False)] * len(TARGETS)


def test_what_runs_behind_a_side_is_the_processs_time_and_its_calls_are_bounded() -> None:
    given: list[int] = []
    behind: list[int] = []

    def after() -> None:
        behind.append(sum(range(200_000)))

    added(Pair(given.append, given.append, after, 100), rounds=2)
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
        for given in (headers, [nilometer_library.osprofiler_headers()]):
            pair = kind(*given)
            drain_spans()
            for _ in range(2):  # behind a side the nonces are forgotten
                pair.measured(len(headers))

                assert len(drain_spans()) == len(headers)
                assert pair.after is not None
                pair.after()


def test_no_ratio_is_told_to_a_figure_that_is_noise() -> None:
    from bench.run import Measured, table_of

    results = [
        Measured("sql", "nilometer C", 7, 7, 997),
        Measured("sql", "ddtrace", 7004, 7004, 10),
    ]
    console = Console(width=120)
    with console.capture() as shown:
        console.print(table_of(results))

    assert "ddtrace" in shown.get()
    assert "1000" not in shown.get().replace(",", "")


@pytest.mark.slow
@pytest.mark.parametrize("case", nilometer_library.CASES)
def test_every_case_of_ours_runs_in_a_process_of_its_own(case: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "bench.case", "nilometer_library", case, "2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout.splitlines()[-1])["calls"] > 0
