"""What the demonstration prints, and the page that keeps it."""

from __future__ import annotations

import platform
import re
from datetime import UTC, datetime
from importlib.metadata import distributions
from math import comb
from os import cpu_count, getloadavg
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.pairs import median_bounds
from examples.zaqar.deployment import ROOT
from examples.zaqar.overhead import BLOCK

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

    from examples.zaqar.deployment import Deployment
    from examples.zaqar.overhead import Cost, Estimate
    from examples.zaqar.switches import Seen

SPANS_MIN: Final = 10  # of the client's request: two of its own, eight of Zaqar's
STORES: Final = ("redis", "sqlalchemy", "pymysql", "pymongo")
SHOWN: Final = ("zaqar", "python-zaqarclient", "osprofiler", *STORES)

HEAD: Final = """\
# Zaqar, measured

Zaqar is OpenStack's message queue: nobody here wrote it, and not a line of it is changed.
This page is what `make demo-zaqar` found once. It installs Zaqar from PyPI and starts it
with `pooling = true` beside a real Redis, which has its messages, and a real MariaDB, which
has its pools and queues. It is measured by `nilometer run -- zaqar-server` with the settings
of `examples/zaqar/nilometer.toml`. What its switches mean:
[OpenStack's own ways](openstack.md).

"""


class Page:
    """Sections as they come: printed at once, and kept for a file."""

    def __init__(self) -> None:
        self.text = HEAD + machine()

    def add(self, section: str) -> None:
        """One more."""
        print(section, flush=True)
        self.text += f"\n{section}"


def machine() -> str:
    """Where this ran, and with which versions."""
    site = ROOT.glob(".cache/zaqar/lib/python3*/site-packages")
    there = {d.name.lower(): d.version for d in distributions(path=[str(p) for p in site])}
    versions = ", ".join(f"{name} {there[name]}" for name in SHOWN if name in there)
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = (line.partition(":")[2].strip() for line in lines if "model name" in line)
    model = next(models, platform.machine())
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    return (
        f"{when}, {cpu_count()} processors ({model}), of which other work took "
        f"{min(1.0, getloadavg()[0] / (cpu_count() or 1)):.0%} as this began; "
        f"Linux {platform.release()}, Python {platform.python_version()}; {versions}.\n"
    )


def of_tree(text: str) -> str:
    """The traced POST."""
    return f"""\
## A message, from the client's call to the stores

python-zaqarclient runs under `nilometer run`, too: the integration of its HTTP library
sends the signed trigger with its request.

```text
{text.rstrip()}
```
"""


def of_instruments(deployment: Deployment) -> str:
    """Every instrument of the service with its series and their values."""
    rows = []
    for metric in deployment.fetch("metrics?limit=1000")["metrics"]:
        rows += _series(deployment, metric)
    return f"""\
## What is measured all the time

Instruments of that Zaqar after some fifty requests, one of them traced. Times are in
milliseconds; of a gauge the last value is shown, of a counter the sum.

{table(("instrument", "of", "count", "sum or last", "avg", "p99"), rows)}"""


def _series(deployment: Deployment, metric: dict[str, Any]) -> list[tuple[str, ...]]:
    name = metric["name"]
    if name.startswith("nilometer."):
        return []
    group = "".join(f"&group_by={key}" for key in metric["dimensions"])
    asked = f"metrics/{name}/statistics?where=service=zaqar&quantile=0.99{group}"
    return [
        (
            f"`{name}`",
            ", ".join(_without_ports(value) for value in row["group"].values() if value),
            *_values(row),
        )
        for row in deployment.fetch(asked)["statistics"]
    ]


def _without_ports(value: str) -> str:
    """A pool is called by its address, whose port is another one each time."""
    return re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1", value)


def _values(row: dict[str, Any]) -> tuple[str, str, str, str]:
    """Of a timer count, sum, average and p99; of a counter its sum; of a gauge its last."""
    if row["kind"] == "gauge":
        return "", f"{row['last']:g}", "", ""
    if row["kind"] == "counter":
        return "", f"{row['sum']:g}", "", ""
    shown = [row["sum"], row["avg"], row["quantiles"]["0.99"]]
    share = 1e6 if row["unit"] == "ns" else 1
    return (str(row["count"]), *(f"{value / share:.3g}" for value in shown))  # type: ignore[return-value]


def of_switches(seen: Sequence[Seen]) -> str:
    """What each switch takes away."""
    rows = [
        (
            one.switch.what,
            f"`{one.switch.written}`",
            str(one.on.total()),
            _names(one.gone),
            "yes" if one.is_exact else "NO",
        )
        for one in seen
    ]
    heads = ("switch", "written", "spans with all on", "gone when off", "just its own")
    return f"""\
## Each switch by itself

A Zaqar for each, and the same POST traced. For MongoDB's, pools and queues lie there: in
mongoeco, which speaks its protocol to the real pymongo, but not all that Zaqar's driver of
messages asks for.

{table(heads, rows)}"""


def _names(names: Counter[str]) -> str:
    return ", ".join(
        f"{count} x `{name}`" if count > 1 else f"`{name}`" for name, count in names.items()
    )


def of_costs(costs: Sequence[Cost], *, rounds: int) -> str:
    """What it costs, and whether that is what was promised."""
    heads = ("", "CPU", "more", "limit", "", "background", "latency", "more")
    rows = [
        (
            one.way.name,
            f"{one.cpu_us:,.0f}",
            "" if index == 0 else _share(one.cpu),
            "" if one.way.limit is None else f"{one.way.limit:.0%}",
            one.verdict,
            f"{one.background:.2%}",
            f"{one.latency_us:,.0f}",
            "" if index == 0 else _share(one.latency),
        )
        for index, one in enumerate(costs)
    ]
    return f"""\
## What it costs

A POST of one message, in microseconds per request: {costs[0].requests:,} for each line, in
{rounds} rounds with fresh processes and many turns of {BLOCK} requests in each. All run on the
same stores, and take their turns in rotating order. *CPU* is that of Zaqar's thread that
serves; *background* what its other threads take of a processor, with a report every 10 s, as
by default. *More* is compared with both servers that run without us; it is the
median of the rounds, and in brackets what bounds it with {confidence(rounds):.0%}. *Met* is a
limit that both bounds keep, *MISSED* one that neither keeps; one between is *within noise*:
let it run when nothing else does. How much noise there is tells the line of the same server
once more.

{table(heads, rows)}
- Where nothing is traced no Python of Nilometer's runs in that thread: what measures the
  request, its pools, statements, commands, batches and route is C, 0.3% more instructions by
  callgrind. A traced request has 3.2% more, a third of them by Zaqar's own server, which reads
  two headers more: that is the line *without, a trigger's headers*. More than these cost, by
  its simulation of caches, 5% more misses of the second level: between two places that measure
  Zaqar has replaced all that it holds. And a process with threads pays some 30 ns more for each
  of 58 calls of the kernel.
- Which names of attributes share a place in Python's cache of methods differs from one process
  to the next, and moves the instructions of a request by up to 1.5%, without us, too: hence
  fresh processes in each round.
- *Off* is `--level off` and no key: nothing is measured, and no request can be traced. With a
  key, a request without a trigger costs at most what it does where all is on.
- OSProfiler is wired as Zaqar's documentation says: `[profiler] enabled`, all of Zaqar's
  `trace_` options on, `connection_string` the Redis.
- Zaqar initialises OSProfiler even where it is disabled, whose middleware then reads each
  request's headers. `nilometer run` would save Zaqar that by its drop-in. Here the drop-in
  is left out (`integrations_off`), so that it does not count in our favour.
"""


def confidence(rounds: int) -> float:
    """That the median of all rounds there could be lies within `median_bounds` of so many.

    >>> confidence(9)
    0.9609375
    """
    outside = int(median_bounds([float(number) for number in range(rounds)])[0])
    return 1 - 2 * sum(comb(rounds, n) for n in range(outside + 1)) / 2**rounds


def _share(estimate: Estimate) -> str:
    low, high = estimate.low, estimate.high
    return f"{estimate.middle:+.1%} [{low:+.1%}, {high:+.1%}]"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """As Markdown; of cells nothing needs an escape."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
