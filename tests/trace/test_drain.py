"""What the pump gets, what it learns of losses, and what importing all this costs."""

import os
import subprocess
import sys

from nilometer import trace
from nilometer.measure import REGISTRY


def losses():
    readings, _ = REGISTRY.collect()
    return {
        (dict(r.dimensions)["what"], dict(r.dimensions)["reason"]): r.value
        for r in readings
        if r.name == "nilometer.lost"
    }


def test_drained_spans_come_once_and_what_was_lost_is_counted():
    trace.drain_spans()
    losses()
    with trace.start_root("root", request=trace.Trace(b"t" * 16, spans_max=2)):
        for name in "abc":
            with trace.span(name, **{f"k{i}": i for i in range(66)}):
                pass

    assert [span.name for span in trace.drain_spans()] == ["a", "root"]
    assert trace.drain_spans() == ()
    assert losses() == {("spans", "budget_spans"): 2, ("attributes", "limit"): 2}
    trace.drain_spans()
    assert losses() == {}


HEAVY = {
    "logging", "socket", "http", "json", "dataclasses", "inspect", "asyncio", "threading",
    "hmac", "hashlib", "uuid", "random",
}  # fmt: skip
SAYS = f"""
import sys
sys.path[:] = {sys.path!r}
before = set(sys.modules)
import nilometer.trace, _thread
print(sorted((set(sys.modules) - before) & {HEAVY!r}), _thread._count())
"""


def test_tracing_imports_nothing_heavy_and_starts_nothing():
    for pure in ("", "1"):
        done = subprocess.run(
            [sys.executable, "-S", "-c", SAYS],
            env={**os.environ, "NILOMETER_PURE_PYTHON": pure},
            capture_output=True,
            text=True,
            check=True,
        )

        assert done.stdout == "[] 0\n"
