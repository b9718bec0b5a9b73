"""What measuring costs Zaqar: CPU and latency of a POST, with and without, in one run.

All ways to run it are there at once, on the same stores, and get the same requests in short
blocks that take turns in rotating order, so that what disturbs the machine disturbs all of them
alike. A block's CPU is that of the server's one serving thread; what other threads of the
process do besides is told beside it. Of each turn counts the ratio to the server without us; of
each round, which has processes of its own, the median of its turns. The estimate is the median
of the rounds, and two rounds bound it, so that what differs from one process to the next is in
these bounds, too.

That is not little: where the names of attributes come to lie in memory decides how many of them
Python's cache of methods holds, and moves a process by 1 %. So there are many short rounds, and
the server without us is there twice: each way is compared with both, and what differs between
those two is what noise is. It is there a third time with the headers that ask for a trace: what
Zaqar's own server takes to read two headers more is in the cost of a traced request, too.
"""

from __future__ import annotations

import time
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Final, NamedTuple

from bench.pairs import median_bounds
from nilometer.cli.processes import Processes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from examples.zaqar.deployment import Deployment, Zaqar

BLOCK: Final = 5  # requests: 15 ms, long against the clock and short against what disturbs
WARM: Final = 60
ROUND_NS_MAX: Final = 27_000_000_000  # twice what a round takes on an idle machine
REPORT_S: Final = 10  # as by default; a round waits for one, so that its work is counted
SETTLE_S: Final = 0.003  # a server closes its connection after the client has its answer

KEY: Final = "4ac81f1e9d5b4d0f8a3e"  # of OSProfiler; it opens what lasts as long as this run
OSPROFILER: Final = {
    "enabled": True,
    "hmac_keys": KEY,
    "trace_wsgi_transport": True,
    "trace_message_store": True,
    "trace_management_store": True,
    "trace_sqlalchemy": True,
}
# OSProfiler itself is left to Zaqar: our drop-in would save each request its middleware, which
# looks at headers even where it is disabled, and that would count in our favour.
ALONE: Final = ("--integrations-off", "osprofiler")


class Way(NamedTuple):
    """A way to run Zaqar: what it is called, what may be promised of it, how it is started."""

    name: str
    flags: Callable[[Deployment], Sequence[str]] | None = None
    profiler: Mapping[str, object] | None = None
    headers: Callable[[Deployment], Mapping[str, str]] = lambda _: {}
    limit: float | None = None  # what it may add, as a share


def ours(deployment: Deployment) -> dict[str, str]:
    """The trigger of one request, in W3C's form."""
    _, headers = deployment.trigger()
    return {name: headers[name] for name in ("traceparent", "tracestate")}


def osprofilers(_: Deployment) -> dict[str, str]:
    """OSProfiler's headers for one request, by its own code."""
    from osprofiler import profiler, web

    profiler.clean()
    profiler.init(KEY)
    try:
        headers: dict[str, str] = web.get_trace_id_headers()
    finally:
        profiler.clean()
    return headers


def _measured(deployment: Deployment) -> list[str]:
    """As it is deployed: keys are there, and reports are sent."""
    key = ["--trace-key-file", str(deployment.key_file), "--osprofiler", "false"]
    return [*ALONE, *key, "--requests-per-second", "10000"]


WITHOUT: Final = "without Nilometer"
AGAIN: Final = "the same once more"
WAYS: Final = (
    Way(WITHOUT),
    Way(AGAIN),
    Way("without, a trigger's headers", headers=ours),
    Way("Nilometer, off", lambda _: [*ALONE, "--level", "off"], limit=0.01),
    Way("Nilometer, on and untraced", _measured, limit=0.01),
    Way("Nilometer, traced", _measured, headers=ours, limit=0.05),
    Way("OSProfiler, untraced", profiler=OSPROFILER),
    Way("OSProfiler, traced", profiler=OSPROFILER, headers=osprofilers),
)


MISSED: Final = "MISSED"
WITHIN_NOISE: Final = "within noise"


class Block(NamedTuple):
    """What so many requests took, each, in nanoseconds."""

    cpu_ns: float
    latency_ns: float


class Round(NamedTuple):
    """The blocks of each way, turn by turn; what its other threads took of a processor."""

    blocks: dict[str, list[Block]]
    background: dict[str, float]


class Estimate(NamedTuple):
    """A share more than without, and between which two it lies."""

    middle: float
    low: float
    high: float


class Cost(NamedTuple):
    """What a way costs: of a request, and compared with the same request without."""

    way: Way
    requests: int
    cpu_us: float
    latency_us: float
    background: float
    cpu: Estimate
    latency: Estimate

    @property
    def verdict(self) -> str:
        """Met or missed with both bounds; where these hold the limit it is within noise."""
        limit = self.way.limit
        if limit is None:
            return ""
        if self.cpu.low > limit:
            return MISSED
        return "met" if self.cpu.high <= limit else WITHIN_NOISE


def cpu_ns(pid: int) -> int:
    """The CPU time that the first thread of a process took, which is the one that serves."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0])


def process_cpu_ns(pid: int) -> int:
    """The CPU time that all its threads took: Linux has a clock for each process."""
    return time.clock_gettime_ns(~pid << 3 | 2)


def background_ns(pid: int) -> int:
    """The CPU time of all threads but the one that serves."""
    return process_cpu_ns(pid) - cpu_ns(pid)


def compare(
    deployment: Deployment, *, rounds: int, turns: int, say: Callable[[str], None]
) -> list[Cost]:
    """Run all ways side by side so often, and say how far it is."""
    began = time.monotonic()
    done = []
    for number in range(1, rounds + 1):
        done.append(one_round(deployment, number, turns))
        left = (time.monotonic() - began) / number * (rounds - number)
        say(f"what it costs: round {number} of {rounds}, {left:.0f} s left")
    return [cost_of(way, done) for way in WAYS]


def one_round(deployment: Deployment, number: int, turns: int) -> Round:
    """Fresh processes, warmed up; then their turns, each way first as often as any other."""
    with Processes(deployment.folder) as servers:
        running = {}
        for index, way in enumerate(WAYS):
            flags = None if way.flags is None else way.flags(deployment)
            profiler = dict(way.profiler or {})
            if profiler:
                profiler["connection_string"] = f"{deployment.redis_url}/1"
            name = f"cost-{number}-{index}"
            running[way.name] = deployment.begin(servers, name, flags=flags, profiler=profiler)
        for zaqar in running.values():
            zaqar.process.wait_until_ready()
        deployment.furnish(running[WITHOUT])
        for zaqar in running.values():
            for _ in range(WARM):
                zaqar.post()
        return _turns(deployment, running, turns)


def _turns(deployment: Deployment, running: Mapping[str, Zaqar], turns: int) -> Round:
    blocks: dict[str, list[Block]] = {way.name: [] for way in WAYS}
    began = time.perf_counter_ns()
    before = {name: background_ns(one.process.pid) for name, one in running.items()}
    for turn in range(turns):
        first = turn % len(WAYS)
        if first == 0 and time.perf_counter_ns() > began + ROUND_NS_MAX:
            break  # a busy machine: fewer turns, and as many of each way
        order = [*WAYS[first:], *WAYS[:first]]
        if turn // len(WAYS) % 2:
            order.reverse()
        for way in order:
            blocks[way.name].append(block(deployment, way, running[way.name]))
    time.sleep(REPORT_S + 1)  # spans lie in memory until the next report, which is work, too
    took = time.perf_counter_ns() - began
    background = {
        name: (background_ns(one.process.pid) - before[name]) / took
        for name, one in running.items()
    }
    return Round(blocks, background)


def block(deployment: Deployment, way: Way, zaqar: Zaqar) -> Block:
    """So many requests, one after the other."""
    headers = [way.headers(deployment) for _ in range(BLOCK)]
    cpu = cpu_ns(zaqar.process.pid)
    began = time.perf_counter_ns()
    for each in headers:
        zaqar.post(each)
    took = time.perf_counter_ns() - began
    time.sleep(SETTLE_S)
    return Block((cpu_ns(zaqar.process.pid) - cpu) / BLOCK, took / BLOCK)


def cost_of(way: Way, rounds: Sequence[Round]) -> Cost:
    """What a way costs, over all rounds."""
    mine = [each for one in rounds for each in one.blocks[way.name]]
    return Cost(
        way,
        len(mine) * BLOCK,
        median(each.cpu_ns for each in mine) / 1e3,
        median(each.latency_ns for each in mine) / 1e3,
        fmean(one.background[way.name] for one in rounds),
        _estimate(way, rounds, lambda each: each.cpu_ns),
        _estimate(way, rounds, lambda each: each.latency_ns),
    )


def _estimate(way: Way, rounds: Sequence[Round], value: Callable[[Block], float]) -> Estimate:
    bare = [WITHOUT] if way.name == AGAIN else [WITHOUT, AGAIN]
    shares = []
    for one in rounds:
        mine = one.blocks[way.name]
        each = [
            median(value(its) / value(theirs) for its, theirs in zip(mine, blocks, strict=True))
            for blocks in map(one.blocks.__getitem__, bare)
        ]
        shares.append(fmean(each) - 1)
    return Estimate(median(shares), *median_bounds(shares))
