"""`make demo-gate`: a gate learns what a test suite costs, and two changes are caught by it.

A real MariaDB and a real RabbitMQ are started, the shop's tests run 25 times, and the gate
learns. Then come two versions that pass all tests: one asks the database once per order where
it asked once, one tells the front ends of each article in a message of its own. Both must be
named, with counter, size, where it comes from and what to look at; ten further runs of the
version that was learned must stay silent. It ends with 1 if any of this does not come true.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pika
import pymysql

from examples.servers.brokers import RabbitMQ
from examples.servers.databases import MariaDB, folder
from examples.storefront.frontends import listen
from nilometer.gate.verdict import WARN_RUNS_MIN

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent.parent
SUITE: Final = "storefront"
SETTLE_S: Final = (
    2.5  # the broker here collects each second; its API may keep an answer for one
)


class Version(NamedTuple):
    """A version that costs more: its patch, and what the gate must name."""

    patch: str
    title: str
    counters: tuple[str, ...]


VERSIONS: Final = (
    Version(
        "n_plus_one.patch",
        "one statement per order, where there was one for all (N+1)",
        ("Com_select",),
    ),
    Version(
        "extra_message.patch",
        "one message per article to each front end, where there was one for all",
        ("storefront_fanout_publish",),
    ),
)


class Shop:
    """The shop in a repository of its own, its servers, and the history of its runs."""

    def __init__(self, place: Path, database: MariaDB, broker: RabbitMQ) -> None:
        self.repository = place / "repository"
        self.history = place / "history"
        port, api, prometheus = database.port, broker.api_port, broker.prometheus_port
        self._backends = [
            f"mysql://root@127.0.0.1:{port}",
            f"rabbitmq://127.0.0.1:{prometheus}?api=no",
            f"queues://guest:guest@127.0.0.1:{api}?settle_s={SETTLE_S}",
        ]
        self._environment = {
            **os.environ,
            "STOREFRONT_DATABASE": f"mysql+pymysql://root@127.0.0.1:{port}/storefront",
            "STOREFRONT_BROKER": broker.amqp_url,
            "NILOMETER_HISTORY": str(self.history),
            "NILOMETER_SUITE": SUITE,
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def begin(self) -> None:
        """Put the shop under version control, as it is before any change."""
        target = self.repository / "examples" / "storefront"
        shutil.copytree(HERE, target, ignore=shutil.ignore_patterns("__pycache__", "demo.py"))
        (target.parent / "__init__.py").touch()
        self._git("init", "--quiet", "--initial-branch=main")
        self.commit("What is sold today")

    def commit(self, message: str) -> None:
        """Keep the shop as it is now."""
        self._git("add", "--all")
        author = ["-c", "user.name=demo", "-c", "user.email=demo@localhost"]
        self._git(*author, "commit", "--quiet", "--message", message)

    def patch(self, name: str, *, back: bool = False) -> None:
        """Apply a change, or take it back."""
        self._git("apply", *(["--reverse"] if back else []), str(HERE / name))

    def _git(self, *words: str) -> None:
        self.repository.mkdir(parents=True, exist_ok=True)
        subprocess.run(["git", *words], cwd=self.repository, check=True)

    def measure(self, *, idle: str) -> None:
        """Run the shop's tests between two snapshots; if a test fails, that is the end."""
        backends = [word for url in self._backends for word in ("--backend", url)]
        tests = [sys.executable, "-m", "pytest", "-q", "--nilometer", "-p", "no:cacheprovider"]
        words = ["measure", "--quiet", "--idle", idle, *backends, "--", *tests]
        done = self._nilometer(*words, "examples/storefront/tests")
        if done.returncode:
            sys.exit(f"{done.stdout}{done.stderr}\nthe run failed with {done.returncode}")

    def gate(self, *words: str) -> str:
        """What a command of the gate prints."""
        done = self._nilometer("gate", *words)
        if done.returncode:
            sys.exit(f"{done.stdout}{done.stderr}\ngate {words[0]}: {done.returncode}")
        return done.stdout

    def _nilometer(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "nilometer", *words],
            cwd=self.repository,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )


def main(words: Sequence[str] | None = None) -> int:
    """Run the demonstration; 0 if all came true."""
    parser = argparse.ArgumentParser("demo-gate", description=__doc__)
    parser.add_argument("--runs", type=int, default=25, help="to learn from (25)")
    parser.add_argument("--further", type=int, default=10, help="unchanged runs after (10)")
    parser.add_argument("--idle", default="1s", help="how long drift is watched (1s)")
    given = parser.parse_args(words)
    with folder() as place:
        for name in ("mariadb", "rabbitmq"):
            (place / name).mkdir(mode=0o755)
        say("starting MariaDB and RabbitMQ")
        with MariaDB(place / "mariadb") as database, RabbitMQ(place / "rabbitmq") as broker:
            prepare(database, broker)
            shop = Shop(place, database, broker)
            shop.begin()
            missed = demonstrate(shop, given.runs, given.further, given.idle)
    for one in missed:
        say(f"NOT AS PROMISED: {one}")
    return 1 if missed else 0


def prepare(database: MariaDB, broker: RabbitMQ) -> None:
    """An empty database, and front ends that listen."""
    connection = pymysql.connect(host="127.0.0.1", port=database.port, user=database.user)
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE storefront")
    listening = pika.BlockingConnection(pika.URLParameters(broker.amqp_url))
    listen(listening.channel())
    listening.close()


def demonstrate(shop: Shop, runs: int, further: int, idle: str) -> list[str]:
    """Learn, change twice, go on unchanged; what did not come true."""
    missed: list[str] = []
    loud = 0
    repeat(shop, runs, idle, "what the shop's tests cost today")
    show("gate learn", shop.gate("learn"))
    for version in VERSIONS:
        shop.patch(version.patch)
        shop.commit(version.title)
        say(f"a new version: {version.title}")
        shop.measure(idle=idle)
        show("gate check", shop.gate("check"))
        missed += unnamed(json.loads(shop.gate("check", "--format", "json")), version)
        shop.patch(version.patch, back=True)
        shop.commit(f"Back: {version.title}")
    for number in range(1, further + 1):
        repeat(shop, 1, idle, f"unchanged, {number} of {further}")
        said = shop.gate("check", "--format", "markdown")
        if said:
            show("gate check --format markdown", said)
            missed.append(f"unchanged run {number} was not silent")
            loud += 1
    say(
        f"{further} further runs, unchanged: {f'{loud} were not silent' if loud else 'silence'}"
    )
    return missed


def unnamed(verdict: dict[str, Any], version: Version) -> list[str]:
    """What the verdict on a version should have named and did not."""
    named = json.dumps(verdict["findings"])
    missed = [
        f"{what} is not named ({version.title})"
        for what in (*version.counters, "examples/storefront/shop.py")
        if what not in named
    ]
    if verdict["runs"] >= WARN_RUNS_MIN and verdict["outcome"] not in ("warn", "fail"):
        missed.append(f"the verdict is {verdict['outcome']} ({version.title})")
    return missed


def repeat(shop: Shop, runs: int, idle: str, what: str) -> None:
    """Measure so often, telling how far it is."""
    began = time.monotonic()
    for number in range(1, runs + 1):
        shop.measure(idle=idle)
        if runs > 1:
            each_s = (time.monotonic() - began) / number
            left = f"{each_s * (runs - number):.0f} s left"
            say(f"{what}: run {number} of {runs}, {left}")
    if runs == 1:
        say(what)


def show(command: str, text: str) -> None:
    """A command and what it printed."""
    print(f"\n$ nilometer {command}\n{text}", flush=True)


def say(text: str) -> None:
    """One line of progress."""
    print(f"demo-gate: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
