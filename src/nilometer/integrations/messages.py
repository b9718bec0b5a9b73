"""Messages by way of a broker: publishing and processing are timed, the trace goes with them.

A message's destination is its exchange, or the queue where it goes to one directly; when it is
processed, the queue. What is random in such a name is left out. In a traced request a message
takes the signed trace along to brokers that are neighbours (see `http_client`); where it is
processed it is a request of its own, so that one tree shows both ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations import client_costs, faults, http_client
from nilometer.integrations.calls import OPERATIONS_MAX, Call, Calls
from nilometer.measure import REGISTRY
from nilometer.model import SpanKind
from nilometer.model.scopes import Scopes
from nilometer.trace import CURRENT, Trace, headers
from nilometer.trace.trigger import Triggers
from nilometer.trace.twin import stand_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from nilometer.integrations.calls import Inside, Operation
    from nilometer.measure import Registry

DEFAULT: Final = "amq.default"
"""How RabbitMQ calls the exchange that has no name."""

DESTINATION: Final = "messaging.destination.name"


onward: Final = partial(headers, osprofiler=False)
"""What to send with a message so that it is part of the current trace; mostly nothing.

A message may be kept for long, so it is nothing that holds for ever.
"""


def take_up(triggers: Triggers, sent: Any) -> Any:
    """Become part of the trace that was sent, if that may be; what to `finish`, or None."""
    if not isinstance(sent, Mapping):
        return None
    request = triggers.accept(sent.get)
    if isinstance(request, Trace):
        return stand_in(request)
    return None if request is None else request.start()


class Names:
    """Names of queues, exchanges and topics as dimensions: without what is random in them."""

    __slots__ = ("_scopes",)

    def __init__(self) -> None:
        self._scopes = Scopes()

    def of(self, *names: object) -> str:
        """The first that is a name at all; never raises."""
        for name in names:
            if isinstance(name, str) and name:
                return self._scopes.of(name)
        return DEFAULT


class Messages:
    """The messages of one integration; `triggers` says which traces are taken up.

    `costs` says what it costs to publish one, beyond its timer.
    """

    __slots__ = (
        "depth",
        "names",
        "_integration",
        "_registry",
        "_publishes",
        "_processes",
        "_triggers",
        "_timed",
        "_inside",
    )

    def __init__(
        self,
        integration: str,
        *,
        registry: Registry,
        triggers: Triggers | None,
        costs: Callable[[], float] | None = None,
    ) -> None:
        self._integration = integration
        self._registry = registry
        self._publishes = Calls(
            integration,
            "messaging.publish",
            kind=SpanKind.PRODUCER,
            description="Giving a message to a broker; where it confirms, until then.",
            registry=registry,
            costs=costs,
        )
        self._processes = Calls(
            integration,
            "messaging.process",
            kind=SpanKind.CONSUMER,
            description="What a consumer does with one message.",
            registry=registry,
            costs=client_costs.process,
        )
        self.depth = self._publishes.depth
        self.names = Names()
        self._triggers = triggers or Triggers()
        self._timed: dict[tuple[object, ...], Callable[..., Any]] = {}
        self._inside: dict[tuple[object, ...], Inside] = {}

    def end(self) -> None:
        """Pass everything on from now on, also what consumers were given before."""
        self._publishes.depth.end()
        self._processes.depth.end()

    def timed(
        self, original: Callable[..., Any], system: str, exchange: object, key: object
    ) -> Callable[..., Any]:
        """The function that publishes there, timed; for where nothing is traced."""
        given = original, system, exchange, key
        try:
            known = self._timed.get(given)
        except TypeError:  # such a name no broker takes
            return original
        if known is not None:
            return known
        try:
            destination = self.names.of(exchange, key)
            dimensions = {"messaging.system": system, DESTINATION: destination}
            made = self._publishes.timed(dimensions)(original)
        except Exception as error:  # noqa: BLE001  it is sent all the same
            self._failed(error)
            return original
        _keep(self._timed, given, made)
        return made

    def inside(
        self,
        original: Callable[..., Any],
        sending: Callable[..., Any],
        system: str,
        host: str,
        port: object,
        exchange: object,
        key: object,
    ) -> Callable[..., Any]:
        """The function that publishes there, for where a request is traced.

        `sending` is the original that lets the trace go with the message: by `with_trace`.
        """
        try:
            given = sending, system, host, port, exchange, key, http_client.hosts
            known = self._inside.get(given)
            is_near = known is None and http_client.hosts.admit(host)
        except (TypeError, AttributeError):  # such a name no broker takes, or has
            return original
        if known is None:
            try:
                operation = self._publishing(system, host, port, exchange, key)
                function = sending if is_near else original
                known = self._publishes.timed_inside(function, operation)
            except Exception as error:  # noqa: BLE001  it is sent all the same
                self._failed(error)
                return original
            _keep(self._inside, given, known)
        return known[self.depth.deep]

    def _publishing(
        self, system: str, host: str, port: object, exchange: object, key: object
    ) -> Operation:
        about: dict[str, object] = {}
        if exchange:
            about["messaging.rabbitmq.destination.routing_key"] = self.names.of(key)
        if host:
            about |= {"server.address": host, "server.port": port}
        names = exchange, key
        return self._operation(self._publishes, "publish", "send", system, names, about)

    def _failed(self, error: Exception) -> None:
        faults.ours(self._integration, "a message", error, self._registry)

    def processing(
        self, function: Callable[..., Any], system: str, queue: object, told: Callable[..., Any]
    ) -> Callable[..., Any]:
        """What consumes messages of that queue, measured; ``told(*args)`` gives their headers.

        It is for a consumer that is given all its messages by one function.
        """
        operation = self.consuming(system, queue)
        depth, current = self.depth, CURRENT.get
        if operation is None:
            return function

        def plain(*args: Any, **options: Any) -> Any:
            return function(*args, **options)

        try:
            timed = operation.calls.timed(operation.dimensions)(plain)
            inside = operation.calls.timed_inside(plain, operation)
        except Exception as error:  # noqa: BLE001  it is processed all the same
            self._failed(error)
            return function

        def consume(*args: Any, **options: Any) -> Any:
            if not depth.on:
                return function(*args, **options)
            sent = self.read(told, *args)
            if sent is not None:
                with Process(operation, self._triggers, sent):
                    return function(*args, **options)
            run = timed if current() is None else inside[depth.deep]
            return run(*args, **options)

        return consume

    def consuming(self, system: str, *queue: object) -> Operation | None:
        """Messages of that queue; None if we fail: they are processed unmeasured."""
        try:
            return self._operation(self._processes, "process", "process", system, queue, {})
        except Exception as error:  # noqa: BLE001
            self._failed(error)
            return None

    def process(self, operation: Operation | None, sent: Any) -> AbstractContextManager[None]:
        """One message that came with these headers, for a ``with`` statement."""
        if operation is None:
            return nullcontext()
        return Process(operation, self._triggers, sent)

    def read(self, told: Callable[..., Any], *args: Any) -> Any:
        """The headers of a message, if a trace is in them; else None."""
        try:
            sent = told(*args)
            return sent if sent and "traceparent" in sent else None
        except Exception as error:  # noqa: BLE001  a message built otherwise is processed
            REGISTRY.lost("attributes", "unreadable")
            faults.tell(self._integration, "the trace of a message", error)
            return None

    def _operation(
        self,
        calls: Calls,
        name: str,
        kind: str,
        system: str,
        names: tuple[object, ...],
        about: dict[str, object],
    ) -> Operation:
        destination = self.names.of(*names)
        key = (system, destination, *about.values())
        known = calls.known(key)
        if known is not None:
            return known
        said = {"messaging.operation.name": name, "messaging.operation.type": kind}
        dimensions = {"messaging.system": system, DESTINATION: destination}
        return calls.operation(key, f"{name} {destination}", dimensions, {**said, **about})


def _keep(known: dict[Any, Any], key: object, value: object) -> None:
    """Remember it by the names as they came; random ones make room for themselves."""
    if len(known) >= OPERATIONS_MAX:
        known.clear()
    known[key] = value


def with_trace(present: Any, integration: str) -> Any:
    """A copy of a message's headers with the current trace in it, or they themselves.

    They are left alone if the caller set one of ours. A copy, because the caller may send his
    again.
    """
    try:
        ours = headers(osprofiler=False)
        if not ours:
            return present
        if not present:
            return ours
        return {**present, **ours} if ours.keys().isdisjoint(present) else present
    except Exception as error:  # noqa: BLE001  the message is sent all the same
        REGISTRY.lost("spans", f"message_{type(error).__name__}")
        faults.tell(integration, "the trace of a message that is sent", error)
        return present


class Process:
    """One message that is processed: a request of its own if it brought a trace."""

    __slots__ = ("_call", "_triggers", "_sent", "_taken", "_before")

    def __init__(self, operation: Operation, triggers: Triggers, sent: Any) -> None:
        self._call = Call(operation)
        self._triggers = triggers
        self._sent = sent
        self._taken: Any = None

    def __enter__(self) -> None:
        self._before = CURRENT.get()
        if self._sent is not None:
            self._taken = take_up(self._triggers, self._sent)
        self._call.__enter__()

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._call.__exit__(kind, error, traceback)
        if self._taken is not None:
            self._taken.finish()
            CURRENT.set(self._before)
