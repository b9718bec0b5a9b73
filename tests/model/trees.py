"""Trees for tests, written as lines: each span deeper than the one above it is its child.

tree_from('''
    GET /orders   0 100
      SELECT     10  30  "SELECT 1"
''')
"""

from __future__ import annotations

import re

from nilometer.model import Resource, SpanKind, SpanRecord, Status
from nilometer.model.tree import tree_of

TRACE = b"t" * 16
LINE = re.compile(r'( *)(.*?)  +(-?\d+) +(-?\d+)((?: +\w+)*)(?: +"(.*)")?$')
KINDS = {"client": SpanKind.CLIENT, "server": SpanKind.SERVER}


def pairs_from(text, service="api"):
    """The spans; after the times may stand `client`, `server`, `error`, `lost` or a host."""
    above: list[tuple[int, bytes]] = []
    for number, line in enumerate(filter(str.strip, text.splitlines()), 1):
        indent, name, started, ended, words, statement = LINE.fullmatch(line).groups()
        said = words.split()
        while above and above[-1][0] >= len(indent):
            above.pop()
        parent = b"missing." if "lost" in said else above[-1][1] if above else b""
        key = number.to_bytes(8, "big")
        above.append((len(indent), key))
        kind = next((KINDS[word] for word in said if word in KINDS), SpanKind.INTERNAL)
        host = next((word for word in said if word.startswith("host")), "host1")
        yield (
            Resource(service, host),
            SpanRecord(
                TRACE,
                key,
                parent,
                name,
                kind,
                int(started),
                int(ended),
                {"db.query.text": statement} if statement else {},
                Status.ERROR if "error" in said else Status.UNSET,
            ),
        )


def tree_from(text, service="api"):
    """The tree of these lines."""
    return tree_of(pairs_from(text, service))
