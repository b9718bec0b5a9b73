"""`nilometer serve`: receivers, tables and REST interface, put together and run.

Exit codes: 0 ended as asked, 2 a setting cannot be used, 3 an address is taken, 4 the store
cannot be opened. SIGTERM, SIGINT and SIGHUP (unless it is ignored, as under nohup) end it in
order: no new requests, the running ones are answered, what statsd gathered is written, the last
commit is made, and what is still being looked into is given up; a second signal ends it now,
with the last commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import uvicorn

from nilometer.api import dropwizard
from nilometer.api.auth import Guard
from nilometer.api.dialects import Means
from nilometer.api.keys import Keys
from nilometer.api.keystone import Keystone
from nilometer.api.native import DIALECTS, api
from nilometer.api.queries import Queries
from nilometer.clock import Clock
from nilometer.collect.buses import Buses
from nilometer.collect.datagrams import Receiver
from nilometer.collect.group import GroupCommit
from nilometer.collect.http_head import BoundedHead
from nilometer.collect.http_log import LOGGER, UvicornLog
from nilometer.collect.instruments import (
    COMMIT,
    COMMIT_FAILED,
    COMMITTED,
    MAINTAIN,
    MAINTAIN_FAILED,
    QUERY,
    Refusals,
    Sayer,
)
from nilometer.collect.kafka_topics import KafkaTopics
from nilometer.collect.otlp import OtlpDoor
from nilometer.collect.own import OwnReadings
from nilometer.collect.own_process import allow_files, be_heard, leave
from nilometer.collect.points_door import PointsDoor
from nilometer.collect.settings import Address, cannot_listen
from nilometer.collect.since_start import SinceStart
from nilometer.collect.statsd import StatsdDoor
from nilometer.collect.token_file import TokenFile
from nilometer.collect.trouble import Trouble
from nilometer.errors import ConfigError, StoreError
from nilometer.store.lake import Lake
from nilometer.store.query import Reader
from nilometer.web.app import is_installed, is_page, pages

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator

    from nilometer.collect.group import Commit
    from nilometer.collect.settings import CollectorSettings

log = logging.getLogger("nilometer.collector")

EXIT_SETTINGS: Final = 2
EXIT_ADDRESS: Final = 3
EXIT_STORE: Final = 4

# A connection takes a few kB; what its requests hold is bounded elsewhere.
CONNECTIONS_MAX: Final = 1000
BACKLOG: Final = 512  # a burst of senders that start together waits, and does not fail
GRACE_S: Final = 8  # a request waits for one commit; service managers kill after 10 s or later
TOKENS_S: Final = (
    1.0  # a look at a file takes microseconds; who takes a token back waits for it
)
BROKEN_MAX: Final = 20  # named in /health; all are in the log and among the losses
OWN_INTERVAL_S: Final = 10.0
# A commit a second makes sixty small files a minute; a query opens each of them.
MAINTAIN_S: Final = 60.0


class Collector:
    """The running parts. Made inside the event loop; `app` is what uvicorn serves."""

    def __init__(
        self,
        settings: CollectorSettings,
        lake: Lake,
        reader: Reader,
        clock: Clock | None = None,
    ) -> None:
        self.settings = settings
        self._lake = lake
        self._reader = reader
        self._clock = clock or Clock()
        self._started_ns = self._clock.elapsed_ns()
        self._trouble = Trouble(self._clock)
        self._unkept = ""  # why the last upkeep of the tables failed
        self._version = version("nilometer")
        self._sayer = Sayer(self._clock)
        self.refusals = Refusals(self._clock)
        self._sums = SinceStart(
            lake.append, self._clock.elapsed_ns, began_ns=self._clock.wall_ns()
        )
        self.group = GroupCommit(
            self._sums.append,
            window_s=settings.window_s,
            clock=self._clock,
            observe=self._committed,
        )
        self.statsd = StatsdDoor(
            self.group, self.refusals, flush_s=settings.flush_s, clock=self._clock
        )
        self._queries = Queries(
            observe=lambda route, ns: QUERY.bind(route=route).record(ns),
            refused=lambda reason, detail: self.refusals.count("rest", reason, detail=detail),
        )
        self._otlp = OtlpDoor(self.group, self.refusals, clock=self._clock)
        self._buses = Buses(
            settings.notifications, self.group, self.refusals, reader, self._clock
        )
        self._kafka = KafkaTopics(settings.kafka, self.group, self.refusals, self._clock)
        self._points = PointsDoor(self.group, self.refusals, self._buses.lone)
        self._keystone = None if settings.keystone is None else Keystone(settings.keystone)
        self._keys: Keys | None = None
        if settings.tokens is not None:
            self._keys = Keys(settings.tokens, self._turned_away, self._clock)
        self.app = self._guarded_app()
        self.own = OwnReadings(self.group, lake, reader, self._sayer)
        self._token_file: TokenFile | None = None
        if settings.token_file is not None and settings.tokens is not None:
            self._token_file = TokenFile(settings.token_file, log.error)
        self._tasks: list[asyncio.Task[None]] = []
        self._receiver: Receiver | None = None

    def _guarded_app(self) -> Guard:
        dialects = (*DIALECTS, dropwizard.dialect(self._sums, self.health))
        app = api(
            self._reader,
            self._queries,
            self.health,
            refused=lambda reason: self.refusals.count("rest", reason),
            submit=self.group.submit,
            wants_token=self.settings.tokens is not None,
            dialects=dialects,
        )
        app.router.routes.extend([*self._otlp.routes(), *self._points.routes()])
        means = Means(
            self._reader,
            self._queries,
            self.group.submit,
            lambda reason: self.refusals.count("rest", reason),
            self._clock,
        )
        app.router.routes.append(pages(means, self.health, self._keys))
        return Guard(
            app,
            keys=self._keys,
            refused=self._turned_away,
            keystone=self._keystone,
            words={each.prefix: each.words for each in dialects if each.words is not None},
            is_page=is_page if is_installed() else lambda _: False,
        )

    def _turned_away(self, reason: str) -> None:
        self.refusals.count("http", reason)

    def health(self) -> dict[str, Any]:
        """What ``/api/v1/health`` tells."""
        broken = [f"{each.table}/{each.path}" for each in self._reader.broken()]
        refused = self._trouble.kinds
        wrong = [f"commits of {' and '.join(refused)} fail; senders retry"] * bool(refused)
        wrong += [f"{len(broken)} files cannot be read; answers leave them out"] * bool(broken)
        wrong += [f"the tables cannot be maintained: {self._unkept}"] * bool(self._unkept)
        wrong += [*self._buses.troubles(), *self._kafka.troubles()]
        return {
            "status": "; ".join(wrong) or "ok",
            "version": self._version,
            "pending_rows": self.group.pending_rows,
            "commits_failed": self._trouble.failures,
            "broken_files": broken[:BROKEN_MAX],
            "uptime_ns": self._clock.elapsed_ns() - self._started_ns,
        }

    def start(self, receiver: Receiver | None) -> None:
        """Begin to receive statsd, to flush, to maintain the tables and to measure itself."""
        self._receiver = receiver
        self.own.count()  # what was found when the tables were opened
        if receiver is not None:
            self.own.dropped = receiver.dropped
            receiver.start()
            self._begin(self.statsd.run())
        self._buses.start()
        self._kafka.start()
        self._begin(self._every(OWN_INTERVAL_S, self.own.write))
        self._begin(self._every(MAINTAIN_S, self.maintain))
        if self._token_file is not None:
            self._begin(self._every(TOKENS_S, self.renew_tokens))

    def _begin(self, endless: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(endless))

    async def _every(self, seconds: float, act: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            # Whole even if we end meanwhile: half of it would be done again, and count as such.
            await asyncio.shield(act())

    async def close(self) -> None:
        """Write what statsd gathered and what we measured, make the last commit."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(self._buses.close(), self._kafka.close())
        if self._receiver is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._receiver.stop)
            await self.statsd.close()
        await self.own.close()
        await self.group.close()
        self._otlp.close()
        self._queries.close()
        if self._keystone is not None:
            self._keystone.close()

    @property
    def is_asked(self) -> bool:
        """Whether a question is being looked into."""
        return self._queries.running > 0

    async def renew_tokens(self) -> None:
        """Look whether the file of tokens changed, and let them open from now on."""
        if self._token_file is not None:
            loop = asyncio.get_running_loop()
            tokens = await loop.run_in_executor(None, self._token_file.changed)
            if tokens is not None and self._keys is not None:
                self._keys.renew(tokens)

    async def maintain(self) -> None:
        """Compact, forget what is too old; a failure is counted and tried again later."""
        loop = asyncio.get_running_loop()
        started_ns = self._clock.elapsed_ns()
        try:
            await loop.run_in_executor(None, self._maintain_lake)
            self._unkept = ""
        except Exception as error:  # noqa: BLE001 - the tables stay readable as they are
            self._unkept = str(error)
            MAINTAIN_FAILED.add()
            self._sayer.say("the tables cannot be maintained", str(error))
        MAINTAIN.record(self._clock.elapsed_ns() - started_ns)

    def _maintain_lake(self) -> None:
        self._lake.maintain(self.settings.keep)

    def _committed(self, commit: Commit) -> None:
        self._trouble.note(commit)
        if commit.quiet:
            return  # measured, it would be news, and so the next commit
        if commit.error is None:
            COMMIT.record(commit.duration_ns)
            COMMITTED.add(commit.rows)
            return
        COMMIT_FAILED.bind(reason=type(commit.error).__name__).add()
        self._sayer.say(
            "the tables refuse commits; senders are told to retry", str(commit.error)
        )


class Server(uvicorn.Server):
    """uvicorn, but for signals: it would raise them again at the end, and so not end with 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The loop's own handlers do it."""
        yield

    def stop(self) -> None:
        """End in order; a second time: end now."""
        self.force_exit = self.should_exit
        self.should_exit = True


def serve(settings: CollectorSettings, *, say: Callable[[str], None] | None = None) -> int:
    """Run until a signal; the exit code.

    `say` is told where it listens, or why it cannot; left out, that goes to the log, which is
    then set up if nobody has.
    """
    complain = say or log.error
    if say is None:
        be_heard(log)
    allow_files()
    with contextlib.ExitStack() as open_parts:
        # Attributes may be private: what is made here is not for every user of the machine.
        open_parts.callback(os.umask, os.umask(0o027))
        try:
            settings.checked()
            listening = [open_parts.enter_context(listen_at(settings.listen))]
            if settings.admin is not None:
                listening.append(open_parts.enter_context(listen_at(settings.admin, "--admin")))
            lake = Lake(settings.store, durability=settings.durability, keep=settings.keep)
            reader = Reader(settings.store)
            open_parts.callback(reader.close)
            collector = Collector(settings, lake, reader)
            receiver = None
            if settings.statsd is not None:
                receiver = Receiver(settings.statsd, collector.statsd.take)
        except ConfigError as error:
            complain(str(error))
            return EXIT_ADDRESS if error.slug == "cannot-listen" else EXIT_SETTINGS
        except (StoreError, OSError) as error:
            complain(f"--store {settings.store}: {error}")
            return EXIT_STORE
        admin_port = listening[-1].getsockname()[1] if settings.admin else 0
        config = _config(dropwizard.AtRoot(collector.app, admin_port))
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(_run(collector, Server(config), listening, receiver, say or log.info))
    if collector.is_asked:
        leave()
    return 0


async def _run(
    collector: Collector,
    server: Server,
    listening: list[socket.socket],
    receiver: Receiver | None,
    say: Callable[[str], None],
) -> None:
    loop = asyncio.get_running_loop()
    http_log = UvicornLog(collector.refusals)
    logging.getLogger(LOGGER).addFilter(http_log)

    def stop() -> None:
        server.stop()
        collector.group.hasten()

    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(each) is not signal.SIG_IGN:
            loop.add_signal_handler(each, stop)
    collector.start(receiver)
    say(_where(collector.settings, listening, receiver))
    await server.serve(sockets=listening)
    await collector.close()
    logging.getLogger(LOGGER).removeFilter(http_log)


def _where(
    settings: CollectorSettings, listening: list[socket.socket], receiver: Receiver | None
) -> str:
    address, *admin = (Address(*one.getsockname()[:2]) for one in listening)
    statsd = f"statsd at {receiver.address}" if receiver else "no statsd"
    access = "for token holders" if settings.tokens else "for this machine only"
    where = "".join(f"; DropWizard at http://{one}" for one in admin)
    rest = f"OTLP and REST at http://{address} {access}"
    return f"{rest}; {statsd}{where}; store in {settings.store}"


def _config(app: dropwizard.AtRoot) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=BoundedHead,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here trusts who somebody says they are
        limit_concurrency=CONNECTIONS_MAX,
        timeout_graceful_shutdown=GRACE_S,
    )


def listen_at(address: Address, origin: str = "--listen") -> socket.socket:
    """A listening TCP socket; ConfigError says who may be in the way."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Restarting at once must work; on Linux this never steals a port somebody listens at.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address.host, address.port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        choice = f"choose another with {origin}"
        raise cannot_listen(origin, address, error, choice) from None
    return sock
