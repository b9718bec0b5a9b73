"""`make demo-zaqar`: Zaqar from PyPI, measured through `nilometer run` and settings alone.

A real Redis and MariaDB are started, Zaqar on them with `pooling = true`, and its own client
sends it a message in a trace. Printed are that request's tree, what each switch takes away, the
instruments with their values, a request to a Zaqar whose pools are in MongoDB (or what speaks
its protocol), and what all this costs, beside OSProfiler. Ends with 1 if a switch takes away
anything else, or a cost is above its limit; where the noise of the machine holds the limit, so
that more rounds would have to tell, it says so.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from examples.servers.databases import folder
from examples.zaqar import overhead, report, switches
from examples.zaqar.deployment import BIN, HERE, PROJECT, QUEUE, Deployment, Zaqar, deployed
from examples.zaqar.overhead import MISSED, WITHIN_NOISE
from nilometer.cli.exits import INTERRUPTED
from nilometer.cli.processes import Processes, end_as_by_ctrl_c, nilometer

if TYPE_CHECKING:
    from collections.abc import Sequence

ROUNDS: Final = 15
ROUNDS_MIN: Final = 6
TURNS: Final = 84  # each way is the first of a turn as often as any other, in both orders
SHORT: Final = (1, 4)
REQUESTS: Final = 50  # so that instruments have something to tell


def main(words: Sequence[str] | None = None) -> int:
    """Run the demonstration; 0 if all came true."""
    parser = argparse.ArgumentParser("demo-zaqar", description=__doc__)
    parser.add_argument("--short", action="store_true", help="a cost of no meaning, in seconds")
    parser.add_argument(
        "--rounds",
        type=int,
        default=ROUNDS,
        metavar="N",
        help=f"of 20 s each; {ROUNDS} of them",
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write what came out there")
    given = parser.parse_args(words)
    if given.rounds < ROUNDS_MIN:
        parser.error(f"--rounds {given.rounds}: fewer than {ROUNDS_MIN} bound no median")
    end_as_by_ctrl_c()
    try:
        return demonstrate(short=given.short, rounds=given.rounds, to=given.report)
    except KeyboardInterrupt:
        return INTERRUPTED


def demonstrate(*, short: bool, rounds: int = ROUNDS, to: Path | None) -> int:
    """All of it; what is started ends with it."""
    rounds, turns = SHORT if short else (rounds, TURNS)
    page = report.Page()
    with folder() as place, Processes(place) as processes:
        say("starting MariaDB, Redis and the collector; Zaqar makes its tables")
        with deployed(place, processes) as deployment:
            with Processes(place) as servers:
                show_tree(deployment, page, servers)
            say("a Zaqar for each switch")
            seen = switches.try_each(deployment)
            page.add(report.of_switches(seen))
            costs = overhead.compare(deployment, rounds=rounds, turns=turns, say=say)
            page.add(report.of_costs(costs, rounds=rounds))
    if to is not None:
        to.write_text(page.text)
    missed = [f"switch {one.switch.what}: gone {one.gone}" for one in seen if not one.is_exact]
    if not short:
        missed += [f"cost of {one.way.name}" for one in costs if one.verdict == MISSED]
        for one in costs:
            if one.verdict == WITHIN_NOISE:
                say(f"not decided, more --rounds would tell: cost of {one.way.name}")
    for one in missed:
        say(f"NOT AS PROMISED: {one}")
    return 1 if missed else 0


def show_tree(deployment: Deployment, page: report.Page, servers: Processes) -> None:
    """A traced POST of Zaqar's own client, and the instruments after some more."""
    zaqar = deployment.begin(servers, "zaqar", flags=deployment.traced())
    say(f"starting Zaqar: nilometer run -- zaqar-server, {zaqar.url}")
    zaqar.process.wait_until_ready()
    deployment.furnish(zaqar)
    for _ in range(REQUESTS):
        zaqar.post()
    say("its client sends a message in a trace: nilometer run -- python send.py")
    trace_id = send(deployment, zaqar)
    deployment.spans(trace_id, at_least=report.SPANS_MIN)
    page.add(report.of_tree(show(deployment, "trace", "show", trace_id)))
    time.sleep(1)  # the report after that request
    page.add(report.of_instruments(deployment))


def send(deployment: Deployment, zaqar: Zaqar) -> str:
    """One message by python-zaqarclient; gives the id of its trace."""
    script = [str(BIN / "python"), str(HERE / "send.py"), zaqar.url, PROJECT, QUEUE]
    # Else zaqarclient asks OSProfiler for headers, before its request has a span of its own.
    flags = [*deployment.traced("--service", "client"), *overhead.ALONE]
    return _output(nilometer("run", *deployment.settings(), *flags, "--", *script)).strip()


def show(deployment: Deployment, *words: str) -> str:
    """What a command prints; it is as you would type it."""
    return f"$ nilometer {shlex.join(words)}\n" + _output(
        nilometer(*words, "--url", deployment.collector)
    )


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{shlex.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def say(text: str) -> None:
    """One line of progress."""
    print(f"demo-zaqar: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
