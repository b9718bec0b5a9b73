"""What measuring costs Monasca's persister: `make bench-persister-cost`.

The loop is the persister's own, with a consumer that hands out messages from memory and a
database that takes everything: nothing else is as sensitive to what is added. Measured and not,
it takes turns in one process; of each turn counts the ratio of both sides' CPU time. The
service is the real one, on a broker and an InfluxDB; there batches take turns, as one process
differs from the next by more than what is looked for. `--instructions` counts those that the
loop runs, by callgrind: a number that a busy machine does not move.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from bench.pairs import median_bounds

ROOT = Path(__file__).parent.parent
LIMIT = 0.02  # what measuring may take of the throughput
BATCH = 5_000
ROUND = 10_000  # messages in one side of a turn: 60 ms
ROUNDS = 61
PRODUCED = 400_000  # through the service: forty turns of two batches
PER_SECOND = 25_000  # the broker keeps little, so they are consumed as they come
COUNTED = 5_000  # messages run under callgrind, beside as many again


# --- In the persister's own environment -------------------------------------------------------


class Message:
    """What a consumer hands out; only its value is asked for once partitions are known."""

    def __init__(self, value):
        self.value = lambda: value


class Given:
    """A consumer of messages from memory."""

    def __init__(self, messages):
        self.messages = messages

    def __iter__(self):
        return iter(self.messages)

    def commit(self):
        pass


class Loop:
    """The real persister and the real repository, with nothing on either side."""

    def __init__(self, count):
        from monasca_persister import config
        from monasca_persister import persister as _service  # noqa: F401 - as in the service
        from monasca_persister.repositories import persister
        from monasca_persister.repositories.influxdb import metrics_repository

        from examples.servers.monasca import message

        sys.argv = ["monasca-persister", "--log-file", os.devnull]
        config.parse_args()
        self.messages = [Message(message(number)) for number in range(count)]
        self.persister_class = persister.Persister
        self.repository_class = metrics_repository.MetricInfluxdbRepository

    def run(self, measured, times=1):
        """One side of a turn, each message so many times; the CPU time of what runs, in ns."""
        from nilometer.integrations import monasca_persister

        if measured:
            monasca_persister.install()
        try:
            kind = type("Bench", (self.persister_class,), {})

            class Settings:
                topic, batch_size, group_id = "metrics", BATCH, "1_metrics"

            made = kind(Settings, self.repository_class)
            made.repository.write_batch = lambda points: None
            made._consumer = Given(self.messages * times)
            gc.collect()
            began = time.thread_time_ns()
            made.run()
            made._flush()
            return time.thread_time_ns() - began
        finally:
            if measured:
                monasca_persister.uninstall()


def take_turns(rounds):
    """Ratios of measured to not measured, by turns that change order, and ns a message."""
    loop = Loop(ROUND)
    for measured in (False, True):
        loop.run(measured)
    ratios, bare, ours = [], [], []
    for number in range(rounds):
        took = {side: loop.run(side) for side in ((False, True), (True, False))[number % 2]}
        ratios.append(took[True] / took[False])
        bare.append(took[False] / ROUND)
        ours.append(took[True] / ROUND)
    return {"ratios": ratios, "bare_ns": median(bare), "measured_ns": median(ours)}


# --- From outside -----------------------------------------------------------------------------


def in_its_environment(*words, before=()):
    """Run this module by the persister's Python; what it prints."""
    from examples.servers.monasca import PYTHON, Missing

    if not PYTHON.exists():
        raise Missing(f"{PYTHON} is needed and not installed: scripts/install-monasca")
    done = subprocess.run(
        [*before, PYTHON, "-m", "bench.persister", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-4000:])
    return done.stdout, done.stderr


def instructions():
    """How many a message takes, not measured and measured: what twice as many add, by half."""
    found = {}
    for side in ("bare", "measured"):
        counted = []
        for times in (1, 2):
            with tempfile.TemporaryDirectory() as folder:
                tool = ("valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out")
                _, said = in_its_environment("--run", side, "--times", str(times), before=tool)
                line = next(line for line in said.splitlines() if "Collected :" in line)
                counted.append(int(line.split(":")[1]))
        found[side] = (counted[1] - counted[0]) / COUNTED
    return found


IN_TURNS = """
import json, time
from monasca_persister import persister
from monasca_persister.repositories.persister import Persister
from nilometer.integrations import monasca_persister

turns, processors = [], []

class Processor(monasca_persister.Processor):
    def __init__(self, *given):
        super().__init__(*given)
        processors.append(self)

monasca_persister.Processor = Processor
flush = Persister._flush

def in_turns(persister, began=[0]):
    count = persister._data_points.get_count()
    flush(persister)
    if count < {batch}:
        return
    now = time.thread_time_ns()
    if processors[0].on:
        turns.append([now - began[0], None])
    elif turns:
        turns[-1][1] = now - began[0]
    with open({told!r}, "w") as file:
        json.dump(turns, file)
    processors[0].on = not processors[0].on
    began[0] = time.thread_time_ns()

Persister._flush = in_turns
"""


def service(produced):
    """The same of the real service: its batches take turns at being measured, in one process.

    CPU time is that of the thread that consumes, with all that a message goes through there.
    """
    from examples.servers.monasca import InfluxDB, MockKafka, Persister, message
    from tests.collector import Collector

    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        collector = stack.enter_context(Collector(folder))
        kafka = stack.enter_context(MockKafka(folder / "kafka"))
        influxdb = stack.enter_context(InfluxDB(folder / "influxdb"))
        turns = folder / "turns.json"
        settings = {"export": collector.url.replace("http://", "otlp://")}
        persister = Persister(
            folder / "persister",
            kafka,
            influxdb,
            processors=1,
            batch_size=BATCH,
            measured=settings,
            before=IN_TURNS.format(batch=BATCH, told=str(turns)),
        )
        with persister:
            kafka.produce("metrics", map(message, range(produced)), per_second=PER_SECOND)
            give_up = time.monotonic() + 60
            while influxdb.points() < produced:
                if time.monotonic() > give_up or not persister.processors():
                    raise RuntimeError(f"{influxdb.points()} came:\n{persister.log[-3000:]}")
                time.sleep(0.2)
        pairs = [pair for pair in json.loads(turns.read_text())[1:] if pair[1]]
    return {
        "ratios": [ours / bare for ours, bare in pairs],
        "bare_ns": median(bare for _, bare in pairs) / BATCH,
        "measured_ns": median(ours for ours, _ in pairs) / BATCH,
    }


def told(name, found):
    """One line for people; whether the limit is kept, missed, or nobody can tell."""
    middle, (low, high) = median(found["ratios"]), median_bounds(found["ratios"])
    verdict = "met" if high <= 1 + LIMIT else "missed" if low > 1 + LIMIT else "open"
    return (
        f"{name}: {found['bare_ns']:,.0f} ns a message without, "
        f"{found['measured_ns']:,.0f} with; "
        f"x {middle:.4f} ({low:.4f} to {high:.4f}), limit x {1 + LIMIT:.2f}: {verdict}"
    )


def main():
    """Measure what is asked for, and say it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instructions", action="store_true", help="count them, by callgrind")
    parser.add_argument("--service", action="store_true", help="the real service, too")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--produced", type=int, default=PRODUCED)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--run", choices=("turns", "bare", "measured"), help=argparse.SUPPRESS)
    parser.add_argument("--times", type=int, default=1, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run == "turns":
        print(json.dumps(take_turns(given.rounds)))
        return
    if given.run:
        Loop(COUNTED).run(given.run == "measured", given.times)
        return
    found = {
        "loop": json.loads(
            in_its_environment("--run", "turns", "--rounds", str(given.rounds))[0]
        )
    }
    print(told("the persister's loop", found["loop"]), flush=True)
    if given.service:
        found["service"] = service(given.produced)
        print(told("the service", found["service"]), flush=True)
    if given.instructions:
        found["instructions"] = counted = instructions()
        print(
            f"instructions a message: {counted['bare']:,.0f} without, "
            f"{counted['measured']:,.0f} with; "
            f"x {counted['measured'] / counted['bare']:.4f}"
        )
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    sys.exit(main())
