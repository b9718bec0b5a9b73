"""What a call may cost: the product's promise, in nanoseconds on CPython 3.11.

Machines differ and are noisy. A target is therefore compared as a ratio to the floor of the
same run (a pure-Python wrapper that reads the clock twice); it cost 136 ns where they were set.
"""

from __future__ import annotations

from typing import NamedTuple

FLOOR_NS = 136.0


class Target(NamedTuple):
    """One promise: a case, the twin it is for, and its cost where the floor is FLOOR_NS."""

    case: str
    peer: str
    ns: float


TARGETS = (
    Target("counter", "nilometer C", 8),
    Target("counter, in a file", "nilometer C", 8),  # the same as in memory
    Target("timer on", "nilometer C", 55),
    Target("timer on, in a file", "nilometer C", 55),
    Target("timer off", "nilometer C", 10),
    Target("patched timer", "nilometer C", 55),  # what a decorated one costs
    Target("span untraced", "nilometer C", 20),
    Target("span recorded", "nilometer C", 260),
    Target("span encoded", "nilometer C", 1_200),
    Target("span untraced", "its drop-in", 20),  # OSProfiler's decorators, made by ours
    Target("span recorded", "its drop-in", 260),
    Target("wsgi untraced", "nilometer C", 500),
    Target("wsgi traced", "nilometer C", 3_000),
    Target("asgi untraced", "nilometer C", 700),
    Target("asgi traced", "nilometer C", 4_000),
    # Recorded in case it fails: at most what a traced one costs.
    Target("wsgi on the flight recorder", "nilometer C", 3_000),
    Target("asgi on the flight recorder", "nilometer C", 4_000),
    Target("span on the flight recorder", "nilometer C", 260),
    Target("sql untraced, its call", "nilometer C", 100),
    Target("sql traced", "nilometer C", 1_000),
    Target("sqlite3 untraced", "nilometer C", 100),  # a driver's statement as SQLAlchemy's
    Target("sqlite3 traced", "nilometer C", 1_000),
    Target("psycopg untraced, its call", "nilometer C", 100),
    Target("psycopg traced, its call", "nilometer C", 1_000),
    Target("psycopg2 untraced, its call", "nilometer C", 100),
    Target("psycopg2 traced, its call", "nilometer C", 1_000),
    Target("sql pool untraced", "nilometer C", 1_900),  # a tenth of OpenTelemetry's
    # A tenth of what OpenTelemetry's instrumentations of the same clients took, at most.
    Target("redis untraced", "nilometer C", 300),
    Target("redis traced", "nilometer C", 1_500),
    Target("redis asyncio untraced", "nilometer C", 450),
    Target("redis asyncio traced", "nilometer C", 2_000),
    Target("memcached untraced", "nilometer C", 400),
    Target("memcached traced", "nilometer C", 2_000),
    Target("mongodb untraced", "nilometer C", 700),
    Target("mongodb traced", "nilometer C", 1_850),
    Target("urllib3 untraced", "nilometer C", 2_000),
    Target("httpx untraced", "nilometer C", 2_000),
    Target("aiohttp untraced", "nilometer C", 2_500),
    Target("log line untraced", "nilometer C", 400),
    Target("coroutine span recorded", "nilometer C", 400),
    Target("pika publish untraced", "nilometer C", 400),
    Target("pika process untraced", "nilometer C", 600),
    # What OpenTelemetry tells of a task is told of each of its steps, for a tenth of that.
    Target("asyncio task untraced", "nilometer C", 600),
    Target("asyncio task by name", "nilometer C", 1_300),
    Target("timer on", "nilometer pure", 200),
    Target("span recorded", "nilometer pure", 750),
)
