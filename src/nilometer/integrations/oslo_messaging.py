"""oslo.messaging: RPC from its client and in its server, notifications, packing of contexts.

`oslo_serializer` lets the trace go with the messages; `oslo_messaging_amqp` measures what lies
below, in the drivers that speak AMQP.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.clock import elapsed_ns
from nilometer.integrations import client_costs, faults
from nilometer.integrations.calls import OPERATIONS_MAX, Call, Calls
from nilometer.integrations.messages import DESTINATION, Names
from nilometer.integrations.oslo_contexts import Contexts
from nilometer.integrations.patches import Patches
from nilometer.integrations.standing import chosen, switched
from nilometer.measure import REGISTRY
from nilometer.model import SpanKind
from nilometer.trace import CURRENT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nilometer.integrations.calls import Inside, Operation
    from nilometer.measure import Registry

METHOD: Final = "rpc.method"
OTHER: Final = "OTHER"
"""The method of a request that no endpoint has: a client may ask for anything."""

SYSTEM: Final = {"rpc.system.name": "oslo_messaging"}
MARK: Final = "__nilometer_remote__"
"""What an error that a reply held carries: Python's own are made anew as they were."""

_REMOTE: Final = "_Remote"  # with which the class of a remote error ends that was made anew

_patches: Final = Patches()


def install(*, registry: Registry = REGISTRY) -> bool:
    """Measure all clients, servers and notifiers; False if that is done already.

    AttributeError if this oslo.messaging is built otherwise; then it is left as it was.
    """
    if _patches.active:
        return False
    from oslo_messaging.rpc.client import _BaseCallContext
    from oslo_messaging.rpc.dispatcher import RPCDispatcher
    from oslo_messaging.rpc.server import RPCServer
    from oslo_messaging.transport import NotificationTransport, RPCTransport

    contexts = Contexts(registry, _patches)
    client, server = Client(contexts, registry), Server(contexts, registry)
    sends = Calls(
        "oslo_messaging",
        "notification.send",
        kind=SpanKind.PRODUCER,
        description="Giving a notification to its broker.",
        registry=registry,
    )
    _patches.also_end(contexts, client, server, sends.depth)
    with _patches:
        _patches.swap(_BaseCallContext, "call", client.calling)
        _patches.swap(_BaseCallContext, "cast", client.casting)
        _patches.swap(RPCDispatcher, "_do_dispatch", server.doing)
        _patches.swap(RPCDispatcher, "dispatch", server.refusing)
        _patches.swap(RPCServer, "_on_incoming", server.arriving)
        _patches.swap(RPCServer, "_process_incoming", server.beginning)
        for owner in (NotificationTransport, RPCTransport):
            _patches.swap(owner, "_send_notification", partial(_notifying, owner, sends))
    return True


def uninstall() -> None:
    """Leave nothing behind."""
    _patches.undo()


class Kind(NamedTuple):
    """Calls of one method: the client's function, timed, and with a span where traced."""

    dimensions: Mapping[str, str]
    timed: Callable[..., Any]
    inside: Inside


class Client:
    """Calls, and the four kinds of casts."""

    def __init__(self, contexts: Contexts, registry: Registry) -> None:
        self._contexts = contexts
        self._names = Names()
        self._calls = Calls(
            "oslo_messaging",
            "rpc.client.call",
            description="From an RPC call to its reply.",
            registry=registry,
            costs=client_costs.rpc_call,
        )
        self._casts = {
            (False, False): Calls(
                "oslo_messaging",
                "rpc.client.cast",
                description="Giving a cast to its broker.",
                registry=registry,
                costs=client_costs.rpc_call,
            ),
            (True, False): Calls(
                "oslo_messaging",
                "rpc.client.fanout_cast",
                description="Giving a cast to all servers to its broker.",
                registry=registry,
                costs=client_costs.rpc_call,
            ),
            (False, True): Calls(
                "oslo_messaging",
                "rpc.client.cast_to_server",
                description="Giving a cast to a named server to its broker.",
                registry=registry,
                costs=client_costs.rpc_call,
            ),
            (True, True): Calls(
                "oslo_messaging",
                "rpc.client.fanout_cast_to_server",
                description="Giving a cast to all servers, and to a named one, to its broker.",
                registry=registry,
                costs=client_costs.rpc_call,
            ),
        }
        self.timeouts = registry.counter(
            "rpc.client.timeouts",
            unit="{timeout}",
            description="RPC calls whose reply did not come in time.",
        )
        self.remote_errors = registry.counter(
            "rpc.client.remote_errors",
            unit="{error}",
            description="RPC calls whose reply was an error of the server's.",
        )

    def end(self) -> None:
        """Pass everything on from now on."""
        for calls in (self._calls, *self._casts.values()):
            calls.depth.end()

    def calling(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """To replace `call`."""
        known: dict[Any, Kind] = {}
        depth, current = self._calls.depth, CURRENT.get

        def call(context: Any, /, ctxt: Any, method: Any, **kwargs: Any) -> Any:
            kind = self._kind(known, self._calls, original, context, method)
            if kind is None:
                return original(context, ctxt, method, **kwargs)
            try:
                run = kind.timed if current() is None else kind.inside[depth.deep]
                return run(context, ctxt, method, **kwargs)
            except BaseException as error:
                self._tell(error, kind.dimensions)
                raise

        return switched(depth, original, call)

    def casting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """To replace `cast`."""
        known: dict[Any, Kind] = {}
        depth, current = self._calls.depth, CURRENT.get

        def choose(
            context: Any,
            /,
            ctxt: Any,  # noqa: ARG001  as the original's
            method: Any,
            **_: Any,
        ) -> Callable[..., Any]:
            target = context.target
            calls = self._casts[bool(target.fanout), bool(target.server)]
            kind = self._kind(known, calls, original, context, method)
            if kind is None:
                return original
            return kind.timed if current() is None else kind.inside[depth.deep]

        return chosen(depth, original, choose)

    def _kind(
        self,
        known: dict[Any, Kind],
        calls: Calls,
        original: Callable[..., Any],
        context: Any,
        method: Any,
    ) -> Kind | None:
        """What is known of such calls; None if that cannot be told."""
        try:
            given = calls, context.target.topic, method, type(context.serializer)
            found = known.get(given)
            if found is None:
                self._contexts.of(context.serializer)
                found = self._found(calls, original, context.target.topic, method)
                if len(known) < OPERATIONS_MAX:
                    known[given] = found
        except Exception as error:  # noqa: BLE001  the call is made all the same
            REGISTRY.lost("attributes", "unreadable")
            faults.tell("oslo_messaging", "a call", error)
            return None
        return found

    def _found(
        self, calls: Calls, original: Callable[..., Any], topic: object, method: object
    ) -> Kind:
        scope = self._names.of(topic)
        dimensions = {DESTINATION: scope, METHOD: str(method)}
        operation = calls.known((scope, method)) or calls.operation(
            (scope, method), f"{scope}/{method}", dimensions, SYSTEM
        )
        inside = calls.timed_inside(original, operation)
        return Kind(dimensions, calls.timed(dimensions)(original), inside)

    def _tell(self, error: BaseException, dimensions: Mapping[str, str]) -> None:
        """Tell an error of the server's from a call that nobody answered."""
        try:
            remote = remote_type(error)
            if remote:
                self.remote_errors.bind(**dimensions, **{"error.type": remote}).add()
            elif type(error).__name__ == "MessagingTimeout":
                self.timeouts.bind(**dimensions).add()
        except Exception as fault:  # noqa: BLE001  the caller is told of the error, not of ours
            REGISTRY.lost("attributes", "unreadable")
            faults.tell("oslo_messaging", "the error of a call", fault)


def remote_type(error: BaseException) -> str:
    """The class of an error that a server replied with; empty if it is one of this process."""
    name = type(error).__name__
    if name == "RemoteError":
        return str(getattr(error, "exc_type", None) or name)
    if name.endswith(_REMOTE) or getattr(error, MARK, False):
        return name.removesuffix(_REMOTE)
    return ""


class Server:
    """What a server does with requests."""

    def __init__(self, contexts: Contexts, registry: Registry) -> None:
        self._contexts = contexts
        self._calls = Calls(
            "oslo_messaging",
            "rpc.server.request",
            kind=SpanKind.SERVER,
            description="What the method of an endpoint takes.",
            registry=registry,
            costs=client_costs.rpc_request,
        )
        self._waits = registry.timer(
            "rpc.server.wait",
            description="From the arrival of a request to a thread that is free for it.",
        )

    def end(self) -> None:
        """Pass everything on from now on."""
        self._calls.depth.end()

    def doing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """To replace `_do_dispatch`, which is reached if an endpoint has the method."""

        def do(dispatcher: Any, endpoint: Any, method: str, ctxt: Any, args: Any) -> Any:
            request = self._request(dispatcher, endpoint, method)
            if request is None:
                return original(dispatcher, endpoint, method, ctxt, args)
            with request:
                return original(dispatcher, endpoint, method, ctxt, args)

        return switched(self._calls.depth, original, do)

    def refusing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """To replace `dispatch`, which raises what no endpoint has."""

        def dispatch(dispatcher: Any, incoming: Any) -> Any:
            started = elapsed_ns()
            try:
                return original(dispatcher, incoming)
            except Exception as error:
                # An endpoint's own client raises them of another class, `..._Remote`.
                if type(error).__name__ in ("NoSuchMethod", "UnsupportedVersion"):
                    self._refused(elapsed_ns() - started, error)
                raise

        return switched(self._calls.depth, original, dispatch)

    def arriving(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """To replace `_on_incoming`, in the thread that listens."""

        def on_incoming(server: Any, incoming: Any) -> Any:
            try:
                incoming[0].nilometer_arrived_ns = elapsed_ns()
            except Exception as error:  # noqa: BLE001  another kind of driver works without us
                REGISTRY.lost("attributes", "unreadable")
                faults.tell("oslo_messaging", "the arrival of a request", error)
            return original(server, incoming)

        return switched(self._calls.depth, original, on_incoming)

    def beginning(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """To replace `_process_incoming`, in a thread of the executor."""

        def process_incoming(server: Any, incoming: Any) -> Any:
            try:
                arrived = getattr(incoming[0], "nilometer_arrived_ns", None)
                if arrived is not None:
                    self._waits.record(elapsed_ns() - arrived)
            except Exception as error:  # noqa: BLE001  another kind of driver works without us
                REGISTRY.lost("attributes", "unreadable")
                faults.tell("oslo_messaging", "the wait of a request", error)
            return original(server, incoming)

        return process_incoming

    def _request(self, dispatcher: Any, endpoint: Any, method: str) -> Request | None:
        """One request; None if its endpoint lets nobody look, or we fail: it is served."""
        try:
            self._contexts.of(dispatcher.serializer)
            key = type(endpoint), method
            known = self._calls.known(key)
            return Request(known or self._operation(key, method_of(endpoint, method)))
        except Exception as error:  # noqa: BLE001
            REGISTRY.lost("attributes", "unreadable")
            faults.tell("oslo_messaging", "a request", error)
            return None

    def _refused(self, elapsed: int, error: Exception) -> None:
        try:
            self._calls.record_for({METHOD: OTHER})(elapsed)
            self._calls.failed({METHOD: OTHER}, error)
        except Exception as fault:  # noqa: BLE001  who asked hears of the refusal alone
            REGISTRY.lost("attributes", "unreadable")
            faults.tell("oslo_messaging", "a refusal", fault)

    def _operation(self, key: tuple[type, str], method: str) -> Operation:
        return self._calls.operation(key, method, {METHOD: method}, SYSTEM)


class Request(Call):
    """One request of a server; an error that its endpoint expects is called by its own name."""

    __slots__ = ()

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if type(error).__name__ == "ExpectedException":
            error = getattr(error, "exc_info", (None, error))[1]
        super().__exit__(kind, error, traceback)


def method_of(endpoint: Any, method: str) -> str:
    """The method's name if its endpoint defines it; what it makes up when asked is no name."""
    defined = any(method in vars(kind) for kind in type(endpoint).__mro__)
    made = defined or method in getattr(endpoint, "__dict__", ())
    return method if made else OTHER


def _notifying(owner: type, sends: Calls, _: Any) -> Callable[..., Any]:
    """Around whatever `Transport` does by then, so that the trace is sent from inside."""
    names = Names()

    def send_notification(transport: Any, target: Any, *args: Any, **options: Any) -> Any:
        send = super(owner, transport)._send_notification  # type: ignore[arg-type]
        if not sends.depth.on:
            return send(target, *args, **options)
        try:
            topic = names.of(getattr(target, "topic", None))
            call = Call(sends.known(topic) or _sending(sends, topic))
        except Exception as error:  # noqa: BLE001  it is sent all the same
            REGISTRY.lost("attributes", "unreadable")
            faults.tell("oslo_messaging", "a notification", error)
            return send(target, *args, **options)
        with call:
            return send(target, *args, **options)

    return send_notification


def _sending(sends: Calls, topic: str) -> Operation:
    said = {"messaging.operation.type": "send"}
    return sends.operation(topic, f"notify {topic}", {DESTINATION: topic}, said)
