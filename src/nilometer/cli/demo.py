"""`nilometer demo`: a collector, a small shop, two hundred requests, and what was seen."""

from __future__ import annotations

import os
import secrets
import shlex
import subprocess
import sys
import tempfile
import time
from http.client import HTTPConnection
from pathlib import Path

import click
from rich.progress import track
from rich.text import Text

from nilometer.cli import shapes
from nilometer.cli.collector import Collector
from nilometer.cli.exits import Exit
from nilometer.cli.processes import Processes, end_as_by_ctrl_c, free_port, nilometer
from nilometer.cli.serve import need_collector
from nilometer.cli.terminal import console, stop

REQUESTS = 200
VISIBLE_S_MAX = 60.0  # two seconds on an idle machine
SPANS = 1 + 2 * 3  # the request, then a price and its query for each of three articles


@click.command()
def demo() -> None:
    """See it work: measure a small shop through two hundred requests, and trace one.

    Starts a collector on an empty store and a shop, both on free ports of this machine; ends
    and removes them afterwards. Prints the commands it uses, so that you can go on with them.

    \b
    Example:
      nilometer demo
    """
    end_as_by_ctrl_c()
    need_collector()  # `serve` would say it, too, in the log of a process that did not start
    with tempfile.TemporaryDirectory(prefix="nilometer-demo-") as name:
        folder = Path(name)
        with Processes(folder) as processes:
            _run(processes, folder)


def _run(processes: Processes, folder: Path) -> None:
    key_file = folder / "trace.key"
    key_file.touch(mode=0o600)
    key_file.write_text(secrets.token_hex(32) + "\n", encoding="utf-8")
    port, shop = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    serve = [
        "--store",
        str(folder / "store"),
        "--listen",
        f"127.0.0.1:{port}",
        "--statsd",
        "off",
        "--window",
        "100ms",  # senders are answered after the commit, and so sooner
    ]
    err = console(stderr=True)
    with err.status("starting a collector"):
        processes.start("collector", *nilometer("serve", *serve), ready=f"{url}/api/v1/health")
    flags = ["--service", "shop", "--export", f"otlp://127.0.0.1:{port}", "--interval", "1s"]
    flags += ["--trace-key-file", str(key_file)]
    program = [sys.executable, "-m", "nilometer.cli.demo_shop", str(shop)]
    measured = nilometer("run", *flags, "--", *program)
    with err.status("starting a shop"):
        processes.start("shop", *measured, ready=f"http://127.0.0.1:{shop}/")
    for number in track(range(REQUESTS), f"sending {REQUESTS} requests", console=err):
        _get(shop, "/fail" if number % 50 == 0 else f"/buy/a{number % 50}", {})
    trace_id = _signed(shop, key_file)
    with err.status("waiting for the shop's next report"):
        _wait(Collector(url, None), trace_id)
    for command in (["trace", "show", trace_id], ["metrics", "top"], ["doctor", "--overhead"]):
        console().print(Text(f"\n$ nilometer {shlex.join(command)}", "bold"))
        subprocess.run(
            nilometer(*command), env={**os.environ, "NILOMETER_URL": url}, check=False
        )


def _get(port: int, path: str, headers: dict[str, str]) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def _signed(port: int, key_file: Path) -> str:
    """One request that carries a trigger; gives the id of its trace."""
    from nilometer.config import read_keys
    from nilometer.trace.trigger import new_trigger

    trace_id, headers = new_trigger(read_keys(key_file, origin="demo")[0], ttl_s=60)
    status = _get(port, "/buy/a1/a2/a3", headers)
    console().print(f"one more, signed by `nilometer trace new`: status {status}")
    return trace_id


def _wait(collector: Collector, trace_id: str) -> None:
    """Until the tables hold the trace and the requests' timer."""
    until = time.monotonic() + VISIBLE_S_MAX
    while time.monotonic() < until:
        seen = [
            t["spans"]
            for t in collector.ask("traces", shape=shapes.TRACES)["traces"]
            if t["id"] == trace_id
        ]
        names = [m["name"] for m in collector.ask("metrics", shape=shapes.METRICS)["metrics"]]
        if seen and seen[0] >= SPANS and "http.server.request" in names:
            return
        time.sleep(0.2)
    stop(f"the trace did not arrive within {VISIBLE_S_MAX:.0f} s", Exit.NOT_FOUND)
