"""`nilometer measure -- COMMAND`: what a command costs databases, brokers and the kernel."""

from __future__ import annotations

import json
import os
import shlex
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import click

from nilometer.cli.against import Against, measure_against
from nilometer.cli.child import Held
from nilometer.cli.collecting import backends
from nilometer.cli.counters import backend_options
from nilometer.cli.exits import INTERRUPTED, Exit
from nilometer.cli.journal import Journal
from nilometer.cli.measuring import Job, Watch, measure_once, state_directory
from nilometer.cli.revision import Revision, revision_of
from nilometer.cli.run import NOT_EXECUTABLE, executable, stop_with
from nilometer.cli.run_json import as_json
from nilometer.cli.run_summary import summary
from nilometer.cli.shown import shown, shown_flags
from nilometer.cli.terminal import Patience, one_line, say, stop
from nilometer.clock import Clock
from nilometer.config import load_for_commands, parse_duration_s
from nilometer.counters.apart import apart
from nilometer.counters.gather import Gatherer
from nilometer.errors import ConfigError, NilometerError, to_install

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nilometer.cli.journal import Entry
    from nilometer.config import CommandSettings
    from nilometer.model.run import Run
    from nilometer.store.runs import History

RUNS_MAX: Final = 1000
TICK_S: Final = 1.0

WAITING: Final = {
    "idle": "learning how the counters drift by themselves",
    "quiesce": "waiting until figures that lag have come in",
}


class Options(NamedTuple):
    """The flags that are not about backends, parsed."""

    suite: str
    history: str
    idle_s: float
    runs: int
    revision: Revision
    work: int | None
    test_set: str | None
    junit: Path | None
    json_file: str | None
    quiet: bool


@click.command()
@backend_options
@click.option("--idle", default="10s", show_default=True, help="Watch so long how they drift.")
@click.option(
    "--runs", default=1, show_default=True, type=click.IntRange(1, RUNS_MAX), help="So often."
)
@click.option("--suite", metavar="NAME", help="What is run. [NILOMETER_SUITE; else COMMAND]")
@click.option(
    "--history", metavar="DIR", help="Where runs are kept. [NILOMETER_HISTORY; else .nilometer]"
)
@click.option("--work", default="auto", metavar="N|auto", help="Units of work done: tests.")
@click.option("--test-set", metavar="TEXT", help="Which tests ran. [default: what they tell]")
@click.option("--junit", metavar="FILE", help="JUnit XML that COMMAND writes: work, test set.")
@click.option("--revision", default="auto", metavar="TEXT|auto", help="What is measured.")
@click.option(
    "--json", "json_file", metavar="FILE", help="Append each run to FILE, a line each."
)
@click.option("--against", metavar="REV", help="Compare with this version, by turns.")
@click.option(
    "--pairs", default=7, show_default=True, type=click.IntRange(6, RUNS_MAX), help="Of these."
)
@click.option("--prepare", metavar="COMMAND", help="Run this first where that version lies.")
@click.option(
    "--shared", metavar="MODULE", multiple=True, help="May be the same for both versions."
)
@click.option("--quiet", "-q", is_flag=True, help="No summary, only what went wrong.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True)
def measure(
    command: tuple[str, ...], named: tuple[str, ...], without: tuple[str, ...], **flags: Any
) -> None:
    """Run COMMAND and record what it moved in databases, brokers and the kernel.

    Their counters are read before and after, less what reading them costs and what they drift
    by themselves. COMMAND keeps its input, its output, its signals and its exit code; the run
    is added to the history, from which `nilometer gate` learns what is normal.

    With --against a git worktree of that version is measured by turns with this one, and what
    costs more is told: exit code 6, and 1 if nobody can say. Each imports its own files, also
    of a project installed with pip install -e; what git ignores, --prepare builds there. These
    runs are not added to the history; --json appends the verdict, and with -q it is told only
    if something is wrong.

    \b
    Examples:
      nilometer measure -- pytest --nilometer
      nilometer measure --runs 20 --suite unit -- make test
      nilometer measure -b mysql -b rabbitmq --idle 30s -- tox -e functional
      nilometer measure --against main --idle 1s -- pytest --nilometer
    """
    try:
        options = _options(command, flags)
        chosen = apart(backends(named, without))
    except ConfigError as error:
        stop(str(error), Exit.USAGE)
    for flag in ("prepare", "shared"):
        if flags[flag] and flags["against"] is None:
            stop(f"--{flag} is for a comparison: add --against REV", Exit.USAGE)
    job = _job(command, options, click.get_current_context())
    clock = Clock()
    gatherer = Gatherer(chosen, clock)
    try:
        if flags["against"] is not None:
            against = _against(flags, options)
            raise SystemExit(measure_against(against, job, gatherer, clock))
        codes = [_one(job, options, gatherer, clock) for _ in range(options.runs)]
    except OSError as error:
        stop_with(NOT_EXECUTABLE, f"{command[0]}: {error.strerror or error}")
    except _Interrupted as ended:
        codes = [ended.code]
    finally:
        for because in gatherer.close():
            say(f"nilometer: {because}")
    raise SystemExit(next(filter(None, codes), 0))


class _Interrupted(Exception):  # noqa: N818 - no error: somebody wanted it
    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code


def _options(command: Sequence[str], flags: dict[str, Any]) -> Options:
    """The flags and the settings together. Raises ConfigError."""
    settings: CommandSettings = load_for_commands()
    work = flags["work"]
    if work != "auto" and not (work.isascii() and work.isdigit()):
        raise ConfigError(f"--work: {work!r} is neither a number nor auto", slug="bad-work")
    revision = Revision(flags["revision"])
    return Options(
        suite=flags["suite"] or settings.suite or shown(command),
        history=flags["history"] or settings.history,
        idle_s=parse_duration_s(flags["idle"], origin="--idle"),
        runs=flags["runs"],
        revision=revision_of(Path.cwd()) if revision.commit == "auto" else revision,
        work=None if work == "auto" else int(work),
        test_set=flags["test_set"],
        junit=None if flags["junit"] is None else Path(flags["junit"]),
        json_file=flags["json_file"],
        quiet=flags["quiet"],
    )


def _against(flags: dict[str, Any], options: Options) -> Against:
    """What the flags say of comparing with another version; what they cannot mean ends it."""
    try:
        prepare = tuple(shlex.split(flags["prepare"] or ""))
    except ValueError as error:
        stop(f"--prepare: {flags['prepare']!r}: {error}", Exit.USAGE)
    told = options.json_file, options.quiet
    return Against(flags["against"], flags["pairs"], prepare, *told, flags["shared"])


def _job(command: Sequence[str], options: Options, context: click.Context) -> Job:
    executable(command[0], os.environ.get("PATH"))  # ends as a shell would if there is none
    attributes: dict[str, Any] = {"command": shown(command), "idle_s": options.idle_s}
    attributes |= shown_flags(context)
    if options.revision.dirty:
        attributes["vcs.dirty"] = True
    return Job(
        tuple(command),
        options.suite,
        Path.cwd(),
        os.environ,
        options.idle_s,
        options.revision.commit,
        options.revision.branch,
        options.work,
        options.test_set,
        options.junit,
        attributes,
    )


def _one(job: Job, options: Options, gatherer: Gatherer, clock: Clock) -> int:
    """Measure once and record it; the exit code that tells of both."""
    held = Held()
    try:
        code = _measured(job, options, gatherer, clock, held)
    finally:
        held.end()
    if held.came:
        raise _Interrupted(code or INTERRUPTED)
    return code


def _measured(job: Job, options: Options, gatherer: Gatherer, clock: Clock, held: Held) -> int:
    journal = Journal(options.history, state_directory())
    entry: list[Entry] = []
    waits = _Waits()

    def begun(run: Run) -> None:
        waits.end()
        try:
            entry.append(journal.begin(run))
        except OSError as error:
            say(
                f"nilometer: {journal.begun}: {error.strerror or error}; "
                "if measure dies now, nobody will know of this run"
            )
        held.begin()

    def opened(unread: Sequence[str]) -> None:
        for because in unread:
            say(f"nilometer: {because}")

    watch = Watch(waits.tell, opened, begun, waits.begin, held.started, held.waiting)
    brackets = state_directory() / "brackets"
    with waits:
        try:
            run = measure_once(
                job, gatherer, waits.ticking(clock), watch=watch, brackets=brackets
            )
        except OSError:
            for one in entry:  # the command did not start: there was no run
                one.end()
            raise
    recorded = record(run, options.history, journal, quiet=options.quiet)
    for one in entry:
        one.end()
    if not options.quiet:
        say("\n".join(("nilometer: " + summary(run)[0], *summary(run)[1:])))
    if options.json_file is not None:
        _append_json(run, options.json_file)
    code = _code(run, recorded)
    if run.because.startswith("interrupted"):
        raise _Interrupted(code or INTERRUPTED)
    return code


def _code(run: Run, recorded: bool) -> int:
    status = run.exit_status or 0
    if status:
        return status if status > 0 else 128 - status
    return 0 if recorded else int(Exit.UNRECORDED)


def record(run: Run, location: str, journal: Journal, *, quiet: bool = False) -> bool:
    """Append a run to the history, and first what was left over; else keep it in a file."""
    try:
        with ExitStack() as stack:
            history = _history(location)
            stack.callback(history.close)
            for told in journal.strange():
                say(one_line(f"nilometer: {told}"))
            for found in journal.recover(history):
                why = f": {found.because}" if found.because else ""
                say(one_line(f"nilometer: recorded, too: run {found.id} of {found.suite}{why}"))
            history.append(run)
            if history.lost:
                say(f"nilometer: the run is recorded; of the history was {history.lost}")
            if history.upkeep_failed and not quiet:
                say(f"nilometer: the run is recorded, but {history.upkeep_failed}")
    except (NilometerError, OSError, ImportError) as error:
        _keep(run, journal, error)
        return False
    return True


def _history(location: str) -> History:
    """The history there; its libraries are loaded after the run, which they would disturb."""
    try:
        from nilometer.store.runs import History
    except ImportError as error:
        told = f"a history needs {error.name}: {to_install('store')}"
        raise ImportError(told) from error
    return History(location)


def _keep(run: Run, journal: Journal, error: Exception) -> None:
    why = f"nilometer: the history did not take the run: {error}"
    try:
        file = journal.keep(run)
    except OSError as worse:
        say(f"{why}; nor can it be kept in {journal.unrecorded}: {worse.strerror}; this is it:")
        say(json.dumps(as_json(run)))
        return
    say(f"{why}; it is kept in {file}, and the next measure that can will record it")


def _append_json(run: Run, file: str) -> None:
    try:
        with Path(file).open("a") as stream:
            stream.write(json.dumps(as_json(run), allow_nan=False) + "\n")
    except OSError as error:
        say(f"nilometer: --json {file}: {error.strerror or error}")


class _Waits:
    """Says what is waited for, before and after the command, never while it runs."""

    def __init__(self) -> None:
        self._patience: Patience | None = None
        self._what = ""
        self._left_s = 0.0

    def begin(self) -> None:
        """From now on we wait for backends."""
        self._patience = Patience("reading counters")
        self._patience.__enter__()

    def end(self) -> None:
        """From now on the terminal is the command's."""
        if self._patience is not None:
            self._patience.__exit__()
            self._patience = None

    def tell(self, what: str, seconds: float) -> None:
        """This is waited for, so long."""
        self._what, self._left_s = WAITING.get(what, what), seconds
        self._show()

    def _show(self) -> None:
        if self._patience is not None:
            self._patience.tell(f"{self._what}, {self._left_s:.0f} s")

    def ticking(self, clock: Clock) -> Clock:
        """The same clock, which shows meanwhile how long a sleep still takes."""

        def sleep_s(seconds: float) -> None:
            until = time.monotonic() + seconds
            while (left := until - time.monotonic()) > 0:
                self._left_s = left
                self._show()
                clock.sleep_s(min(TICK_S, left))

        return clock._replace(sleep_s=sleep_s)

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
