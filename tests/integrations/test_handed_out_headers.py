"""Clients that ask OSProfiler for its headers and send them to whatever host they ask.

Those of OpenStack do, by requests: python-zaqarclient's transport, for one.
"""

import pickle
import threading

import pytest
import requests
import urllib3
from osprofiler import profiler, web

from nilometer.integrations import http_client
from nilometer.integrations import osprofiler as drop_in
from nilometer.integrations import urllib3 as our_urllib3
from nilometer.integrations.http_client import Hosts
from nilometer.trace import drain_spans, start_root
from nilometer.trace.trigger import Triggers, new_trigger
from tests.integrations.integration_kit import serving

KEY = "a key of the operator's"
OURS = {"traceparent", "tracestate", "x_trace_info", "x_trace_hmac"}


@pytest.fixture
def server():
    """A server that remembers the headers it was sent; what is asked of it, it redirects to."""

    def app(environ, start_response):
        to = environ["QUERY_STRING"]
        start_response(
            "302 Found" if to else "200 OK",
            [("Content-Length", "2"), *([("Location", to)] if to else [])],
        )
        return [b"ok"]

    with serving(app) as made:
        made.stranger = f"http://localhost:{made.server_port}"
        yield made


@pytest.fixture(params=[True, False], ids=["both forms", "without OSProfiler's"])
def root(request, registry, monkeypatch):
    """A traced request where the drop-in is; ``localhost`` stands for a stranger."""
    monkeypatch.setattr(Hosts, "admit", lambda self, host: host == "127.0.0.1")
    monkeypatch.setattr(http_client, "has_handed_out", False)
    triggers = Triggers([KEY], osprofiler=request.param)
    assert drop_in.install(triggers=triggers, registry=registry)
    our_urllib3.install(registry=registry)
    lowered = {name.lower(): value for name, value in new_trigger(KEY).headers.items()}
    with start_root("request", request=triggers.accept(lowered.get)) as span:
        yield span
    profiler.clean()
    drop_in.uninstall()
    our_urllib3.uninstall()


def by_requests(url, headers):
    with requests.Session() as session:
        return session.request("POST", url, headers=headers, timeout=5).status_code


def by_urllib3(url, headers):
    with urllib3.PoolManager() as pool:
        return pool.request("POST", url, headers=headers, timeout=5).status


def by_urllib3_s_own_headers(url, headers):
    return by_urllib3(url, urllib3.HTTPHeaderDict(headers))


@pytest.fixture(params=[by_requests, by_urllib3, by_urllib3_s_own_headers])
def post(request):
    """Post as such a client does: with its own headers, and those that it was handed."""

    def posted(url):
        headers = {"Client-Id": "one"} | web.get_trace_id_headers()
        given = dict(headers)
        assert request.param(url, headers) == 200
        assert headers == given

    return posted


def test_headers_that_a_client_was_handed_reach_no_stranger(post, root, server):
    post(server.stranger)

    (sent,) = server.seen
    assert not sent.keys() & OURS
    assert sent["client_id"] == "one"


def test_a_redirect_to_a_stranger_takes_handed_out_headers_no_further(root, server):
    by_requests(f"{server.url}?{server.stranger}/", web.get_trace_id_headers())

    assert [bool(sent.keys() & OURS) for sent in server.seen] == [True, False]


def test_a_neighbour_gets_them_signed_anew_by_the_span_of_the_request(post, root, server):
    post(server.url)
    (span,) = drain_spans()

    (sent,) = server.seen
    accepted = Triggers([KEY]).accept(lambda name: sent.get(name.replace("-", "_")))
    assert (accepted.trace_id.hex(), accepted.parent_id) == (root.trace_id, span.span_id)
    assert {"traceparent", "tracestate"} <= sent.keys()
    assert sent["client_id"] == "one"


def test_a_thread_of_the_client_s_own_takes_them_to_neighbours_only(root, server):
    handed = web.get_trace_id_headers()
    for url in (server.url, server.stranger):
        thread = threading.Thread(target=by_requests, args=(url, handed))
        thread.start()
        thread.join()

    named = {name.lower().replace("-", "_") for name in handed}
    assert [sent.keys() & OURS for sent in server.seen] == [named, set()]


def test_headers_that_the_caller_made_himself_stay_his(root, server):
    web.get_trace_id_headers()
    by_requests(server.stranger, {"X-Trace-Info": "his", "X-Trace-HMAC": "his"})

    (sent,) = server.seen
    assert (sent["x_trace_info"], sent["x_trace_hmac"]) == ("his", "his")


def test_what_was_handed_out_is_plain_text_in_another_process(root):
    handed = web.get_trace_id_headers()

    assert {type(value) for value in pickle.loads(pickle.dumps(handed)).values()} == {str}
    assert pickle.loads(pickle.dumps(handed)) == handed
