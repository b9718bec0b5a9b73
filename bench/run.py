"""``make bench``: each case of each peer in its own process; targets met, missed, or neither.

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

from bench import integrations
from bench.imports import measure_import
from bench.pairs import ROUNDS, Added
from bench.targets import FLOOR_NS, TARGETS, Target

# Names of cases are long, and a file has no width of its own.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)

C, PURE = {"NILOMETER_REQUIRE_C": "1"}, {"NILOMETER_PURE_PYTHON": "1"}
# How the names of a peer's files begin, what it is called, its environment. The same files
# serve both twins. A new file of cases in bench/peers is measured by being there.
NAMES = (
    ("floor", "pure-Python floor", {}),
    ("nilometer", "nilometer C", C),
    ("nilometer", "nilometer pure", PURE),
    ("prometheus", "prometheus_client", {}),
    ("statsd", "statsd", {}),
    ("osprofiler_library", "OSProfiler", {}),
    ("osprofiler_drop_in", "its drop-in", C),
    ("opentelemetry", "OpenTelemetry", {}),
    ("ddtrace", "ddtrace", {}),
    ("oslo_metrics", "oslo.metrics", {}),
)


def modules() -> list[str]:
    """All files of cases; a peer's library before what it integrates with."""
    found = (file.stem for file in Path(__file__).parent.glob("peers/[a-z]*.py"))
    return sorted(found, key=lambda name: (not name.endswith("_library"), name))


PEERS = tuple(
    (peer, module, environment)
    for begins, peer, environment in NAMES
    for module in modules()
    if module.startswith(begins)
)
"""Name, module and environment of each."""

SQLALCHEMY14 = Path(__file__).parent.parent / ".cache" / "sqlalchemy14" / "bin" / "python"
"""The environment of what runs beside SQLAlchemy 1.4 (scripts/install-sqlalchemy14)."""


PROCESSES = 3
"""Of a case that has a target. Where things lie in memory, and so what they cost, differs from
process to process; a verdict that one of them gives otherwise is none."""


class Measured(NamedTuple):
    """One case of one peer, or why there is no figure."""

    case: str
    peer: str
    thread_ns: float
    process_ns: float
    spread: float
    floor_ns: float = FLOOR_NS
    floor_spread: float = 0
    floors_low: float = 0
    floors_high: float = 0
    failure: str = ""


def python_of(module: str) -> str:
    """Which Python runs these cases; where it is not installed they fail, and say so."""
    other = module.endswith("sqlalchemy14") and SQLALCHEMY14.exists()
    return str(SQLALCHEMY14) if other else sys.executable


def cases_of(module: str) -> list[str]:
    """The names of a peer's cases; asked in its own process, for peers patch on import.

    Of one that cannot be imported they are those that a target names.
    """
    code = (
        f"import json; from bench.peers.{module} import CASES; print(json.dumps(list(CASES)))"
    )
    ran = subprocess.run(
        [python_of(module), "-c", code], capture_output=True, text=True, check=False
    )
    if ran.returncode:
        console.print(f"[red]{module} cannot be measured: {last_line(ran.stderr)}")
        peers = {peer for peer, of, _ in PEERS if of == module}
        return list(dict.fromkeys(t.case for t in TARGETS if t.peer in peers))
    return [str(name) for name in json.loads(ran.stdout.splitlines()[-1])]


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it ended without a word"])[-1]


def measure(
    peer: str, module: str, environment: dict[str, str], case: str, rounds: int
) -> Measured:
    """Run one case in a process of its own, or several if it is to be judged."""
    judge = any((target.case, target.peer) == (case, peer) for target in TARGETS)
    ran = []
    for _ in range(PROCESSES if judge else 1):
        one = subprocess.run(
            [python_of(module), "-m", "bench.case", module, case, str(rounds)],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        if one.returncode:
            return Measured(case, peer, 0, 0, 0, failure=last_line(one.stderr))
        ran.append(Added(**json.loads(one.stdout.splitlines()[-1])))
    return together(case, peer, ran)


def together(case: str, peer: str, ran: list[Added]) -> Measured:
    """The middle of the processes; what was uncertain in any of them is uncertain."""
    return Measured(
        case,
        peer,
        median(one.thread_ns for one in ran),
        median(one.process_ns for one in ran),
        max(one.spread for one in ran),
        median(one.floor_ns for one in ran),
        max(one.floor_spread for one in ran),
        min(one.floors_low for one in ran),
        max(one.floors_high for one in ran),
    )


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
        r.case: r.thread_ns / r.floor_ns
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
        floors = row.thread_ns / row.floor_ns
        ratio = f"{floors / ours[row.case]:.1f}" if ours.get(row.case, 0) > 0 else ""
        table.add_row(
            row.case,
            row.peer,
            f"{row.thread_ns:,.0f}",
            f"{row.spread:,.0f}",
            f"{floors:.2f}",
            ratio,
            f"{row.process_ns:,.0f}",
        )
    return table


def judged(results: list[Measured]) -> list[dict[str, Any]]:
    """Each target that was measured, or could not be, with its verdict."""
    figures = {(r.case, r.peer): r for r in results}
    return [
        verdict(target, figures[target.case, target.peer])
        for target in TARGETS
        if (target.case, target.peer) in figures
    ]


def verdict(target: Target, measured: Measured) -> dict[str, Any]:
    """A target in floors, against the floors that the case took in the same rounds."""
    allowed = target.ns / FLOOR_NS
    if measured.failure or measured.floors_low > allowed:
        said = "missed"
    else:
        said = "met" if measured.floors_high <= allowed else "within noise"
    return {
        "case": target.case,
        "peer": target.peer,
        "target_ns": target.ns,
        "floor_ns": round(measured.floor_ns, 1),
        "floor_spread": round(measured.floor_spread, 1),
        "allowed_ns_here": round(allowed * measured.floor_ns, 1),
        "measured_ns": None if measured.failure else round(measured.thread_ns, 1),
        "spread": round(measured.spread, 1),
        "floors": [round(measured.floors_low, 3), round(measured.floors_high, 3)],
        "floors_allowed": round(allowed, 3),
        "verdict": said,
    }


VERDICT_COLOURS = {"met": "green", "within noise": "yellow", "missed": "red"}


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
            f"{row['floor_ns']:,.0f} ± {row['floor_spread']:,.0f}",
            f"{row['allowed_ns_here']:,.0f}",
            measured_text(row),
            f"[{VERDICT_COLOURS[row['verdict']]}]{row['verdict']}",
        )
    return table


def measured_text(row: dict[str, Any]) -> str:
    if row["measured_ns"] is None:
        return "failed"
    return f"{row['measured_ns']:,.0f} ± {row['spread']:,.0f}"


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
    cases = [r._asdict() for r in results]
    floor_ns = median([r.floor_ns for r in results if not r.failure] or [FLOOR_NS])
    shared = integrations.rows_of(cases, floor_ns)
    console.print(integrations.table_of(shared))
    imported = measure_import()
    console.print(
        f"import nilometer, its timers and spans: {imported['import_ms']} ms of CPU time; "
        f"target {imported['target_ms']:g} ms {imported['verdict']}"
    )
    collected: dict[str, Any] = {}
    statistics: dict[str, Any] = {}
    notified: dict[str, Any] = {}
    if not chosen.no_collector and not chosen.only:
        from bench.collector import measure_collector
        from bench.monasca import measure_statistics
        from bench.notifications import measure_notifications

        collected = measure_collector(console)
        statistics = measure_statistics(console)
        notified = measure_notifications(console)
    if chosen.json:
        document = {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "floor_ns": floor_ns,
            "cases": cases,
            "targets": verdicts,
            "integrations": shared,
            "import": imported,
            "collector": collected,
            "statistics": statistics,
            "notifications": notified,
        }
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json.dumps(document, indent=2) + "\n")
        console.print(f"figures written to {chosen.json}")


if __name__ == "__main__":
    main()
