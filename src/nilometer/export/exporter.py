"""What an exporter is, which ones there are, and how one is opened from its URL."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, cast

from nilometer.errors import ConfigError, nearest
from nilometer.export.address import Address, hidden

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nilometer.model import Batch

ENTRY_POINTS: Final = "nilometer.exporters"
"""Third parties register ``scheme = "package.module:function"`` in this entry point group."""


class Exporter(Protocol):
    """Takes batches out of the process.

    A call returns when the batch was taken, as far as the transport can know. It raises
    `Undelivered` when only part of it was, or when the receiver said how to go on; any other
    exception means that nothing of it was. Calls never overlap. An exporter with the attribute
    ``waits = False`` promises never to wait for anybody, and gets no thread of its own; one
    with ``takes = ("readings",)`` is given nothing else.
    """

    def __call__(self, batch: Batch, /) -> None: ...

    def close(self) -> None:
        """Let go of sockets and files; a call may follow and opens them again.

        A forked child calls it too, or `abandon` if the exporter has that: there, another
        thread's locks are held for ever and what the parent uses must be left as it is.
        """


class Undelivered(Exception):  # noqa: N818 - a state of affairs, not always an error
    """What became of a batch that was not taken whole.

    `left` is to be tried again, after `retry_after_s` if the receiver asked for that: the same
    object, by which an exporter may know how it had cut it into requests. `refused` counts what
    is lost for good by (what, reason): trying it again would not help.
    """

    def __init__(
        self,
        because: str,
        *,
        left: Batch | None = None,
        refused: Mapping[tuple[str, str], int] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(because)
        self.because = because
        self.left = left
        self.refused = dict(refused or {})
        self.retry_after_s = retry_after_s


class Scheme(NamedTuple):
    """Where the function is that opens exporters of a scheme, and what it is for."""

    module: str  # imported on use: a service that speaks OTLP loads no syslog
    function: str
    purpose: str


SCHEMES: Final[Mapping[str, Scheme]] = {
    "otlp": Scheme("nilometer.export.otlp", "open_otlp", "OTLP/HTTP, plain"),
    "otlps": Scheme("nilometer.export.otlp", "open_otlp", "OTLP/HTTP over TLS"),
    "statsd": Scheme("nilometer.export.statsd", "open_statsd", "Etsy's statsd over UDP"),
    "dogstatsd": Scheme(
        "nilometer.export.statsd", "open_statsd", "DogStatsD over UDP or a unix socket"
    ),
    "monasca-statsd": Scheme(
        "nilometer.export.statsd", "open_statsd", "the Monasca agent's statsd over UDP"
    ),
    "graphite": Scheme("nilometer.export.graphite", "open_graphite", "carbon, text over TCP"),
    "graphite+pickle": Scheme(
        "nilometer.export.graphite", "open_graphite", "carbon, pickled points over TCP"
    ),
    "kafka": Scheme("nilometer.export.kafka", "open_kafka", "OTLP in protobuf, by Kafka"),
    "log": Scheme("nilometer.export.log", "open_log", "the METRIC level of logging"),
    "file": Scheme("nilometer.export.file", "open_file", "JSON lines appended to a file"),
}


def open_exporter(url: str, *, origin: str = "export") -> Exporter:
    """The exporter that this URL names; `origin` says where the URL stood.

    Opens no connection: a receiver may come up after the service. Raises ConfigError.

    >>> open_exporter("statd://localhost:8125")
    Traceback (most recent call last):
    nilometer.errors.ConfigError: export: no exporter for 'statd://localhost:8125'; \
did you mean 'statsd'? (otlp, otlps, statsd, dogstatsd, monasca-statsd, graphite, \
graphite+pickle, kafka, log, file) \
[no-such-exporter]
    """
    address = Address.parse(url, origin=origin)
    if address.scheme in SCHEMES:
        scheme = SCHEMES[address.scheme]
        opening = getattr(import_module(scheme.module), scheme.function)
        return cast("Callable[[Address], Exporter]", opening)(address)
    return _open_foreign(address)


def _open_foreign(address: Address) -> Exporter:
    from importlib.metadata import entry_points  # 20 ms that only a foreign scheme costs

    found = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if address.scheme not in found:
        known = [*SCHEMES, *sorted(found.keys() - SCHEMES.keys())]
        shown = hidden(address.url)
        raise ConfigError(
            f"{address.origin}: no exporter for {shown!r}{nearest(address.scheme, known)}",
            slug="no-such-exporter",
        )
    point = found[address.scheme]
    try:
        return cast("Callable[[Address], Exporter]", point.load())(address)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"{address.origin}: {address.shown!r}: {point.value} failed: "
            f"{type(error).__name__}: {error}",
            slug="foreign-exporter-failed",
        ) from error
