"""Bodies of ExportTraceServiceRequests as no library writes them, from a seeded generator.

Each is well formed but for what `odd` lets in: fields told twice, unknown ones, groups, other
wire types, numbers in more bytes than they need, texts that are not UTF-8, deep values.
"""

from google.protobuf.internal.encoder import _VarintBytes

VARINT, FIXED64, LENGTH, GROUP, END_GROUP, FIXED32 = range(6)
WIRES = {"varint": VARINT, "fixed64": FIXED64, "fixed32": FIXED32}

# What the fields of each message are, by their numbers from 1. Names of no scalar are messages.
FIELDS = {
    "request": "resource_spans",
    "resource_spans": "resource scope_spans text",
    "resource": "pair varint entity",
    "entity": "text text text text",
    "scope_spans": "scope span text",
    "scope": "scope_name text pair varint",
    "span": "trace_id span_id text parent_id text varint fixed64 fixed64 pair varint event"
    " varint link varint status fixed32",
    "event": "fixed64 text pair varint",
    "link": "trace_id span_id text pair varint fixed32",
    "status": "unknown text varint",
    "pair": "text value varint",
    "value": "text varint varint fixed64 values pairs bytes varint",
    "values": "value",
    "pairs": "pair",
}
SCHEMA = {kind: dict(enumerate(told.split(), 1)) for kind, told in FIELDS.items()}
SEVERAL = {"resource_spans", "scope_spans", "span", "pair", "event", "link", "entity"}
ALWAYS = {"trace_id", "span_id"}  # nearly: else hardly any span would be one

TEXTS = [b"", b"a", b"GET", b"http.route", "\u00e9t\u00e9".encode(), "\U0001f600".encode()]
TEXTS += [b"\x00", b"x" * 41, b"service.name", b"process.pid", b"k" * 300, b"error", b"null"]
NOT_UTF8 = [
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xc0\x80",
    b"\xf4\x90\x80\x80",
    b"aaaaaaaaa\x80",
]
SCOPES = [b"osprofiler.drivers.otlp", b"", b"orders", b"orders.b"]
NUMBERS = [0, 1, 2, 3, 5, 6, 127, 128, 2**31, 2**32 + 1, 2**63 - 1, 2**63, 2**64 - 1]
DEEPEST = 16


class Wild:
    """Writes one body after another; `odd` is how many fields in a thousand are odd."""

    def __init__(self, rng, odd):
        self.rng, self.odd = rng, odd

    def is_odd(self):
        return self.rng.randrange(1000) < self.odd

    def body(self):
        """Of three resources, as empty ones are no news."""
        return b"".join(self.message("request", 0) for _ in range(3))

    def message(self, kind, depth):
        fields = []
        for number, what in SCHEMA[kind].items():
            times = self.rng.choice([0, 0, 1, 2]) if what in SEVERAL else self.once(what)
            fields += [self.field(number, what, depth) for _ in range(times)]
        if kind == "value":
            fields = self.rng.sample(fields, min(len(fields), 1 + self.is_odd()))
        if kind == "values":
            fields = [self.field(1, "value", depth) for _ in range(self.rng.randrange(3))]
        if self.is_odd():
            fields.append(self.unknown(depth))
            self.rng.shuffle(fields)
        return b"".join(fields)

    def once(self, what):
        if what in ALWAYS:
            return self.rng.randrange(30) > 0
        return 2 if self.is_odd() else self.rng.randrange(2)

    def field(self, number, what, depth):
        wire = WIRES.get(what, LENGTH)
        if self.is_odd():
            wire = self.rng.choice([VARINT, FIXED64, LENGTH, GROUP, END_GROUP, FIXED32])
        tag = self.varint(number << 3 | wire)
        if wire != LENGTH:
            return tag + self.number(wire)
        content = self.content(what, depth)
        return tag + self.varint(len(content)) + content

    def number(self, wire):
        value = self.rng.choice(NUMBERS)
        if wire == VARINT:
            return self.varint(value)
        size = {FIXED64: 8, FIXED32: 4}.get(wire, 0)
        return (value % 2 ** (8 * size)).to_bytes(size, "little")

    def varint(self, value):
        told = _VarintBytes(value)
        if self.is_odd():
            more = self.rng.randrange(1, 10)
            told = told[:-1] + bytes([told[-1] | 128]) + b"\x80" * (more - 1) + b"\x00"
        return told

    def content(self, what, depth):
        if what in SCHEMA:
            return self.message(what, depth + 1) if depth < DEEPEST else b""
        if what in ("trace_id", "span_id", "parent_id"):
            return self.id(16 if what == "trace_id" else 8)
        if what == "unknown":
            return self.rng.choice(NOT_UTF8)
        if what == "scope_name":
            return self.rng.choice(SCOPES)
        if what == "bytes":
            return self.rng.randbytes(self.rng.randrange(5))
        return self.rng.choice(NOT_UTF8 if self.is_odd() else TEXTS)

    def id(self, size):
        if self.rng.randrange(8):
            return self.rng.randbytes(size)
        return bytes(self.rng.choice([0, 1, size - 1, size, size + 1]))

    def unknown(self, depth):
        number = self.rng.choice([0, 9, 17, 1000, 2**14, 2**28])
        kind = self.rng.randrange(6)
        if kind in (VARINT, FIXED64, FIXED32):
            return self.varint(number << 3 | kind) + self.number(kind)
        if kind == LENGTH:
            content = self.rng.choice(TEXTS + NOT_UTF8)
            return self.varint(number << 3 | LENGTH) + self.varint(len(content)) + content
        inside = self.unknown(depth + 1) if depth < DEEPEST and self.rng.randrange(2) else b""
        return self.varint(number << 3 | GROUP) + inside + self.varint(number << 3 | END_GROUP)


def damaged(rng, body):
    """The body with a few bytes changed, taken out, put in, or cut off."""
    damaged = bytearray(body)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(damaged) + 1)
        match rng.randrange(4):
            case 0:
                damaged[at : at + 1] = rng.randbytes(1)
            case 1:
                del damaged[at : at + rng.randrange(1, 9)]
            case 2:
                damaged[at:at] = rng.randbytes(rng.randrange(1, 4))
            case _ if rng.randrange(4) == 0:
                del damaged[at:]
    return bytes(damaged)
