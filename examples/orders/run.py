"""The main job: real requests to real services, measured, traced, stored, and shown again.

    python -m examples.orders.run [--once] [--requests 2000]

Starts the collector on an empty store and two services under `nilometer run` (their source does
not set Nilometer up), sends the requests and one signed one, and prints what Nilometer kept of
them with the same commands that you would type. Stays up until Ctrl-C unless told `--once`.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.request import urlopen

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TimeElapsedColumn

from examples.orders import load
from nilometer.cli.processes import Processes, free_port, nilometer

if TYPE_CHECKING:
    from collections import Counter

INTERVAL = "2s"  # how often the services report; the default of 10 s would only make you wait
VISIBLE_S_MAX = 30.0
SPANS_EXPECTED = 20  # the signed request touches both services: far more spans than this

console = Console(highlight=False)


class Running(NamedTuple):
    """Where everything is."""

    folder: Path
    collector: str
    shop: str
    key_file: Path


def start(processes: Processes, folder: Path) -> Running:
    """The collector first, then the service that is called, then the one that calls it."""
    key_file = folder / "trace.key"
    key_file.touch(mode=0o600)
    key_file.write_text(secrets.token_hex(32) + "\n")
    port, statsd, stock, shop = (free_port() for _ in range(4))
    here = Running(folder, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{shop}", key_file)

    collector = ["serve", "--store", str(folder / "store"), "--listen", f"127.0.0.1:{port}"]
    console.print(f"collector  {here.collector}, tables in {folder / 'store'}")
    processes.start(
        "collector",
        *nilometer(*collector, "--statsd", f"127.0.0.1:{statsd}"),
        ready=f"{here.collector}/api/v1/health",
    )

    def measured(service: str, *command: str) -> list[str]:
        flags = ["--service", service, "--export", f"otlp://127.0.0.1:{port}"]
        flags += [
            "--interval",
            INTERVAL,
            "--trace-key-file",
            str(key_file),
            "--level",
            "detail",
        ]
        return nilometer("run", *flags, "--", sys.executable, "-m", *command)

    from examples.orders import tables

    tables.FOLDER = folder
    tables.create()
    console.print(f"stock      http://127.0.0.1:{stock}, Starlette under uvicorn")
    uvicorn = ["uvicorn", "examples.orders.warehouse:app", "--port", str(stock)]
    processes.start(
        "stock",
        *measured("stock", *uvicorn),
        ready=f"http://127.0.0.1:{stock}/stock/sku-000",
        ORDERS_FOLDER=str(folder),
    )
    console.print(f"orders     {here.shop}, Flask under gunicorn, two workers")
    gunicorn = ["gunicorn", "examples.orders.shop:app", "--bind", f"127.0.0.1:{shop}"]
    processes.start(
        "orders",
        *measured("orders", *gunicorn, "--workers", "2", "--threads", "4"),
        ready=f"{here.shop}/orders",
        ORDERS_FOLDER=str(folder),
        STOCK_URL=f"http://127.0.0.1:{stock}",
    )
    return here


def send(here: Running, requests: int) -> tuple[Counter[tuple[str, int]], str]:
    """All requests, then the signed one; gives the answers and the id of the trace."""
    columns = (SpinnerColumn(), *Progress.get_default_columns(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(f"sending {requests} requests", total=requests)
        answers = load.send(here.shop, requests, lambda: progress.advance(task))
    signed = json.loads(ask(here, "trace", "new", "--key-file", str(here.key_file), "--json"))
    status = load.send_signed(here.shop, signed["headers"])
    console.print(f"one more, signed: order placed with status {status}")
    return answers, str(signed["trace_id"])


def ask(here: Running, *arguments: str) -> str:
    """What a command prints."""
    ran = subprocess.run(
        nilometer(*arguments),
        env={**os.environ, "NILOMETER_URL": here.collector},
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        raise SystemExit(f"nilometer {shlex.join(arguments)} failed: {ran.stderr}")
    return ran.stdout


def fetch(url: str) -> Any:
    with urlopen(url, timeout=10) as answer:
        return json.load(answer)


def served(here: Running) -> int:
    """How many requests the tables know of, over both services."""
    url = f"{here.collector}/api/v1/metrics/http.server.request/statistics?group_by=service"
    groups = fetch(url)["statistics"]
    return sum(int(row["count"]) for row in groups if row["group"]["service"] == "orders")


def wait_until_visible(here: Running, trace_id: str, requests: int) -> None:
    """Until the tables hold every request and a trace that no longer grows."""
    until = time.monotonic() + VISIBLE_S_MAX
    before = -1
    with console.status("waiting for the services' next report"):
        while time.monotonic() < until:
            time.sleep(0.5)
            found = [
                t
                for t in fetch(f"{here.collector}/api/v1/traces")["traces"]
                if t["id"] == trace_id
            ]
            spans = found[0]["spans"] if found else 0
            if spans == before and spans >= SPANS_EXPECTED and served(here) >= requests:
                return
            before = spans
    raise SystemExit(f"after {VISIBLE_S_MAX:.0f} s: {before} spans, {served(here)} requests")


def show(here: Running, *arguments: str) -> None:
    """Run a command as you would type it."""
    console.print(f"\n[bold]$ nilometer {shlex.join(arguments)}[/bold]")
    sys.stdout.flush()
    environment = {**os.environ, "NILOMETER_URL": here.collector}
    ended = subprocess.run(nilometer(*arguments), env=environment, check=False).returncode
    if ended:
        raise SystemExit(f"nilometer {shlex.join(arguments)} ended with status {ended}")


def tell(here: Running, answers: Counter[tuple[str, int]], trace_id: str) -> None:
    """The tree, the costliest timers, what Nilometer itself cost, and where to go on."""
    mixed = ", ".join(
        f"{n} {kind} -> {status}" for (kind, status), n in sorted(answers.items())
    )
    console.print(f"answered: {mixed}")
    show(here, "trace", "show", trace_id)
    show(here, "metrics", "top", "--limit", "10")
    show(here, "doctor", "--overhead")
    console.print("\n[bold]Where to look further[/bold]")
    console.print(f"  export NILOMETER_URL={here.collector}")
    console.print("  nilometer trace list --error            requests that failed")
    console.print("  nilometer metrics list                  everything that is measured")
    console.print("  nilometer metrics stats db.client.operation --group-by db.operation.name")
    console.print(f"  {here.collector}/api/v1/docs   the same over REST")
    console.print(f"  {here.folder}/store   the tables: Delta Lake, for DuckDB, Spark, ...")


def stay_up() -> None:
    """Until Ctrl-C, or until whoever started us asks us to end."""
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        console.print("ending")


def end_like_ctrl_c(*_: object) -> None:
    """SIGTERM unwinds the blocks that end the servers, as Ctrl-C does."""
    raise KeyboardInterrupt


def main() -> None:
    signal.signal(signal.SIGTERM, end_like_ctrl_c)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--once", action="store_true", help="end after printing")
    parser.add_argument("--requests", type=int, default=2000, metavar="N")
    chosen = parser.parse_args()
    folder = tempfile.TemporaryDirectory(prefix="nilometer-orders-")
    with folder as name, Processes(Path(name)) as processes:
        here = start(processes, Path(name))
        answers, trace_id = send(here, chosen.requests)
        wait_until_visible(here, trace_id, chosen.requests)
        tell(here, answers, trace_id)
        if not chosen.once:
            console.print("\nEverything stays up; Ctrl-C ends it.")
            stay_up()


if __name__ == "__main__":
    main()
