"""The bytes of both triggers: how they are signed and how they are read; no state, no clock.

Ours, on W3C Trace Context (https://www.w3.org/TR/trace-context/)::

    traceparent: 00-<trace id, 32 hex>-<parent id, 16 hex>-01
    tracestate: nilo=1;<expiry>;<nonce>;<mac>

where expiry is whole seconds since 1970 in decimal, nonce 32 and mac 64 lower-case hexadecimal
digits, and mac is HMAC-SHA256 by the key over the ASCII bytes
``nilo=1\\n<traceparent>\\n<expiry>\\n<nonce>``.

OSProfiler's::

    X-Trace-Info: <URL-safe base64, padded, of JSON {"base_id": ..., "parent_id": ...}>
    X-Trace-HMAC: <HMAC-SHA1 by the key over the text of X-Trace-Info, 40 lower-case hex digits>

In both a parent id that equals the last 8 bytes of the trace id says that there is no parent:
OSProfiler sends the base id as parent where a request begins, and we do as it does.
"""

from __future__ import annotations

import json
import re
from binascii import a2b_base64, b2a_base64
from hmac import compare_digest
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.trace.key import Key as Key  # noqa: TC001  for who asks for it here

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nilometer.trace.signed_pure import Parts

VERSION: Final = "1"
MEMBER: Final = "nilo"

INFO_CHARS_MAX: Final = 1_024
"""A real X-Trace-Info has 140 characters. HMAC-SHA1 over this many takes 1 us."""

TRACESTATE_CHARS_MAX: Final = 2_048
"""The standard asks to pass on at least 512 characters; the 32 members of the usual 64 fit."""

MEMBERS_MAX: Final = 32
"""The standard's own limit of members in a tracestate."""

TRACEPARENT_CHARS_MAX: Final = 128
"""Version 00 has exactly 55; later versions may append, in ways nobody knows yet."""

EXPIRY_DIGITS_MAX: Final = 12
"""Seconds until the year 33,658."""

_TRACEPARENT: Final = re.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})").fullmatch
_SIGNATURE: Final = re.compile(
    f"{VERSION};([0-9]{{1,{EXPIRY_DIGITS_MAX}}});([0-9a-f]{{32}});([0-9a-f]{{64}})"
).fullmatch
NO_TRACE: Final = bytes(16)
NO_PARENT: Final = bytes(8)

USUAL_CHARS: Final = 256  # of a tracestate: ours has 118, most others' a member or two
SHOWN: Final = bytes(range(0x20, 0x7F))

TO_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
FROM_URL_SAFE: Final = str.maketrans("-_", "+/")

_json: Final = json.JSONEncoder().encode  # of two texts, a third of what their object takes
_made: Final = tuple.__new__  # makes a NamedTuple in a third of the time


class Traceparent(NamedTuple):
    """What a traceparent says."""

    trace_id: bytes
    parent_id: bytes
    sampled: bool


class Signature(NamedTuple):
    """Our member of the tracestate, taken apart."""

    expiry_s: int
    nonce: str
    mac: str
    expiry_text: str


def _hex(text: str, size: int) -> bytes | None:
    """`size` bytes from lower-case hexadecimal digits, None if it is anything else."""
    if len(text) != 2 * size or not text.isascii() or text != text.lower():
        return None
    try:
        value = bytes.fromhex(text)
    except ValueError:
        return None
    return value if len(value) == size else None  # fromhex overlooks blanks


def parse_traceparent(text: str) -> Traceparent | None:
    """A traceparent of version 00 or later; None if it is not one.

    >>> parse_traceparent("00-" + "1f" * 16 + "-" + "2e" * 8 + "-01").sampled
    True
    >>> parse_traceparent("00-" + "00" * 16 + "-" + "2e" * 8 + "-01") is None
    True
    """
    usual = _TRACEPARENT(text)  # version 00: all that is sent so far
    if usual is not None:
        trace, parent, shown_flags = usual.groups()
        trace_id, parent_id = bytes.fromhex(trace), bytes.fromhex(parent)
        if trace_id == NO_TRACE or parent_id == NO_PARENT:
            return None
        return _made(Traceparent, (trace_id, parent_id, shown_flags[1] in "13579bdf"))
    return _parse_later_traceparent(text)


def sender_of(parent: Traceparent) -> bytes:
    """The span that the request came from; none where it says that there is none."""
    trace_id, parent_id, _ = parent
    return b"" if parent_id == trace_id[8:] else parent_id


def _parse_later_traceparent(text: str) -> Traceparent | None:
    if not 55 <= len(text) <= TRACEPARENT_CHARS_MAX:
        return None
    if text[2] != "-" or text[35] != "-" or text[52] != "-":
        return None
    version, flags = _hex(text[:2], 1), _hex(text[53:55], 1)
    trace_id, parent_id = _hex(text[3:35], 16), _hex(text[36:52], 8)
    if version in (None, b"\0", b"\xff") or flags is None:
        return None
    if len(text) > 55 and text[55] != "-":
        return None
    if trace_id in (None, NO_TRACE) or parent_id in (None, NO_PARENT):
        return None
    return Traceparent(trace_id, parent_id, bool(flags[0] & 1))


def _is_plain(text: str) -> bool:
    """Whether it is ASCII without controls; a long one is asked as bytes: 4 us, not 15."""
    if not text.isascii():
        return False
    if len(text) <= USUAL_CHARS:
        return text.isprintable()
    return not text.encode("ascii").translate(None, SHOWN)


def split_tracestate(text: str) -> tuple[str | None, str]:
    """Our member's value, None if absent, and the other members as they are to be passed on.

    Where something stands in it that no standard allows (controls, not ASCII) no member is
    passed on, and ours is empty, as nothing is that was signed: who wrote it may have meant to
    write a header of his own.

    >>> split_tracestate("a=1, nilo=1;2;3;4,b=2")
    ('1;2;3;4', 'a=1,b=2')
    """
    if len(text) > TRACESTATE_CHARS_MAX:
        return None, ""
    text = text.replace("\t", " ")
    if not _is_plain(text):
        return "", ""
    if "," not in text and text.startswith(f"{MEMBER}="):  # what we send ourselves
        return text[len(MEMBER) + 1 :].rstrip(" "), ""
    ours: str | None = None
    others = []
    members = text.split(",", MEMBERS_MAX + 1)  # one more than may be, and the rest as one
    for member in members[: MEMBERS_MAX + 1]:
        key, equals, value = member.strip(" ").partition("=")
        if key == MEMBER and equals:
            ours = ours or value
        elif key and equals:
            others.append(f"{key}={value}")
    return ours, ",".join(others[: MEMBERS_MAX - 1])


def message_of(traceparent: str, expiry: str, nonce: str) -> bytes:
    """What the MAC of a traceparent is of."""
    return f"{MEMBER}={VERSION}\n{traceparent}\n{expiry}\n{nonce}".encode("ascii")


def sign_traceparent(traceparent: str, expiry_s: int, nonce: str, key: Key) -> str:
    """Our member of the tracestate: the traceparent is trusted until `expiry_s`, once."""
    mac = key.mac_sha256(message_of(traceparent, str(expiry_s), nonce))
    return f"{MEMBER}={VERSION};{expiry_s};{nonce};{mac}"


def parse_signature(value: str) -> Signature | None:
    """Our member's value taken apart; None if malformed or of another version."""
    usual = _SIGNATURE(value)
    if usual is None:
        return None
    expiry, nonce, mac = usual.groups()
    return _made(Signature, (int(expiry), nonce, mac, expiry))


def read_signed(
    traceparent: str, tracestate: str | None, count: Callable[[str], None]
) -> tuple[str, Traceparent | None, Parts | None, str]:
    """What both headers say however they are spelled: the traceparent without blanks around it,
    what it says, what `signed_parts` says of the usual spelling, and the other members.

    None where a header says nothing; `count` is told why, if it should have.
    """
    if len(traceparent) <= TRACEPARENT_CHARS_MAX:  # a megabyte of blanks takes 7 ms to strip
        traceparent = traceparent.strip(" \t")
    parent = parse_traceparent(traceparent)
    if parent is None:
        count("malformed_traceparent")
        return traceparent, None, None, ""
    if tracestate and len(tracestate) > TRACESTATE_CHARS_MAX:
        count("oversize")
    ours, others = split_tracestate(tracestate or "")
    if ours is None:
        return traceparent, parent, None, others
    signed = parse_signature(ours)
    if signed is None:
        count("malformed_tracestate")
        return traceparent, parent, None, others
    expiry_s, nonce, mac, written = signed
    ids = parent.trace_id, sender_of(parent)
    message = message_of(traceparent, written, nonce)
    return traceparent, parent, (*ids, parent.sampled, expiry_s, nonce, mac, message), others


def sign_osprofiler(base_id: str, parent_id: str, key: Key) -> tuple[str, str]:
    """The values of X-Trace-Info and X-Trace-HMAC.

    >>> sign_osprofiler("b", "p", Key(b"SECRET_KEY"))[1]
    '1c2e230dfa3d4ac49ce13c80b986570da2057b6e'
    """
    ids = f'{{"base_id": {_json(base_id)}, "parent_id": {_json(parent_id)}}}'
    info = b2a_base64(ids.encode("ascii"), newline=False).translate(TO_URL_SAFE)
    return info.decode("ascii"), key.mac_sha1(info)


def key_of_osprofiler(info: str, mac: str, keys: Sequence[Key]) -> Key | None:
    """The key that signed it, if it is one of ours. Both texts must be ASCII."""
    message = info.encode("ascii")
    for key in keys:
        if compare_digest(key.mac_sha1(message), mac):
            return key
    return None


def read_osprofiler(info: str) -> dict[str, Any] | None:
    """The ids in an X-Trace-Info whose signature was verified; None where OSProfiler refuses.

    Refused as there: what is not base64 of UTF-8 of JSON of an object, a missing ``base_id``, a
    key it does not know. Taken as there: any value as an id, a sent ``hmac_key`` (and ignored).
    """
    try:
        ids = json.loads(a2b_base64(info.translate(FROM_URL_SAFE)).decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(ids, dict) or "base_id" not in ids:
        return None
    if not ids.keys() <= {"base_id", "parent_id", "hmac_key"}:
        return None
    return ids
