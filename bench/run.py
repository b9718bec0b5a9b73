"""``make bench``: each case of each peer in its own process; the targets met or missed.

python -m bench.run [--only WORD] [--rounds N] [--json FILE] [--no-collector]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.imports import measure_import
from bench.pairs import ROUNDS
from bench.targets import FLOOR_NS, TARGETS, Target

# Names of cases are long, and a file has no width of its own.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)

# Name, module, environment. The same file of cases serves both twins.
PEERS = (
    ("pure-Python floor", "floor", {}),
    ("nilometer C", "nilometer_library", {"NILOMETER_REQUIRE_C": "1"}),
    ("nilometer pure", "nilometer_library", {"NILOMETER_PURE_PYTHON": "1"}),
    ("prometheus_client", "prometheus", {}),
    ("statsd", "statsd_client", {}),
    ("OSProfiler", "osprofiler_library", {}),
    ("OpenTelemetry", "opentelemetry_sdk", {}),
    ("ddtrace", "ddtrace_library", {}),
)


class Measured(NamedTuple):
    """One case of one peer, or why there is no figure."""

    case: str
    peer: str
    thread_ns: float
    process_ns: float
    spread: float
    floor_ns: float = FLOOR_NS
    failure: str = ""


def cases_of(module: str) -> list[str]:
    """The names of a peer's cases; asked in its own process, for peers patch on import."""
    code = (
        f"import json; from bench.peers.{module} import CASES; print(json.dumps(list(CASES)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    if ran.returncode:
        console.print(f"[red]{module} cannot be measured: {ran.stderr.splitlines()[-1]}")
        return []
    return [str(name) for name in json.loads(ran.stdout.splitlines()[-1])]


def measure(
    peer: str, module: str, environment: dict[str, str], case: str, rounds: int
) -> Measured:
    """Run one case in its own process."""
    ran = subprocess.run(
        [sys.executable, "-m", "bench.case", module, case, str(rounds)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        return Measured(case, peer, 0, 0, 0, failure=ran.stderr.strip().splitlines()[-1])
    figures = json.loads(ran.stdout.splitlines()[-1])
    del figures["calls"]
    return Measured(case, peer, **figures)


def measure_all(only: str, rounds: int) -> list[Measured]:
    """Every case that has the word in its name or its peer's."""
    wanted = [
        (peer, module, environment, case)
        for peer, module, environment in PEERS
        for case in cases_of(module)
        if only in f"{case} {peer}" or module == "floor"
    ]
    with Progress(console=console) as progress:
        task = progress.add_task("measuring", total=len(wanted))
        results = []
        for peer, module, environment, case in wanted:
            progress.update(task, description=f"{case}: {peer}")
            results.append(measure(peer, module, environment, case, rounds))
            progress.advance(task)
    return results


def table_of(results: list[Measured]) -> Table:
    """All figures, the cheapest of each case first."""
    table = Table(title="added cost per call", box=None, title_justify="left", padding=(0, 1))
    table.add_column("case")
    table.add_column("peer", style="cyan")
    for heading in ("ns", "± ns", "x floor", "x ours", "process ns"):
        table.add_column(heading, justify="right")
    # A figure below its own spread is noise, and so is every ratio to it.
    ours = {
        r.case: r.thread_ns
        for r in results
        if r.peer == "nilometer C" and not r.failure and r.thread_ns > r.spread
    }
    order = list(dict.fromkeys(r.case for r in results))
    for row in sorted(
        results, key=lambda r: (order.index(r.case), bool(r.failure), r.thread_ns)
    ):
        if row.failure:
            table.add_row(row.case, row.peer, f"[red]{row.failure[:60]}")
            continue
        ratio = f"{row.thread_ns / ours[row.case]:.1f}" if ours.get(row.case, 0) > 0 else ""
        table.add_row(
            row.case,
            row.peer,
            f"{row.thread_ns:,.0f}",
            f"{row.spread:,.0f}",
            f"{row.thread_ns / row.floor_ns:.2f}",
            ratio,
            f"{row.process_ns:,.0f}",
        )
    return table


def judged(results: list[Measured]) -> list[dict[str, Any]]:
    """Each target with what was measured, as it stands and scaled to its process's floor."""
    figures = {(r.case, r.peer): r for r in results}
    return [
        verdict(target, figures[target.case, target.peer])
        for target in TARGETS
        if (target.case, target.peer) in figures
    ]


def verdict(target: Target, measured: Measured) -> dict[str, Any]:
    allowed = target.ns * measured.floor_ns / FLOOR_NS
    return {
        "case": target.case,
        "peer": target.peer,
        "target_ns": target.ns,
        "floor_ns": round(measured.floor_ns, 1),
        "allowed_ns_here": round(allowed, 1),
        "measured_ns": None if measured.failure else round(measured.thread_ns, 1),
        "met": not measured.failure and measured.thread_ns <= allowed,
    }


def targets_table(verdicts: list[dict[str, Any]]) -> Table:
    table = Table(box=None, title_justify="left", padding=(0, 1))
    table.title = f"targets (they were set where the floor was {FLOOR_NS:.0f} ns)"
    for heading in ("case", "twin", "target", "floor here", "allowed here", "measured", ""):
        table.add_column(
            heading, justify="left" if heading in ("case", "twin", "") else "right"
        )
    for row in verdicts:
        table.add_row(
            row["case"],
            row["peer"],
            f"{row['target_ns']:,.0f}",
            f"{row['floor_ns']:,.0f}",
            f"{row['allowed_ns_here']:,.0f}",
            "failed" if row["measured_ns"] is None else f"{row['measured_ns']:,.0f}",
            "[green]met" if row["met"] else "[red]missed",
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", default="", metavar="WORD", help="cases or peers with this word"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write all figures there, too"
    )
    parser.add_argument("--no-collector", action="store_true", help="leave the collector out")
    chosen = parser.parse_args()
    results = measure_all(chosen.only, chosen.rounds)
    verdicts = judged(results)
    console.print(table_of(results))
    console.print(targets_table(verdicts))
    imported = measure_import()
    console.print(
        f"import nilometer, its timers and spans: {imported['import_ms']} ms of CPU time; "
        f"target {imported['target_ms']:g} ms {'met' if imported['met'] else 'missed'}"
    )
    collected: dict[str, Any] = {}
    if not chosen.no_collector and not chosen.only:
        from bench.collector import measure_collector

        collected = measure_collector(console)
    if chosen.json:
        document = {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "floor_ns": median(r.floor_ns for r in results if not r.failure),
            "cases": [r._asdict() for r in results],
            "targets": verdicts,
            "import": imported,
            "collector": collected,
        }
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json.dumps(document, indent=2) + "\n")
        console.print(f"figures written to {chosen.json}")


if __name__ == "__main__":
    main()
