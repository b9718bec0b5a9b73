"""`make bench-gate-series`: the tables of docs/gate-evidence.md, as Markdown.

Half 0 of all data chose the thresholds, half 1 did not; every figure is given for both.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.gate.alike import ALIKE, alarmed
from bench.gate.rivals import BENCHER, median_mad
from bench.gate.score import mean_f1, score
from bench.gate.series import Labelled, counters, made_up, sap, sap_with_steps
from bench.gate.single_run import (
    by_bound,
    detections,
    false_alarms,
    is_visible,
    made_up_steps,
    null_points,
    ours,
    sap_steps,
)
from nilometer.gate.steps import steps

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT: Final = Path(__file__).parent.parent.parent
OTAVA: Final = ROOT / ".cache" / "otava" / "bin" / "python"


def by_nilometer(series: Sequence[Labelled]) -> list[list[int]]:
    return [[step.index for step in steps(one.values)] for one in series]


def by_otava(series: Sequence[Labelled]) -> list[list[int]]:
    """Apache Otava itself; gaps are left out, as it does not know them."""
    kept = [[at for at, v in enumerate(one.values) if v is not None] for one in series]
    given = [[one.values[at] for at in ats] for one, ats in zip(series, kept, strict=True)]
    said = subprocess.run(
        [OTAVA, ROOT / "bench" / "gate" / "otava_child.py"],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = json.loads(said)
    return [[ats[i] for i in here] for ats, here in zip(kept, found, strict=True)]


RULES: Final = {"nilometer": by_nilometer, "Apache Otava 0.8.0": by_otava}


def write(line: str = "") -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def segmentation() -> None:
    write(
        "| series | half | rule | F1 | precision | recall | mean F1 | alarmed without change |"
    )
    write("|---|---|---|---|---|---|---|---|")
    data = {
        "SAP, as labelled": sap(),
        "SAP, steps put in": sap_with_steps(range(20)),
        "made up": made_up(range(60)),
    }
    for name, series in data.items():
        for rule, find in RULES.items():
            found = find(series)
            for half in (0, 1):
                pairs = [
                    (one, here)
                    for one, here in zip(series, found, strict=True)
                    if one.half == half
                ]
                s = score(pairs)
                write(
                    f"| {name}, {s.series} | {half} | {rule} | {s.f1:.3f} | {s.precision:.3f} "
                    f"| {s.recall:.3f} | {mean_f1(pairs):.3f} | {s.alarmed} of {s.unchanged} |"
                )


def of_alike() -> None:
    """Even seeds were seen while the rule was chosen, odd ones were not."""
    write("| unchanged series | alarmed, half 0 | alarmed, half 1 |")
    write("|---|---|---|")
    for kind in ALIKE:
        halves = [alarmed(kind, range(half, 400, 2)) for half in (0, 1)]
        write(f"| {kind} | {halves[0]:.1%} | {halves[1]:.1%} |")


def single_runs() -> None:
    judges = {
        "nilometer": ours,
        "level, median + 5 MAD": by_bound(median_mad(5), of_level=True),
        **{name: by_bound(rule) for name, rule in BENCHER.items()},
    }
    null = list(null_points(sap()))
    steps_of_any = [p for p in sap_steps(range(40), (0.05, 0.5)) if is_visible(p)]
    steps_of_5 = [p for p in sap_steps(range(40), (0.05, 0.05)) if is_visible(p)]
    # Published rules take shares of the level: it must be above zero. Bursts are left out: in
    # one the next runs stand in badly for repetitions.
    still = [
        s
        for s in made_up(range(60))
        if s.kind != "bursts" and min(v for v in s.values if v is not None) > 0
    ]
    null_made = list(null_points(still, every=5))
    made = [p for p in made_up_steps(still, 0.05) if is_visible(p)]
    for title, nulls, moved in (
        ("SAP, 5 to 50 % up and the real steps", null, steps_of_any),
        ("SAP, 5 % up and the real steps", null, steps_of_5),
        ("made up, 5 % up", null_made, made),
    ):
        write(f"\n{title}:\n")
        write(
            "| rule | half | null runs | false, 1 run | false, confirmed "
            "| steps | seen, 1 run | seen, confirmed |"
        )
        write("|---|---|---|---|---|---|---|---|")
        for name, judge in judges.items():
            for half in (0, 1):
                f = false_alarms(judge, [p for p in nulls if p.half == half])
                d = detections(judge, [p for p in moved if p.half == half])
                write(
                    f"| {name} | {half} | {f.points} | {f.at_once:.2%} | {f.confirmed:.3%} "
                    f"| {d.points} | {d.at_once:.0%} | {d.confirmed:.0%} |"
                )


def of_counters() -> None:
    """Each counter as a series of 30 runs and ten changed ones: is the step found there?"""
    write("| backend | change | rule | counters | found at run 30 ± 2 | found elsewhere |")
    write("|---|---|---|---|---|---|")
    for backend in ("mariadb", "postgres"):
        variants = counters(backend)
        for change, name in (("n1_4", "5 % more selects"), ("wide4", "rows 5 bytes wider")):
            series = [
                Labelled(counter, change, 0, [*runs, *variants[change][counter]], (30,))
                for counter, runs in variants["base4"].items()
                if counter in variants[change]
            ]
            for rule, find in RULES.items():
                found = find(series)
                there = sum(any(abs(at - 30) <= 2 for at in here) for here in found)
                astray = sum(any(abs(at - 30) > 2 for at in here) for here in found)
                write(f"| {backend} | {name} | {rule} | {len(series)} | {there} | {astray} |")


def main() -> None:
    write("### Steps of whole series\n")
    segmentation()
    write("\n### Neighbours that are alike\n")
    of_alike()
    write("\n### Single runs")
    single_runs()
    write("\n### Counters of fixed workloads\n")
    of_counters()


if __name__ == "__main__":
    main()
