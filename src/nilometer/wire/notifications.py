"""Notifications of oslo.messaging: the bytes of one message, opened, become one event.

Takes envelope 2.0, whose message is JSON within JSON, and 1.0, which is the message alone;
packed or not. Bytes that are neither raise WireError with the reason: ``compression``,
``too-large``, ``json``, ``too-deep``, or ``field`` for what is there and not as it should be.
Tokens and keys, which older services sent along, and passwords in URLs are taken out before
anything is kept.
"""

from __future__ import annotations

import bz2
import json
import re
import zlib
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from math import isinf
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.errors import WireError, said_by
from nilometer.model import Event, Resource
from nilometer.model import notification as names
from nilometer.wire.notification_payload import facts_of
from nilometer.wire.url_passwords import HIDDEN, has_passwords, without_passwords

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nilometer.model import AttributeValue

BODY_BYTES_MAX: Final = 1 << 20
"""Nova's largest, a build that failed with its arguments, has some 50 kB; what exceeds twenty
times that is no notification."""
NAME_CHARS_MAX: Final = 255  # the routing keys that brokers carry are no longer

_VERSION: Final = "oslo.version"
_MESSAGE: Final = "oslo.message"
_VERSIONS: Final = ("1.", "2.")
_PUBLISHER: Final = re.compile("[.:]")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

# What stands under a key with such a word in it, however it is hyphenated, is hidden, at any
# depth; looked for in the text first, since a walk through it costs as much as the rest.
_SECRETS: Final = (
    *("token", "secret", "credential", "authorization", "servicecatalog", "userdata"),
    *("password", "passwd", "passphrase", "adminpass", "newpass", "rootpass", "userpass"),
    *("hmackey", "apikey", "accesskey", "privatekey"),
)
_DIGITS_MAX: Final = 1000  # Python makes no numbers of more than some thousands
_KEY_CHARS_MAX: Final = 64  # longer keys are nobody's, and would fill what is remembered
_encode: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def _refused(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def _finite(digits: str) -> float:
    """Python reads 1e999 as infinity, which no JSON can say."""
    found = float(digits)
    if isinf(found):
        raise ValueError(f"{digits[:40]} is beyond what a number can be")
    return found


def number_or_text(digits: str) -> float | str:
    """The number, or its digits where it is beyond what a float can be, as 1e999 is."""
    found = float(digits)
    return digits if isinf(found) else found


_decode: Final = json.JSONDecoder(parse_constant=_refused, parse_float=_finite).decode
_decode_all: Final = json.JSONDecoder(parse_constant=str, parse_float=number_or_text).decode


class Opened(NamedTuple):
    """A message out of its envelope, without secrets; `identity` is what it is known by when
    it comes again."""

    identity: str
    name: str
    priority: str
    publisher: str
    at_ns: int
    message: dict[str, Any]


class Notification(NamedTuple):
    """Who sent it, and the event it is."""

    resource: Resource
    event: Event


def opened(body: bytes, compression: str = "") -> Opened:
    """The message in these bytes, or a WireError with the reason.

    `compression` is what the message's header of that name says.
    """
    text = _text_of(unpacked(body, compression))
    message = _message(text)
    name = _text(message, "event_type")
    if not 0 < len(name) <= NAME_CHARS_MAX or "\0" in name:
        raise WireError(f"an event_type of {len(name)} characters", reason="field")
    if "payload" not in message:
        raise WireError("no payload", reason="field")
    priority = _text(message, "priority", "INFO").upper()
    if priority not in names.SEVERITIES:
        raise WireError(f"priority {priority[:40]!r}", reason="field")
    if _is_secret(text) or has_passwords(text):
        _hide(message)
    return Opened(
        _text(message, "message_id", "") or _digest(text),
        name,
        priority,
        _text(message, "publisher_id", ""),
        time_ns(message.get("timestamp")),
        message,
    )


def event_of(found: Opened, *, exchange: str = "", topic: str = "") -> Notification:
    """The message as an event; `topic` is without the priority."""
    try:
        told = _encode(found.message)
    except RecursionError:
        raise WireError("JSON nested too deep", reason="too-deep") from None
    attributes: dict[str, AttributeValue] = {
        names.IDENTITY: found.identity,
        names.PRIORITY: found.priority,
    }
    if found.publisher:
        attributes[names.PUBLISHER] = found.publisher
    if exchange:
        attributes[names.EXCHANGE] = exchange
    if topic:
        attributes[names.TOPIC] = topic
    attributes.update(facts_of(found.name, found.message))
    event = Event(
        found.name,
        found.at_ns,
        attributes,
        severity=names.SEVERITIES[found.priority],
        body=told,
        scope=names.SCOPE,
    )
    return Notification(resource_of(found.publisher), event)


@lru_cache(maxsize=10_000)  # one of each service on each host; 2 MB
def resource_of(publisher: str) -> Resource:
    """Who calls itself so: ``compute.node-1.example`` is compute on node-1.example.

    >>> resource_of("compute.node-1.example")[:2]
    ('compute', 'node-1.example')
    >>> resource_of("nova-compute:node-1.example")[:2]  # nova's notifications with a version
    ('nova-compute', 'node-1.example')
    """
    service, host = (*_PUBLISHER.split(publisher, 1), "")[:2]
    return Resource(service or "unknown_service", host)


def time_ns(said: object) -> int:
    """The nanoseconds since 1970 of a time that OpenStack wrote; without a zone it is UTC.

    >>> time_ns("1970-01-01 00:00:01.000002"), time_ns("1970-01-01T00:00:02Z")
    (1000002000, 2000000000)
    """
    try:
        at = datetime.fromisoformat(said)  # type: ignore[arg-type]  # what is no text raises
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
        at_ns = (at - _EPOCH) // _MICROSECOND * 1000
    except (TypeError, ValueError, OverflowError):
        raise WireError(f"timestamp {str(said)[:40]!r}", reason="field") from None
    if not 0 <= at_ns < 2**63:
        raise WireError(f"timestamp {str(said)[:40]!r}", reason="field")
    return at_ns


def unpacked(body: bytes, compression: str = "") -> bytes:
    """The body without the compression that kombu can put around it; bounded on both sides."""
    if len(body) > BODY_BYTES_MAX:
        raise WireError(f"{len(body)} bytes, more than {BODY_BYTES_MAX}", reason="too-large")
    if not compression:
        return body
    # zlib's number says: gzip or zlib, whichever the bytes begin with.
    unpackers: dict[str, Any] = {
        "application/x-gzip": lambda: zlib.decompressobj(47),
        "application/x-bz2": bz2.BZ2Decompressor,
    }
    if compression not in unpackers:
        raise WireError(f"compression {compression[:40]!r}", reason="compression")
    try:
        unpacker = unpackers[compression]()
        found: bytes = unpacker.decompress(body, BODY_BYTES_MAX + 1)
    except (zlib.error, OSError, EOFError) as error:
        raise WireError(f"not {compression}: {error}", reason="compression") from None
    if len(found) > BODY_BYTES_MAX:
        raise WireError(f"more than {BODY_BYTES_MAX} bytes unpacked", reason="too-large")
    if not unpacker.eof:
        raise WireError(f"{compression} cut off", reason="compression")
    return found


def _text_of(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise WireError(f"not UTF-8: {error.reason}", reason="json") from None


def _message(text: str) -> dict[str, Any]:
    """The message in its envelope, if it has one."""
    found = _parsed(text)
    if _VERSION in found and _MESSAGE in found:
        version = found[_VERSION]
        if not isinstance(version, str) or not version.startswith(_VERSIONS):
            raise WireError(f"oslo.version {str(version)[:40]!r}", reason="field")
        inner = found[_MESSAGE]
        if not isinstance(inner, str):
            raise WireError("oslo.message is no text", reason="field")
        found = _parsed(inner)
    return found


def _parsed(text: str) -> dict[str, Any]:
    try:
        found = _decode(text)
    except RecursionError:
        raise WireError("JSON nested too deep", reason="too-deep") from None
    except ValueError as error:
        found = _of_profiler(text)
        if found is None:
            raise WireError(f"not JSON: {said_by(error)}", reason="json") from None
    if not isinstance(found, dict):
        raise WireError(f"{type(found).__name__} where an object is due", reason="field")
    return found


def _of_profiler(text: str) -> dict[str, Any] | None:
    """A message of OSProfiler's, which tells whatever it meets, NaN as well: that is text then,
    as it is in points that come over HTTP. None where it is none."""
    with suppress(ValueError, RecursionError):
        found = _decode_all(text)
        if isinstance(found, dict) and str(found.get("event_type")).startswith(names.PROFILER):
            return found
    return None


def _text(message: dict[str, Any], key: str, default: str | None = None) -> str:
    """The text under that key; what is null counts as missing."""
    found = message.get(key)
    if found is None and default is not None:
        return default
    if not isinstance(found, str):
        raise WireError(f"{key} is no text" if key in message else f"no {key}", reason="field")
    return found


def without_secrets(body: bytes, compression: str = "") -> bytes:
    """The body of a message that was refused, without secrets where it can be read as JSON;
    what cannot stays as it came."""
    plain = body if len(body) <= BODY_BYTES_MAX else b""
    with suppress(WireError):  # what is not packed as its header says may be JSON as it is
        plain = unpacked(body, compression)
    try:
        text = plain.decode()
        if not _is_secret(text) and not has_passwords(text):
            return body
        told = _loosely(text)
        if isinstance(told, dict) and isinstance(told.get(_MESSAGE), str):
            inner = _loosely(told[_MESSAGE])
            _hide(inner)
            told[_MESSAGE] = json.dumps(inner)
        _hide(told)
        return json.dumps(told).encode()
    except (ValueError, RecursionError):
        return body


def _loosely(text: str) -> Any:
    """JSON with whatever numbers; those of thousands of digits as text."""
    return json.loads(text, parse_int=lambda n: int(n) if len(n) < _DIGITS_MAX else n)


def _digest(text: str) -> str:
    """The identity of a message that has none."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _is_secret(text: str) -> bool:
    """Whether one of the words is in it; a regular expression takes ten times as long."""
    bare = text.lower().replace("_", "").replace("-", "")
    return any(word in bare for word in _SECRETS)


_is_secret_key: Final = lru_cache(maxsize=10_000)(_is_secret)  # keys come again; 1 MB


def _hide(found: Any) -> None:
    """Hide what stands under secret keys, and passwords in URLs, in place."""
    waiting = [found]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            _hide_values(one, enumerate(one), waiting)
        elif isinstance(one, dict):
            _hide_values(one, one.items(), waiting)


def _hide_values(holder: Any, held: Iterable[tuple[Any, Any]], waiting: list[Any]) -> None:
    """Hide what is in one object or list; what is nested in it waits."""
    for key, value in held:
        if value is not None and isinstance(key, str) and _is_named_secret(key):
            holder[key] = HIDDEN
        elif isinstance(value, str):
            holder[key] = without_passwords(value)
        elif isinstance(value, dict | list):
            waiting.append(value)


def _is_named_secret(key: str) -> bool:
    known = _is_secret_key if len(key) <= _KEY_CHARS_MAX else _is_secret
    return known(key)
