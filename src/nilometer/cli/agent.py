"""`nilometer agent`: sends what killed processes left, for as long as it runs."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from nilometer.cli.arena_folder import arena_option, folder_of, processes
from nilometer.cli.exits import INTERRUPTED, Exit
from nilometer.cli.terminal import say, stop
from nilometer.cli.top import interval_s
from nilometer.errors import ConfigError
from nilometer.model.units import counted

if TYPE_CHECKING:
    from nilometer.config import Settings
    from nilometer.export import Outlet
    from nilometer.keeper import Handing

LOOK_S: Final = 0.1  # between two looks whether what was offered has arrived
ONCE_S: Final = 10.0  # a receiver that does not answer by then is down
ENDS: Final = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
ROWS_MAX: Final = 1_000_000  # twenty files of full instruments; they wait nowhere else


@click.command()
@arena_option
@click.option(
    "--export",
    multiple=True,
    metavar="URL",
    help="Where to send, as services are told; more than one is fine. [NILOMETER_EXPORT]",
)
@click.option("--every", default="10s", show_default=True, help="How often it looks.")
@click.option("--once", is_flag=True, help="Send what is there now, and end.")
def agent(arena: str | None, export: tuple[str, ...], every: str, *, once: bool) -> None:
    """Send what processes left that were killed, until it is told to end.

    Services with NILOMETER_ARENA keep their values in a file each. Of one that was killed, or
    ended by os._exit(), its last interval is sent with its own name, host and pid, and the
    attribute nilometer.collected=after_end; then the file is taken away. Services do that for
    each other, too: an agent is for hosts where none may be left.

    --once ends with 0 when all of it has arrived, and with 3 if not; then the files stay.

    \b
    Examples:
      nilometer agent --arena /run/nilometer --export otlp://127.0.0.1:4318
      nilometer agent --once --export file:///tmp/last.jsonl
    """
    settings = settings_of(folder_of(arena).as_posix(), export)
    every_s = interval_s(every)
    outlets = outlets_of(settings)
    from nilometer.keeper import Handing
    from nilometer.measure import REGISTRY

    handing = Handing(Path(settings.arena), REGISTRY)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
    try:
        if once:
            raise SystemExit(send_once(handing, outlets))
        say(f"nilometer: collecting from {settings.arena}; Ctrl-C ends it")
        send_on(handing, outlets, every_s)
    finally:
        handing.let_go()
        for outlet in outlets:
            outlet.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def is_told_to_end(within_s: float) -> bool:
    """Whether a signal asks for that; seen here only, never while something is sent."""
    return signal.sigtimedwait(ENDS, within_s) is not None


def settings_of(folder: str, export: tuple[str, ...]) -> Settings:
    """The settings of a service that sends there. Ends the command if there is nowhere."""
    from nilometer.config import load

    given = {"arena": folder, **({"export": list(export)} if export else {})}
    try:
        settings = load(given, argument_origin=lambda name: f"--{name.replace('_', '-')}")
    except ConfigError as error:
        stop(str(error), Exit.USAGE)
    if not settings.export:
        stop("--export: where to? or set NILOMETER_EXPORT [no-export]", Exit.USAGE)
    return settings


def outlets_of(settings: Settings) -> list[Outlet]:
    """An outlet for each URL, as a service has them."""
    from nilometer.export import Outlet, open_exporter
    from nilometer.export.address import hidden
    from nilometer.own import lost

    return [
        Outlet(hidden(url), open_exporter(url), lost=lost, rows_max=ROWS_MAX)
        for url in settings.export
    ]


def turn(handing: Handing, outlets: list[Outlet]) -> int:
    """Claim, offer and deliver once; how many files were claimed."""
    claimed = handing.hand_on(outlets)
    for outlet in outlets:
        outlet.deliver()
    handing.settle()
    return claimed


def send_once(handing: Handing, outlets: list[Outlet]) -> Exit:
    """Send all that is there; whether it arrived in time."""
    until, sent = time.monotonic() + ONCE_S, 0
    while (claimed := turn(handing, outlets)) or handing.pending:
        sent += claimed
        if time.monotonic() > until:
            because = "; ".join(outlet.state.because for outlet in outlets)
            stop(f"{counted(handing.pending, 'file')} not sent: {because}", Exit.UNREACHABLE)
        if is_told_to_end(LOOK_S if handing.pending else 0):
            raise SystemExit(INTERRUPTED)
    lost = sum(outlet.lost_rows for outlet in outlets)
    if lost:
        stop(f"{counted(lost, 'row')} refused; the log says why", Exit.REFUSED)
    say(f"nilometer: sent what {processes(sent)} left")
    return Exit.OK


def send_on(handing: Handing, outlets: list[Outlet], every_s: float) -> None:
    """Look and send until Ctrl-C; sooner where there was more than one turn takes."""
    wait_s = 0.0
    while not is_told_to_end(wait_s):
        claimed = turn(handing, outlets)
        if claimed:
            say(f"nilometer: claimed what {processes(claimed)} left")
        wait_s = 0 if claimed and not handing.pending else every_s
