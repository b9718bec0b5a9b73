"""At level deep each integration's spans say where in the caller's code they began."""

from __future__ import annotations

from nilometer.model import SpanKind
from tests.integrations.integration_kit import traced_request
from tests.integrations.test_own_faults import CLIENTS, client, url

__all__ = ["client", "url"]

MADE_HERE = (SpanKind.CLIENT, SpanKind.PRODUCER)
"""Spans of what the caller asked for; those of consumers and servers are begun by others."""

WITHOUT_SPANS = {"thread_pools", "threads", "logging_lines"}


def test_each_span_of_a_call_says_where_the_call_was_made(registry, client, url):
    registry.set_level("integrations", "deep")
    with traced_request() as spans:
        assert client(url) == b"ok"
    files = {
        (span.name, span.attributes.get("code.file.path"))
        for span in spans
        if span.kind in MADE_HERE
    }

    assert files or CLIENTS[client] in WITHOUT_SPANS
    assert {file for _, file in files} <= {"tests/integrations/test_own_faults.py"}, files
