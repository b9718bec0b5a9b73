"""Requests that ask for a trace, and readings and spans in a form that tests can compare."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from wsgiref.simple_server import WSGIRequestHandler, make_server

from nilometer.model import Distribution
from nilometer.trace import Trace, drain_spans, start_root
from nilometer.trace.trigger import new_trigger

KEY = "a key of at least sixteen bytes"


class Quiet(WSGIRequestHandler):
    """Handles requests, and says nothing of them."""

    def log_message(self, *args):
        pass


@contextmanager
def serving(app):
    """A server of this WSGI application at `url`; `seen` are the headers it was sent."""
    seen = []

    def remembering(environ, start_response):
        seen.append({k[5:].lower(): v for k, v in environ.items() if k.startswith("HTTP_")})
        return app(environ, start_response)

    with make_server("127.0.0.1", 0, remembering, handler_class=Quiet) as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        made.seen = seen
        made.url = f"http://127.0.0.1:{made.server_port}"
        yield made
        made.shutdown()
        thread.join()


def trigger_headers():
    """The signed headers of one new request."""
    return dict(new_trigger(KEY).headers)


@contextmanager
def traced_request():
    """A request that is traced while the ``with`` lasts; then its spans are in the list."""
    spans = []
    with start_root("request", request=Trace(bytes(range(16)))):
        yield spans
    spans += drain_spans()


def read(registry):
    """All readings as {name: {dimensions: value}}; of a distribution its number of samples."""
    values = {}
    for reading in registry.collect()[0]:
        value = reading.value
        if isinstance(value, Distribution):
            value = value.samples
        dimensions = ",".join(f"{key}={text}" for key, text in reading.dimensions)
        values.setdefault(reading.name, {})[dimensions] = value
    return values


def shape(spans):
    """Spans as (name, parent's name, status's name), oldest end first."""
    names = {span.span_id: span.name for span in spans}
    return [(span.name, names.get(span.parent_id, ""), span.status.name) for span in spans]
