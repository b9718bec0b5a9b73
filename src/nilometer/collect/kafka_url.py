"""Where messages are consumed from: the brokers of a cluster, and topics there.

    kafka://host:9092/nilometer?others=host:9092&group=nilometer&properties=FILE
        &traces=otlp_spans&metrics=otlp_metrics&logs=otlp_logs

What else Kafka's client should know, as for TLS and SASL, stands in the file of properties.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from nilometer.errors import ConfigError, nearest
from nilometer.wire import kafka

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

OPTIONS: Final = ("others", "group", "start", "properties", *kafka.SIGNALS)
STARTS: Final = ("earliest", "latest")
GROUP: Final = "nilometer"
SLUG: Final = "bad-kafka-url"


@dataclass(frozen=True, slots=True)
class Topics:
    """One cluster, and what is consumed there; properties show up in no repr.

    `signals` says by topic which of OTLP's signals a message is whose headers do not tell: ""
    where none can be told. `start` is where a group begins that was never here.
    """

    places: tuple[str, ...]
    signals: Mapping[str, str]
    group: str = GROUP
    start: str = STARTS[0]
    properties: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return f"kafka://{','.join(self.places)}/{','.join(self.signals)}"

    @classmethod
    def parse(cls, url: str, *, origin: str, lines: Callable[[str], Sequence[bytes]]) -> Topics:
        """From a URL; `lines` reads a file of properties that strangers cannot read.

        ConfigError says what is wrong, and never shows a password.

        >>> str(Topics.parse("kafka://b1?logs=otlp_logs", origin="here", lines=lambda _: ()))
        'kafka://b1:9092/otlp_logs'
        """
        try:
            return _parsed(url, lines)
        except ValueError as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"{origin}: {error}", slug=SLUG) from None


def _parsed(url: str, lines: Callable[[str], Sequence[bytes]]) -> Topics:
    parts = urlsplit(url)
    if parts.scheme != "kafka":
        raise ValueError(f"scheme {parts.scheme!r}; write kafka://host:{kafka.PORT}/topic")
    given: dict[str, list[str]] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in OPTIONS:
            raise ValueError(f"no option {name!r}{nearest(name, OPTIONS)}")
        given.setdefault(name, []).extend(each for each in value.split(",") if each)
    start = _one(given, "start", STARTS[0])
    if start not in STARTS:
        raise ValueError(f"start={start!r}{nearest(start, STARTS)}")
    file = _one(given, "properties", "")
    return Topics(
        _places([parts.netloc, *given.get("others", ())]),
        _signals(unquote(parts.path).strip("/"), given),
        _one(given, "group", GROUP),
        start,
        _properties(file, lines(file)) if file else {},
    )


def _one(given: Mapping[str, list[str]], name: str, instead: str) -> str:
    values = given.get(name, [instead])
    if len(values) != 1:
        raise ValueError(f"{name} wants one value")
    return values[0]


def _places(told: Sequence[str]) -> tuple[str, ...]:
    for place in told:
        if "@" in place:
            raise ValueError("a password in a URL ends up in logs; use properties=FILE")
        if not kafka.is_place(place):
            raise ValueError(f"{place!r} is not host:port, as in kafka://b1:{kafka.PORT}/topic")
    return tuple(
        place if place.rpartition(":")[2].isdigit() else f"{place}:{kafka.PORT}"
        for place in told
    )


def _signals(path: str, given: Mapping[str, list[str]]) -> dict[str, str]:
    """Which signal is in which topic; of the one in the path the headers tell."""
    signals = {topic: name for name in kafka.SIGNALS for topic in given.get(name, ())}
    if path or not signals:
        signals.setdefault(path or kafka.TOPIC, "")
    for topic in signals:
        if not kafka.is_topic(topic):
            raise ValueError(f"no topic {topic!r}: letters, digits, '.', '_' and '-'")
    return signals


def _properties(file: str, lines: Sequence[bytes]) -> dict[str, str]:
    try:
        return kafka.properties(line.decode() for line in lines)
    except UnicodeDecodeError:
        raise ValueError(f"properties {file}: not UTF-8") from None
    except ValueError as error:
        raise ValueError(f"properties {file}: {error}") from None
