"""What both ends of a topic in Kafka agree on: headers, names of topics, and properties files.

A message's value is one OTLP request in protobuf. Of which signal it is, and which delivery of
which sender, stands in its headers; that of other producers is told by its topic.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

SIGNALS: Final = ("traces", "metrics", "logs")
SIGNAL: Final = "nilometer-signal"
"""The header that tells one of SIGNALS."""
DELIVERY: Final = "nilometer-delivery"
"""The header whose value tells a delivery from all others, and is the same when it is sent
again."""

TOPIC: Final = "nilometer"
PORT: Final = 9092

OURS: Final = frozenset(
    {
        *("bootstrap.servers", "metadata.broker.list", "client.id", "group.id"),
        *("acks", "request.required.acks", "enable.idempotence", "transactional.id"),
        *("enable.auto.commit", "enable.auto.offset.store", "auto.commit.enable"),
        *("auto.offset.reset", "compression.type", "compression.codec"),
        *("message.timeout.ms", "delivery.timeout.ms", "statistics.interval.ms", "log_level"),
        *("debug", "plugin.library.paths", "enable.partition.eof"),
    }
)
"""Properties that say what is promised, or what an option of the URL says."""


def is_topic(name: str) -> bool:
    """Whether a topic can have that name.

    >>> is_topic("otlp_spans"), is_topic("a topic"), is_topic("..")
    (True, False, False)
    """
    return bool(re.fullmatch(r"[A-Za-z0-9._-]{1,249}", name)) and name not in (".", "..")


def is_place(text: str) -> bool:
    """Whether this is ``host:port`` or ``host``.

    >>> is_place("b1:9092"), is_place("[::1]:9092"), is_place("b1:port")
    (True, True, False)
    """
    return bool(re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\s:/@\[\],]+)(:[0-9]{1,5})?", text))


def properties(lines: Iterable[str]) -> dict[str, str]:
    """The properties of a client, ``name=value`` a line, as Kafka's own tools read them.

    A ValueError says which line cannot be used, and shows no value: it may be a password.

    >>> properties(["# of the client", "security.protocol = SASL_SSL", "", "sasl.password=a=b"])
    {'security.protocol': 'SASL_SSL', 'sasl.password': 'a=b'}
    >>> properties(["acks=0"])
    Traceback (most recent call last):
    ValueError: line 1: acks is not to be set here
    """
    told: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not re.fullmatch(r"[a-z][a-z0-9._]*", name):
            raise ValueError(f"line {number} is not name=value, as in security.protocol=SSL")
        if name in OURS:
            raise ValueError(f"line {number}: {name} is not to be set here")
        told[name] = value
    return told
