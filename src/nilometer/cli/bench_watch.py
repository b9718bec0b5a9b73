"""A run of `nilometer bench persister`: load on one side, readings of a source on the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.cli.bench_load import Lag, Load, Offsets
from nilometer.cli.bench_report import rates, report, sampled
from nilometer.cli.bench_sources import SourceError
from nilometer.cli.exits import INTERRUPTED, Exit
from nilometer.cli.terminal import console, say, stop
from nilometer.clock import Clock, elapsed_ns
from nilometer.errors import to_install

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nilometer.cli.bench_load import Plan
    from nilometer.cli.bench_report import Sample
    from nilometer.cli.bench_sources import Source

SAY_S: Final = 5.0  # a line in a log so often
SETTLED_S: Final = 15.0  # a report comes every 10 s, and is committed a second later


class Wanted(NamedTuple):
    """What a run is to be."""

    source: str
    at: tuple[str, ...]
    brokers: str
    topic: str
    group: str
    plan: Plan
    total: int
    rate: float
    every_s: float
    timeout_s: float


class End(NamedTuple):
    """How a run ended: with what exit code, and why if that is not 0."""

    because: str = ""
    code: int = Exit.OK  # or INTERRUPTED


def run(wanted: Wanted, source: Source) -> tuple[dict[str, Any], End]:
    """Put the load on, watch it, and report; and how it ended."""
    load, lag = None, None
    try:
        watch = Watch(wanted, source)
        if wanted.brokers:
            load = Load(
                wanted.brokers,
                wanted.topic,
                wanted.plan,
                total=wanted.total,
                per_second=wanted.rate,
            )
            lag = Lag(wanted.brokers, wanted.topic, wanted.group)
            stuck = watch.cleared(lag)
            if stuck is not None:
                return watch.report(None), stuck
            load.start()
        end = watch.until_done(load, lag)
    except SourceError as error:
        stop(str(error), Exit.UNREACHABLE)
    except ConnectionError as error:
        stop(f"--brokers: no Kafka at {wanted.brokers}: {error}", Exit.UNREACHABLE)
    except ModuleNotFoundError as error:
        stop(f"--brokers needs {error.name}: {to_install('kafka')}", Exit.USAGE)
    finally:
        if load is not None:
            load.stop()
        if lag is not None:
            lag.close()
    watch.tell_of_others()
    return watch.report(load), end


class Watch:
    """Reads the source again and again, and remembers what it saw."""

    def __init__(self, wanted: Wanted, source: Source) -> None:
        self._wanted = wanted
        self._source = source
        self._before = self._after = source.read()
        self._samples = [sampled(self._before, self._before, 0, None)]
        self._missed = 0
        self._backlog = 0  # what was there before the load, and had to be done first
        self._began: Offsets | None = None  # of the topic, when the load did
        self._is_over = False  # the load was, at the last reading
        self._others = 0  # what others put on the topic meanwhile, once the load is over
        self._said: set[str] = set()
        self._is_interrupted = False

    def cleared(self, lag: Lag) -> End | None:
        """Wait until the group is through with what was there before; how it ended if not.

        Else its messages would be taken for those of the run: it would end early, lose nothing
        whatever was lost, and be late by nonsense.
        """
        first = last = lag.read() or Offsets()
        self._backlog = left = first.lag
        moved_ns, told_ns = elapsed_ns(), 0
        try:
            while left:
                if elapsed_ns() - told_ns >= SAY_S * 1e9:
                    told_ns = elapsed_ns()
                    say(
                        f"waiting until {self._wanted.group} is through with {left:,} of before"
                    )
                Clock().sleep_s(self._wanted.every_s)
                now = lag.read()
                if now is not None and now.done > last.done:
                    last, moved_ns = now, elapsed_ns()
                    left = now.left_of(first)  # others may put on more meanwhile
                elif elapsed_ns() - moved_ns > self._wanted.timeout_s * 1e9:
                    return End(self._stuck(left), Exit.UNREACHABLE)
            if self._backlog:
                self._settle()
            self._began = lag.read()
        except KeyboardInterrupt:
            self._is_interrupted = True
            return End("interrupted: nothing was produced yet", INTERRUPTED)
        return None

    def _stuck(self, left: int) -> str:
        return (
            f"{self._wanted.group} has {left:,} messages of {self._wanted.topic} left from "
            f"before, and took none for {self._wanted.timeout_s:g} s; nothing was produced"
        )

    def _settle(self) -> None:
        """Begin anew once all of that is told: what is told lags behind.

        By what is done: of what is left some may have been received before the first reading.
        """
        last, moved_ns = self._before, elapsed_ns()
        while elapsed_ns() - moved_ns < SETTLED_S * 1e9:
            told = self._source.read()
            if sampled(told, last, 0, None).counts != (0,) * 5:
                last, moved_ns = told, elapsed_ns()
            if sampled(told, self._before, 0, None).done >= self._backlog:
                break
            Clock().sleep_s(self._wanted.every_s)
        last = last._replace(at_ns=elapsed_ns())  # the wait is no part of the run
        self._before = self._after = last
        self._samples = [sampled(last, last, 0, None)]

    def until_done(self, load: Load | None, lag: Lag | None) -> End:
        """Look until all came through, or nothing has come for too long, or Ctrl-C."""
        moved_ns, told_ns = elapsed_ns(), 0
        try:
            while True:
                Clock().sleep_s(self._wanted.every_s)
                if self._look(load, lag):
                    moved_ns = elapsed_ns()
                if elapsed_ns() - told_ns >= SAY_S * 1e9 or console(stderr=True).is_terminal:
                    told_ns = elapsed_ns()
                    _tell(self._samples)
                if self._is_done(load):
                    return End() if load is None else self._end_of(load)
                if elapsed_ns() - moved_ns > self._wanted.timeout_s * 1e9:
                    return End(self._given_up(load), Exit.UNREACHABLE)
        except KeyboardInterrupt:
            self._is_interrupted = True
            return End("interrupted: these are the figures until then", INTERRUPTED)

    def _look(self, load: Load | None, lag: Lag | None) -> bool:
        """Read once; whether anything moved."""
        if load is not None:
            load.note()
        try:
            self._after = self._source.read()
        except SourceError as error:  # one that is busy; upstream's script would count nothing
            self._miss([str(error)])
            return False
        if self._after.missing:
            self._miss(self._after.missing.values())
        is_over = load is not None and load.is_over
        told = lag.read() if lag is not None else None
        taken = load.taken if load is not None else 0
        if load is not None and is_over and not self._is_over:
            self._others = self._put_by_others(load, told)
        self._is_over = is_over
        behind = None if told is None else told.lag
        self._samples.append(sampled(self._after, self._before, taken, behind))
        return self._samples[-1].counts != self._samples[-2].counts

    def _put_by_others(self, load: Load, now: Offsets | None) -> int:
        """How many messages came to the topic beside those of the load; 0 if nobody knows."""
        if now is None or self._began is None:
            return 0
        return max(0, sum(now.end) - sum(self._began.end) - load.taken - load.failed)

    def _miss(self, reasons: Iterable[str]) -> None:
        """Count a reading that was not of all there is, and tell what is news."""
        self._missed += 1
        for why in reasons:
            if why not in self._said:
                self._said.add(why)
                say(f"not read: {why}")

    def _is_done(self, load: Load | None) -> bool:
        last = self._samples[-1]
        if load is not None:
            due = load.taken + self._others
            return self._is_over and min(last.received, last.done) >= due
        return min(last.received, last.done) >= self._wanted.total

    def _end_of(self, load: Load) -> End:
        """All that Kafka took came through; it may not have taken all."""
        refused = self._refused(load)
        return End(refused, Exit.REFUSED) if refused else End()

    def _given_up(self, load: Load | None) -> str:
        because = f"nothing came for {self._wanted.timeout_s:g} s, and not all was persisted"
        refused = self._refused(load) if load is not None else ""
        return f"{because}; {refused}" if refused else because

    def _refused(self, load: Load) -> str:
        if load.taken == self._wanted.total:
            return ""
        because = f": {load.because}" if load.because else ""
        return f"Kafka took {load.taken:,} of {self._wanted.total:,}{because}"

    def tell_of_others(self) -> None:
        """Say so if the load was not alone: then some figures are of all."""
        if self._others:
            say(
                f"others put {self._others:,} messages on {self._wanted.topic} meanwhile: "
                "received, persisted and lost are of theirs, too, and no delay is known"
            )

    def report(self, load: Load | None) -> dict[str, Any]:
        """What it all comes to."""
        return report(
            self._samples,
            self._before,
            self._after,
            curve=load.curve if load is not None else [],
            missed=self._missed,
            backlog=self._backlog,
            others=self._others,
            failed=load.failed if load is not None else 0,
            is_whole=not self._is_interrupted,
            settings={**self._wanted._asdict(), "plan": self._wanted.plan._asdict()},
        )


def _tell(samples: list[Sample]) -> None:
    last = samples[-1]
    speed = rates(samples[-2:], "persisted")
    behind = "" if last.lag is None else f", lag {last.lag:,}"
    seconds = (last.at_ns - samples[0].at_ns) / 1e9
    say(
        f"{seconds:6.1f} s  produced {last.produced:,}, received {last.received:,}, persisted "
        f"{last.persisted:,} ({speed[-1] if speed else 0:,.0f}/s){behind}"
    )
