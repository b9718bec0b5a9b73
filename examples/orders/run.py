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
import subprocess
import sys
import tempfile
import time
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import urlopen

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TimeElapsedColumn
from rich.text import Text

from examples.orders import load
from nilometer.cli.exits import INTERRUPTED
from nilometer.cli.processes import Processes, end_as_by_ctrl_c, free_port, nilometer

if TYPE_CHECKING:
    from collections import Counter

INTERVAL = "1s"  # how often the services report; the default of 10 s would only make you wait
VISIBLE_S_MAX = 60.0  # three seconds on an idle machine; twenty times that on a busy one
LOOK_S = 0.3
REQUESTS_MAX = 1_000_000
SPANS_EXPECTED = 20  # the signed request touches both services: far more spans than this

console = Console(highlight=False)


class Running(NamedTuple):
    """Where everything is."""

    folder: Path
    collector: str
    shop: str
    key_file: Path


def start(processes: Processes, folder: Path) -> Running:
    """The collector, and as soon as it is up both services at once."""
    key_file = folder / "trace.key"
    key_file.touch(mode=0o600)
    key_file.write_text(secrets.token_hex(32) + "\n")
    port, statsd, stock, shop = (free_port() for _ in range(4))
    here = Running(folder, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{shop}", key_file)

    # A window shorter than the default: senders are answered after the commit, and so sooner.
    collector = ["serve", "--store", str(folder / "store"), "--window", "100ms"]
    collector += ["--listen", f"127.0.0.1:{port}"]
    tables = folder / "store"
    console.print(f"collector  {here.collector}, tables in {tables}", soft_wrap=True)
    with console.status("starting the collector"):
        begun = processes.begin(
            "collector",
            *nilometer(*collector, "--statsd", f"127.0.0.1:{statsd}"),
            ready=f"{here.collector}/api/v1/health",
        )
        create_tables(folder)
        begun.wait_until_ready()
    console.print(f"stock      http://127.0.0.1:{stock}, Starlette under uvicorn")
    console.print(f"orders     {here.shop}, Flask under gunicorn, two workers")
    uvicorn = ["uvicorn", "examples.orders.warehouse:app", "--port", str(stock)]
    gunicorn = ["gunicorn", "examples.orders.shop:app", "--bind", f"127.0.0.1:{shop}"]
    with console.status("starting both services"):
        services = [
            processes.begin(
                "stock",
                *measured(here, "stock", *uvicorn),
                ready=f"http://127.0.0.1:{stock}/stock/sku-000",
                ORDERS_FOLDER=str(folder),
            ),
            processes.begin(
                "orders",
                *measured(here, "orders", *gunicorn, "--workers", "2", "--threads", "4"),
                ready=f"{here.shop}/orders",
                ORDERS_FOLDER=str(folder),
                STOCK_URL=f"http://127.0.0.1:{stock}",
            ),
        ]
        for service in services:
            service.wait_until_ready()
    return here


def create_tables(folder: Path) -> None:
    """The services' own databases."""
    from examples.orders import tables

    tables.FOLDER = folder
    tables.create()


def measured(here: Running, service: str, *command: str) -> list[str]:
    """A service's command under `nilometer run`."""
    flags = ["--service", service, "--export", here.collector.replace("http:", "otlp:")]
    flags += ["--interval", INTERVAL, "--level", "detail"]
    flags += ["--trace-key-file", str(here.key_file)]
    return nilometer("run", *flags, "--", sys.executable, "-m", *command)


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
    try:
        groups = fetch(url)["statistics"]
    except HTTPError as error:
        if error.code != HTTPStatus.NOT_FOUND:
            raise
        return 0  # nothing has reported yet
    return sum(int(row["count"]) for row in groups if row["group"]["service"] == "orders")


def wait_until_visible(here: Running, trace_id: str, requests: int) -> None:
    """Until the tables hold every request and a trace that no longer grows."""
    until = time.monotonic() + VISIBLE_S_MAX
    before, seen = -1, 0
    with console.status("waiting for the services' next report"):
        while time.monotonic() < until:
            found = fetch(f"{here.collector}/api/v1/traces")["traces"]
            spans = next((one["spans"] for one in found if one["id"] == trace_id), 0)
            seen = served(here)
            if spans == before and spans >= SPANS_EXPECTED and seen >= requests:
                return
            before = spans
            time.sleep(LOOK_S)
    raise SystemExit(
        f"after {VISIBLE_S_MAX:.0f} s the tables hold {before} spans of the signed request, "
        f"{SPANS_EXPECTED} at least should be there, and {seen} of {requests} requests"
    )


def show(here: Running, *arguments: str) -> None:
    """Run a command as you would type it."""
    console.print(f"\n[bold]$ nilometer {shlex.join(arguments)}[/bold]")
    sys.stdout.flush()
    environment = {**os.environ, "NILOMETER_URL": here.collector}
    ended = subprocess.run(nilometer(*arguments), env=environment, check=False).returncode
    if ended:
        raise SystemExit(f"nilometer {shlex.join(arguments)} ended with status {ended}")


def tell(here: Running, answers: Counter[tuple[str, int]], trace_id: str) -> None:
    """The tree, the costliest timers, and what Nilometer itself cost."""
    mixed = ", ".join(
        f"{n} {kind} -> {status}" for (kind, status), n in sorted(answers.items())
    )
    console.print(f"answered: {mixed}", soft_wrap=True)
    show(here, "trace", "show", trace_id)
    show(here, "metrics", "top", "--limit", "10")
    show(here, "doctor", "--overhead")


FURTHER = (
    ("nilometer trace list", "the signed request; with --error only those that failed"),
    ("nilometer metrics list", "everything that is measured"),
    ("nilometer metrics stats db.client.operation --group-by db.operation.name", ""),
)


def point_further(here: Running, when: str) -> None:
    """What to type next: commands that work as they stand while everything is up."""
    # The command is in this interpreter's environment, which is on nobody's PATH as yet.
    beside = Path(sys.executable).absolute().parent
    console.print(f"\n[bold]Where to look further[/bold], {when}:")
    say(f"export PATH={shlex.quote(str(beside))}:$PATH NILOMETER_URL={here.collector}")
    for command, gives in FURTHER:
        say(f"{command:30}# {gives}" if gives else command)
    say(f"{here.collector}/api/v1/traces   # REST; its description: /api/v1/openapi.json")
    say(f"ls {here.folder}/store   # the tables: Delta Lake, for DuckDB, Spark, ...")


PAGES = (
    ("services", "who lives, how busy and how slow each is, and what measuring costs"),
    ("traces/{trace_id}", "the signed request: why was it slow?"),
    ("metrics/http.server.request?group_by=service", "how long all requests took"),
    ("doctor", "what was lost, and what to do next"),
)


def point_to_pages(here: Running, trace_id: str, when: str) -> None:
    """Where a browser shows what just happened."""
    console.print(f"\n[bold]What just happened, as pages[/bold], {when}:")
    for path, shows in PAGES:
        say(f"{here.collector}/{path.format(trace_id=trace_id)}   # {shows}")


def say(line: str) -> None:
    """One line as it is, to be copied: never broken to fit the terminal."""
    console.print(Text(f"  {line}"), soft_wrap=True)


def stay_up() -> None:
    """Until Ctrl-C, or until whoever started us asks us to end."""
    console.print("\nEverything stays up; Ctrl-C ends it and removes its tables.")
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        console.print("ending")


def whole_number(text: str) -> int:
    """So many requests: one at least."""
    count = int(text) if text.isdecimal() else 0
    if not 1 <= count <= REQUESTS_MAX:
        raise argparse.ArgumentTypeError(f"{text!r}: a number from 1 to {REQUESTS_MAX:,}")
    return count


def main() -> None:
    """Parse the flags, do the job, end all that was started, whatever happens."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--once", action="store_true", help="end after printing")
    parser.add_argument("--requests", type=whole_number, default=2000, metavar="N")
    chosen = parser.parse_args()
    end_as_by_ctrl_c()
    try:
        do(chosen.requests, stays_up=not chosen.once)
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


def do(requests: int, *, stays_up: bool) -> None:
    """The job; where it fails, the ends of all logs say why."""
    folder = tempfile.TemporaryDirectory(prefix="nilometer-orders-")
    with folder as name, Processes(Path(name)) as processes:
        here = start(processes, Path(name))
        try:
            answers, trace_id = send(here, requests)
            wait_until_visible(here, trace_id, requests)
            tell(here, answers, trace_id)
            point_further(here, "in another terminal" if stays_up else "without --once")
            point_to_pages(here, trace_id, "in a browser" if stays_up else "without --once")
        except (Exception, SystemExit):
            console.print(Text(processes.said()))
            raise
        if stays_up:
            stay_up()


if __name__ == "__main__":
    main()
