"""RabbitMQ's side of notifications: one thread a bus, which connects, consumes, acknowledges.

What the broker has under way to us is bounded by the prefetch; what was committed is
acknowledged in one go. When the broker is gone that is said once, and it is asked again and
again, after a second at first and after half a minute at most.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import threading
from concurrent.futures import wait
from typing import TYPE_CHECKING, Any, Final

import pika
from pika.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from nilometer.clock import elapsed_ns
from nilometer.collect.group import WHOLE_BATCH_ROWS
from nilometer.collect.instruments import BUS_LOST
from nilometer.errors import ConfigError, NilometerError
from nilometer.wire.osprofiler_points import points_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

    from nilometer.collect.bus_url import Bus
    from nilometer.collect.notifications import Flight, Intake
    from nilometer.model import Event

log = logging.getLogger("nilometer.collector")

BACK_OFF_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
CONNECT_S: Final = 5.0
HEARTBEAT_S: Final = 60
BIND_S: Final = 10.0
"""So often queues are bound again, which takes half a millisecond each: no broker tells that an
exchange was deleted, nor that services made one of its name anew, without our bindings."""
POLL_S: Final = 0.2  # how long the thread may sleep before it sees that it should stop
QUIET_S: Final = 0.05
"""When nothing came for so long, what was taken is given to be committed; so it is when it is a
whole batch, or as much as may be held, or has waited for `GATHER_S`. The first of thousands,
given by itself, would wait for its group as one that comes alone does, a second, and hold up
all that the broker may have under way."""
GATHER_S: Final = 0.5
END_S: Final = 8.0  # as long as requests are waited for
HELD_BYTES_MAX: Final = 64 << 20
"""Taken and not yet in a flight; beyond that nothing is read until a commit ends."""
NOT_FOUND: Final = 404
REFUSED: Final = (
    AuthenticationError,
    ChannelClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
    ssl.SSLError,
)
"""The broker is there and will not have us, which somebody must see to."""


class Consumer:
    """Consumes one bus in a thread of its own; `lone` gives the points that wait for others.

    ConfigError if the files for TLS cannot be used.
    """

    def __init__(
        self, bus: Bus, intake: Intake, lone: Callable[[], Iterable[Event]] = tuple
    ) -> None:
        if bus.tls:
            _tls_of(bus)  # what is wrong with it is told at once, and not again and again
        self.bus = bus
        self._intake = intake
        self._lone = lone
        self._stop = threading.Event()
        self._over = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="nilometer-bus", daemon=True)
        self._gathering_ns = 0  # since when
        self._heard_ns = 0  # when the broker last sent something, or could again
        self._flight: Flight | None = None
        self._done: Future[None] | None = None
        self._said: set[str] = set()
        self.trouble = "not connected yet"

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to consume; commits are made in that loop."""
        self._loop = loop
        self._thread.start()

    def stop(self) -> None:
        """Take nothing more, acknowledge what is committed within some seconds."""
        self._stop.set()
        self._over.wait(END_S + 1)  # the thread may wait for a host that does not answer

    def _run(self) -> None:
        try:
            self._intake.remember(points_of(self._lone()))
        except NilometerError as error:
            log.warning("notifications: points that wait cannot be read: %s", error)
        tried = 0
        while not self._stop.is_set():
            try:
                # What is in flight cannot be acknowledged any more, and will come again: it is
                # committed first, so that it is known by then.
                if not self._landed(POLL_S):
                    continue
                self._flight = None
                with _closing(self._connected()) as connection:
                    channel = self._consuming(connection)
                    tried = self._is_there()
                    self._consume(connection, channel)
            except Exception as error:  # noqa: BLE001 - a thread that ended would take nothing
                self._is_gone(error)
                self._stop.wait(BACK_OFF_S[min(tried, len(BACK_OFF_S) - 1)])
                tried += 1
            self._intake.forget()
        self._over.set()

    def _is_there(self) -> int:
        log.info("notifications: consuming at %s", self.bus)
        self.trouble = ""
        self._said.clear()
        return 0

    def _is_gone(self, error: Exception) -> None:
        because = f"{type(error).__name__}: {error}"[:200]
        BUS_LOST.bind(reason=type(error).__name__).add()
        refused = isinstance(error, REFUSED)
        state = "refuses us" if refused else "is gone"
        # What follows once it is gone, until it is there again, is no news, but for a refusal.
        if not self._said or (refused and state not in self._said):
            log.warning("notifications: %s %s, and asked again: %s", self.bus, state, because)
        self._said.add(state)
        self.trouble = because

    # ---- the connection ----------------------------------------------------------------------

    def _connected(self) -> Any:
        return pika.BlockingConnection([self._parameters(host) for host in self.bus.hosts])

    def _parameters(self, host: Any) -> Any:
        bus = self.bus
        # Read anew for each connection: certificates are renewed while the collector runs.
        tls = pika.SSLOptions(_tls_of(bus), host.host) if bus.tls else None
        return pika.ConnectionParameters(
            host.host,
            host.port,
            bus.vhost,
            pika.PlainCredentials(host.user, host.password),
            heartbeat=HEARTBEAT_S,
            socket_timeout=CONNECT_S,
            stack_timeout=2 * CONNECT_S,
            blocked_connection_timeout=HEARTBEAT_S,
            ssl_options=tls,
            client_properties={"connection_name": "nilometer"},
        )

    def _consuming(self, connection: Any) -> Any:
        """A channel on which every queue is consumed; what is missing is made as oslo does."""
        for exchange in self.bus.exchanges:
            self._declare_exchange(connection, exchange)
        queues = dict.fromkeys(source.queue for source in self.bus.sources)
        for queue in queues:
            self._declare_queue(connection, queue)
        self._bind(connection)
        channel = connection.channel()
        channel.basic_qos(prefetch_count=self.bus.prefetch)
        channel.add_on_cancel_callback(self._cancelled)
        for queue in queues:
            channel.basic_consume(queue, self._take)
        return channel

    def _bind(self, connection: Any) -> None:
        channel = connection.channel()
        for source in self.bus.sources:
            channel.queue_bind(source.queue, source.exchange, source.key)
        channel.close()

    def _bind_again(self, connection: Any) -> None:
        """Also where an exchange was deleted meanwhile, which takes its bindings along."""
        try:
            self._bind(connection)
        except ChannelClosedByBroker as error:
            if error.reply_code != NOT_FOUND:
                raise
            log.warning(
                "notifications: %s: %s; it is made again; what was sent meanwhile is lost",
                self.bus,
                error.reply_text,
            )
            for exchange in self.bus.exchanges:
                self._declare_exchange(connection, exchange)
            self._bind(connection)

    def _declare_exchange(self, connection: Any, exchange: str) -> None:
        options = {"durable": self.bus.durable, "auto_delete": self.bus.auto_delete}
        if not _exists(connection, lambda c: c.exchange_declare(exchange, passive=True)):
            channel = connection.channel()
            channel.exchange_declare(exchange, "topic", **options)
            channel.close()

    def _declare_queue(self, connection: Any, queue: str) -> None:
        options: dict[str, Any] = {
            "durable": self.bus.durable or self.bus.quorum,
            "auto_delete": self.bus.auto_delete,
            "arguments": {"x-queue-type": "quorum"} if self.bus.quorum else None,
        }
        if not _exists(connection, lambda c: c.queue_declare(queue, passive=True)):
            channel = connection.channel()
            channel.queue_declare(queue, **options)
            channel.close()

    def _cancelled(self, _frame: Any) -> None:
        raise AMQPError("a queue was deleted")  # it is made anew with the next connection

    # ---- messages ----------------------------------------------------------------------------

    def _take(self, _channel: Any, method: Any, properties: Any, body: bytes) -> None:
        self._heard_ns = elapsed_ns()
        if not self._intake.gathered:
            self._gathering_ns = self._heard_ns
        headers = properties.headers or {}
        compression = str(headers.get("compression") or "")
        self._intake.take(
            method.delivery_tag, body, method.exchange, method.routing_key, compression
        )

    def _consume(self, connection: Any, channel: Any) -> None:
        bound_ns = elapsed_ns()
        while not self._stop.is_set():
            connection.process_data_events(QUIET_S if self._intake.gathered else POLL_S)
            if elapsed_ns() - bound_ns > BIND_S * 10**9:
                self._bind_again(connection)
                bound_ns = elapsed_ns()
            if self._intake.gathered_bytes > HELD_BYTES_MAX:
                self._pause()
            if self._acknowledged(channel, 0) and self._is_gathered():
                self._depart(connection)
        self._acknowledged(channel, END_S)
        self._over.set()

    def _pause(self) -> None:
        """Wait for the flight, as long as the broker bears that it hears nothing from us."""
        for _ in range(int(HEARTBEAT_S / 4 / POLL_S)):
            if self._stop.is_set() or self._landed(POLL_S):
                return

    def _is_gathered(self) -> bool:
        """Whether what was taken should be committed now."""
        gathered, now_ns = self._intake.gathered, elapsed_ns()
        if gathered >= WHOLE_BATCH_ROWS or self._intake.gathered_bytes > HELD_BYTES_MAX:
            return True
        return gathered > 0 and (
            now_ns - self._heard_ns > QUIET_S * 10**9
            or now_ns - self._gathering_ns > GATHER_S * 10**9
        )

    def _depart(self, connection: Any) -> None:
        """Begin the next flight with all that was taken."""
        flight = self._intake.flight()
        if flight is None or self._loop is None:
            return
        commit = self._intake.commit(flight)
        self._flight = flight
        self._done = asyncio.run_coroutine_threadsafe(commit, self._loop)
        self._done.add_done_callback(lambda _: _wake(connection))

    def _landed(self, timeout_s: float) -> bool:
        """Whether nothing is in flight by then; raises what no commit should."""
        if self._done is None or not wait([self._done], timeout_s).done:
            return self._done is None
        done, self._done = self._done, None
        done.result()
        return True

    def _acknowledged(self, channel: Any, timeout_s: float) -> bool:
        """Whether nothing is in flight by then; what was is now acknowledged."""
        if not self._landed(timeout_s):
            return False
        if self._flight is not None:
            channel.basic_ack(self._flight.tag, multiple=True)
            self._flight = None
            self._heard_ns = elapsed_ns()
        return True


def _tls_of(bus: Bus) -> ssl.SSLContext:
    """TLS as the bus wants it; ConfigError names the file that cannot be used."""
    named = f"ssl_ca_file {bus.ssl_ca_file}"
    try:
        context = ssl.create_default_context(cafile=bus.ssl_ca_file or None)
        if bus.ssl_cert_file:
            named = f"ssl_cert_file {bus.ssl_cert_file}, ssl_key_file {bus.ssl_key_file}"
            context.load_cert_chain(bus.ssl_cert_file, bus.ssl_key_file or None)
    except OSError as error:
        because = f"--notifications: {bus}: {named}: {error.strerror or error}"
        raise ConfigError(because, slug="bad-transport-url") from None
    return context


@contextlib.contextmanager
def _closing(connection: Any) -> Iterator[Any]:
    """As contextlib's, but what is closed already is not closed again: it hid the reason."""
    try:
        yield connection
    finally:
        if connection.is_open:
            connection.close()


def _exists(connection: Any, ask: Callable[[Any], object]) -> bool:
    """Whether what is asked for is there, with whatever options."""
    channel = connection.channel()
    try:
        ask(channel)
    except ChannelClosedByBroker as error:
        if error.reply_code != NOT_FOUND:
            raise
        return False
    channel.close()
    return True


def _wake(connection: Any) -> None:
    """Have the thread look at once."""
    with contextlib.suppress(AMQPError):
        connection.add_callback_threadsafe(lambda: None)
