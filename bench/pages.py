"""What pages cost on a full store: ``python -m bench.pages`` asks a real collector for each.

The store has ten million readings of a thousand series over a day, and a million spans; it is
made once, which takes some minutes, and kept (`--folder`). Each page is asked some times; the
first answer, when nothing is in memory, counts among them.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.collector import Collector
from bench.seeded import Seeded, seeded

FOLDER = Path(__file__).parent.parent / ".cache" / "pages"
TIMES = 15
GRID_NS = 300 * 10**9  # where pages begin an hour that goes on
MS_MAX = 300  # till the page has all it needs to be painted
KB_MAX = 500  # without charts, which come afterwards
PATIENCE_S = 120


class Took(NamedTuple):
    """One page: how long until all of it was there, how long the collector worked for it, on
    all processors together, and how much it was. `is_later` is what a page's script asks for
    once it is painted."""

    name: str
    ms: list[float]
    cpu_ms: list[float]
    size: int
    is_later: bool

    @property
    def is_met(self) -> bool:
        """Whether it is as quick and as small as is wanted."""
        return self.is_later or (median(self.ms) <= MS_MAX and self.size <= KB_MAX * 1000)


def asked_of(made: Seeded, trace: str) -> dict[str, str]:
    """The addresses by what they show; an hour, unless they say otherwise."""

    def during(hours: float, path: str, **more: str) -> str:
        since = (made.ended_ns - int(hours * 3600 * 10**9)) // GRID_NS * GRID_NS
        return f"{path}?{urlencode({'since': since, 'until': made.ended_ns, **more})}"

    timer = "http.server.request"
    return {
        "services": during(1, "/services"),
        "services, a day": during(24, "/services"),
        "later: services, a day": during(24, "/services", quantiles="true"),
        "metrics": during(1, "/metrics"),
        "metrics, searched": during(1, "/metrics", q="step"),
        "a counter": during(1, "/metrics/http.server.responses"),
        "a timer": during(1, f"/metrics/{timer}"),
        "a timer by route": during(1, f"/metrics/{timer}", group_by="http.route"),
        "a timer, a day by service": during(24, f"/metrics/{timer}", group_by="service"),
        "a timer beside the hour before": during(1, f"/metrics/{timer}", compare="1h"),
        "later: the same with quantiles": during(
            1, f"/metrics/{timer}", compare="1h", quantiles="true"
        ),
        "later: a timer's charts": during(1, f"/charts/{timer}"),
        "later: a timer's charts, a day": during(24, f"/charts/{timer}"),
        "traces": during(1, "/traces"),
        "traces, six hours": during(6, "/traces"),
        "traces of a service": during(1, "/traces", service="service3"),
        "slow traces": during(1, "/traces", min_duration="80ms"),
        "failed traces": during(1, "/traces", error="true"),
        "traces of a request": during(1, "/traces", request_id="req-00990000"),
        "traces with an attribute": during(1, "/traces", attribute="http.route=/r/3"),
        "a trace": f"/traces/{trace}",
        "a trace against the median": f"/traces/{trace}/against/median",
        "requests": during(1, "/requests"),
        "requests, a day": during(24, "/requests"),
        "changes": "/changes",
        "doctor": "/doctor",
    }


def measure(made: Seeded, times: int, only: str) -> list[Took]:
    """Each page, asked so often, one question at a time."""
    collector = Collector(Path(made.store), alone=False)
    try:
        window = urlencode({"since": made.ended_ns - 3600 * 10**9, "until": made.ended_ns})
        trace = collector.ask(f"traces?limit=1&{window}")["traces"][0]["id"]
        pages = asked_of(made, trace)
        return [
            _asked(collector, name, path, times)
            for name, path in track(pages.items(), "pages")
            if only in name
        ]
    finally:
        collector.stop()


def _asked(collector: Collector, name: str, path: str, times: int) -> Took:
    took, worked, size = [], [], 0
    url = f"http://127.0.0.1:{collector.port}{path}"
    for _ in range(times):
        started, cpu_s = time.perf_counter(), collector.cpu_s()
        with urlopen(Request(url, headers={"Accept": "text/html"}), timeout=PATIENCE_S) as page:
            size = len(page.read())
        took.append((time.perf_counter() - started) * 1e3)
        worked.append((collector.cpu_s() - cpu_s) * 1e3)
    return Took(name, took, worked, size, name.startswith("later"))


def shown(found: list[Took]) -> Table:
    """The figures beside what is wanted."""
    table = Table(title=f"pages, wanted: {MS_MAX} ms, {KB_MAX} kB", title_justify="left")
    for head in ("page", "first ms", "median ms", "max ms", "CPU ms", "kB", ""):
        table.add_column(head, justify="left" if head == "page" else "right")
    for each in found:
        figures = (each.ms[0], median(each.ms), max(each.ms), median(each.cpu_ms))
        figures = (*figures, each.size / 1000)
        verdict = "" if each.is_later else "met" if each.is_met else "missed"
        table.add_row(each.name, *(f"{value:,.0f}" for value in figures), verdict)
    return table


def main() -> None:
    """Make the store if need be, ask, and tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--readings", type=int, default=10_000_000)
    parser.add_argument("--spans", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=TIMES)
    parser.add_argument("--only", default="", help="pages with this in their name")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    made = seeded(given.folder, given.readings, given.spans)
    found = measure(made, given.times, given.only)
    Console().print(shown(found))
    if given.json:
        given.json.write_text(json.dumps([each._asdict() for each in found], indent=1))


if __name__ == "__main__":
    main()
