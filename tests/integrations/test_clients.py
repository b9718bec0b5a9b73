"""HTTP clients against a real server: timed, traced, our headers on what they send."""

import asyncio
import os
from contextlib import nullcontext

import aiohttp
import httpx
import pytest
import requests
import urllib3

from nilometer.integrations import aiohttp as our_aiohttp
from nilometer.integrations import http_client
from nilometer.integrations import httpx as our_httpx
from nilometer.integrations import urllib3 as our_urllib3
from nilometer.integrations.http_client import Hosts
from nilometer.model import SpanKind, Status
from nilometer.trace import Trace, drain_spans, start_root
from nilometer.trace.trigger import Triggers
from tests.integrations.integration_kit import KEY, read, serving, trigger_headers


@pytest.fixture
def server():
    """A server that remembers the headers it was sent; /N answers with status N."""

    def app(environ, start_response):
        to = [("Location", environ["QUERY_STRING"])] if "302" in environ["PATH_INFO"] else []
        path = environ["PATH_INFO"].rpartition("/")[2]
        start_response(f"{path or 200} Status", [("Content-Length", "2"), *to])
        return [b"ok"]

    with serving(app) as made:
        yield made


def by_requests(url, headers=None):
    with requests.Session() as session:
        return session.get(url, headers=headers, timeout=5).status_code


def by_urllib3(url, headers=None):
    with urllib3.PoolManager() as pool:
        retries = urllib3.Retry(None, connect=0, read=0, redirect=1)
        return pool.request("GET", url, headers=headers, retries=retries).status


def by_httpx(url, headers=None):
    return httpx.get(url, headers=headers, follow_redirects=True).status_code


def by_async_httpx(url, headers=None):
    async def get():
        async with httpx.AsyncClient(follow_redirects=True) as client:
            return (await client.get(url, headers=headers)).status_code

    return asyncio.run(get())


def by_aiohttp(url, headers=None):
    async def get():
        async with (
            aiohttp.ClientSession() as session,
            session.get(url, headers=headers) as response,
        ):
            return response.status

    return asyncio.run(get())


OURS_INSTALLED = (our_urllib3, our_httpx, our_aiohttp)


@pytest.fixture
def installed(registry):
    for module in OURS_INSTALLED:
        module.install(registry=registry)
    yield
    for module in OURS_INSTALLED:
        module.uninstall()


@pytest.fixture(params=[by_requests, by_urllib3, by_httpx, by_async_httpx, by_aiohttp])
def get(request, installed):
    return request.param


@pytest.fixture
def root():
    lowered = {name.lower(): value for name, value in trigger_headers().items()}
    with start_root("request", request=Triggers([KEY]).accept(lowered.get)) as span:
        yield span


ONCE = {"http.request.method=GET,server.address=127.0.0.1": 1}


def test_a_request_is_timed_once_and_sent_unchanged(get, server, registry):
    assert get(server.url) == 200
    assert read(registry)["http.client.request"] == ONCE
    assert not server.seen[0].keys() & {"traceparent", "tracestate", "x_trace_info"}


def test_a_traced_request_carries_both_signed_forms_on(get, server, root):
    assert get(f"{server.url}/200?token=secret") == 200
    (span,) = drain_spans()

    sent = server.seen[0]
    accepted = Triggers([KEY]).accept(lambda name: sent.get(name.replace("-", "_")))
    assert (accepted.trace_id.hex(), accepted.parent_id.hex()) == (
        root.trace_id,
        span.span_id.hex(),
    )
    assert {"x_trace_info", "x_trace_hmac"} <= sent.keys()
    assert (span.name, span.kind, span.parent_id.hex()) == (
        "GET",
        SpanKind.CLIENT,
        root.span_id,
    )
    assert dict(span.attributes) == {
        "http.request.method": "GET",
        "server.address": "127.0.0.1",
        "url.path": "/200",
        "http.response.status_code": 200,
    }


def test_headers_that_the_caller_set_are_his(get, server, root):
    get(server.url, {"Traceparent": "mine"})

    assert server.seen[0]["traceparent"] == "mine"
    assert "x_trace_info" not in server.seen[0]


def test_a_header_that_occurs_twice_stays_so_in_a_traced_request(server, installed, root):
    given = urllib3.HTTPHeaderDict({"X-One": "1"})
    given.add("X-Both", "a")
    given.add("X-Both", "b")
    with urllib3.PoolManager() as pool:
        pool.request("GET", server.url, headers=given)

    (sent,) = server.seen
    assert (sent["x_one"], sent["x_both"].replace(" ", "")) == ("1", "a,b")
    assert sent.keys() >= OURS
    assert dict(given) == {"X-One": "1", "X-Both": "a, b"}


def test_strangers_get_no_headers(get, server, root, monkeypatch):
    monkeypatch.setattr(Hosts, "admit", lambda self, host: False)
    get(server.url)

    assert not server.seen[0].keys() & {"traceparent", "tracestate", "x_trace_info"}


OURS = {"traceparent", "tracestate", "x_trace_info", "x_trace_hmac"}


def test_a_redirect_to_a_stranger_takes_no_headers_along(get, server, root, monkeypatch):
    monkeypatch.setattr(Hosts, "admit", lambda self, host: host == "127.0.0.1")
    stranger = f"http://localhost:{server.server_port}/200"

    assert get(f"{server.url}/302?{stranger}") == 200
    assert [seen.keys() & OURS for seen in server.seen] == [OURS, set()]


def test_each_hop_of_a_redirect_is_signed_anew(get, server, root):
    assert get(f"{server.url}/302?/200") == 200

    triggers = Triggers([KEY])
    accepted = [
        triggers.accept(lambda name, sent=sent: sent.get(name.replace("-", "_")))
        for sent in server.seen
    ]
    assert [one.parent_id for one in accepted] == [span.span_id for span in drain_spans()]


def test_a_request_that_is_sent_twice_is_signed_twice_and_stays_as_it_was(
    server, installed, root
):
    with httpx.Client() as client:
        request = client.build_request("POST", server.url, content=b"body")
        before = list(request.headers.raw)
        answers = [client.send(request) for _ in range(2)]

    assert [answer.request is request for answer in answers] == [True, True]
    assert request.headers.raw == before
    assert len({sent["tracestate"] for sent in server.seen}) == 2


def test_what_a_middleware_of_aiohttp_sends_twice_is_signed_twice(server, installed, root):
    async def twice(sent, send):
        (await send(sent)).release()
        return await send(sent)

    async def get():
        async with aiohttp.ClientSession(middlewares=(twice,)) as session:
            (await session.get(server.url)).release()

    asyncio.run(get())

    assert len({sent["tracestate"] for sent in server.seen}) == 2


def through_requests(url, proxy):
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, proxies={"http": proxy}, timeout=5).status_code


def through_urllib3(url, proxy):
    with urllib3.ProxyManager(proxy) as pool:
        return pool.request("GET", url, retries=False).status


def through_httpx(url, proxy):
    with httpx.Client(proxy=proxy) as client:
        return client.get(url).status_code


def through_aiohttp(url, proxy):
    async def get():
        async with (
            aiohttp.ClientSession() as session,
            session.get(url, proxy=proxy) as response,
        ):
            return response.status

    return asyncio.run(get())


@pytest.mark.parametrize(
    "through", [through_requests, through_urllib3, through_httpx, through_aiohttp]
)
@pytest.mark.parametrize(
    ("host", "given"), [("orders.example.com", set()), ("orders.internal", OURS)]
)
def test_a_request_through_a_proxy_is_judged_by_whom_it_is_for(
    server, installed, root, through, host, given
):
    assert through(f"http://{host}:81/200?a=secret", server.url) == 200
    (span,) = drain_spans()

    assert [seen.keys() & OURS for seen in server.seen] == [given]
    assert (span.attributes["server.address"], span.attributes["url.path"]) == (host, "/200")


def test_an_answer_of_an_error_is_an_error_of_the_span(get, server, root):
    assert get(f"{server.url}/503") == 503
    (span,) = drain_spans()

    assert (span.status, span.attributes["error.type"]) == (Status.ERROR, "503")


def test_a_request_that_fails_ends_its_span(get, free_port, registry, root):
    failures = (OSError, httpx.HTTPError, urllib3.exceptions.HTTPError, aiohttp.ClientError)
    with pytest.raises(failures):
        get(f"http://127.0.0.1:{free_port()}")
    *_, span = drain_spans()

    readings = read(registry)
    assert (span.name, span.status) == ("GET", Status.ERROR)
    assert readings["http.client.request"] == ONCE
    (errors,) = readings["http.client.request.errors"]
    assert errors.startswith("error.type=")
    assert errors.endswith("http.request.method=GET,server.address=127.0.0.1")


def test_a_request_that_fails_untraced_is_timed_and_counted_too(get, free_port, registry):
    failures = (OSError, httpx.HTTPError, urllib3.exceptions.HTTPError, aiohttp.ClientError)
    with pytest.raises(failures):
        get(f"http://127.0.0.1:{free_port()}")

    readings = read(registry)
    assert readings["http.client.request"] == ONCE
    (errors,) = readings["http.client.request.errors"]
    assert errors.endswith("http.request.method=GET,server.address=127.0.0.1")


def test_responses_are_counted_by_the_class_of_their_status(get, server, registry):
    for status in (200, 201, 404, 503):
        get(f"{server.url}/{status}")

    def counted(status_class):
        return f"http.response.status_class={status_class},server.address=127.0.0.1"

    assert read(registry)["http.client.responses"] == {
        counted("2xx"): 2,
        counted("4xx"): 1,
        counted("5xx"): 1,
    }


def test_at_level_off_requests_pass_untouched(get, server, registry, root):
    for module in ("urllib3", "httpx", "aiohttp"):
        registry.set_level(f"integrations.{module}", "off")
    get(server.url)

    assert "http.client.request" not in read(registry)
    assert (drain_spans(), server.seen[0].keys() & OURS) == ((), set())


def test_at_deep_a_span_says_where_in_the_service_it_began(get, server, registry, root):
    for module in ("urllib3", "httpx", "aiohttp"):
        registry.set_level(f"integrations.{module}", "deep")
    get(server.url)
    (span,) = drain_spans()

    assert span.attributes["code.file.path"].endswith("test_clients.py")


def test_uninstalling_leaves_nothing_behind(registry):
    places = (
        (urllib3.connectionpool.HTTPConnectionPool, "_make_request"),
        (httpx.HTTPTransport, "handle_request"),
        (httpx.AsyncHTTPTransport, "handle_async_request"),
        (aiohttp.ClientSession, "_request"),
    )
    before = [vars(owner)[name] for owner, name in places]
    for module in OURS_INSTALLED:
        assert (module.install(registry=registry), module.install(registry=registry)) == (
            True,
            False,
        )
        module.uninstall()

    assert [vars(owner)[name] for owner, name in places] == before


@pytest.mark.parametrize(
    ("host", "is_neighbour"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("[::1]", True),
        ("10.1.2.3", True),
        ("192.168.7.1", True),
        ("169.254.1.1", True),
        ("fe80::1%eth0", True),
        ("orders", True),
        ("orders.prod.svc.cluster.local", True),
        ("nas.local", True),
        ("example.com", False),
        ("EXAMPLE.com.", False),
        ("8.8.8.8", False),
        ("2606:4700::1111", False),
        ("134744072", False),
        ("0x08080808", False),
        ("01002004010", False),
        ("0x0a000001", True),
        ("017700000001", True),
        ("8.526344", False),
        ("::ffff:8.8.8.8", False),
        ("::ffff:10.0.0.1", True),
        ("2001:0:808:808::1", False),
        ("evil\u3002com", False),
        ("\uff18\uff18", False),
        ("10.0.0.1.example.com", False),
        ("localhost.example.com", False),
        ("", False),
        ("\x00", True),  # no name without a dot leaves the local network
    ],
)
def test_neighbours_are_told_by_their_names(host, is_neighbour):
    assert Hosts().admit(host) is is_neighbour


def test_further_hosts_are_named_by_patterns():
    http_client.send_to(["*.Example.com", "api.other.org"])
    try:
        hosts = http_client.hosts
        assert [
            hosts.admit(host) for host in ("a.example.com", "api.other.org", "x.other.org")
        ] == [True, True, False]
    finally:
        http_client.send_to([])


def test_remembered_hosts_are_bounded():
    hosts = Hosts()
    for number in range(3000):
        hosts.admit(f"h{number}.example.com")

    assert len(hosts._known) == http_client.HOSTS_KEPT_MAX


def test_an_untraced_request_asks_for_no_headers(get, server, monkeypatch):
    monkeypatch.setattr(http_client, "headers", lambda: os.abort())

    assert get(server.url) == 200


def test_a_joined_request_passes_on_what_came(get, server):
    traceparent = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-00"
    joined = Triggers([]).accept({"traceparent": traceparent}.get)
    with joined:
        get(server.url)

    assert server.seen[0]["traceparent"] == traceparent
    assert not isinstance(joined, Trace)


@pytest.mark.parametrize("is_traced", [False, True])
def test_transports_of_httpx_take_their_request_by_its_name(server, installed, is_traced):
    def sent():
        request = httpx.Request("GET", server.url)
        with httpx.HTTPTransport() as transport:
            return transport.handle_request(request=request).status_code

    async def sent_later():
        request = httpx.Request("GET", server.url)
        async with httpx.AsyncHTTPTransport() as transport:
            return (await transport.handle_async_request(request=request)).status_code

    with start_root("request", request=Trace(b"1" * 16)) if is_traced else nullcontext():
        assert (sent(), asyncio.run(sent_later())) == (200, 200)


def test_what_is_no_request_is_refused_in_the_words_of_its_library(server, installed):
    def refusals():
        pool = urllib3.HTTPConnectionPool("127.0.0.1", int(server.url.rpartition(":")[2]))
        with pool, httpx.HTTPTransport() as transport:
            for refused in (
                lambda: pool.urlopen(["GET"], "/", retries=False),
                lambda: transport.handle_request("no request"),
            ):
                with pytest.raises(Exception) as error:  # whichever it is
                    refused()
                yield type(error.value), str(error.value)

    measured = list(refusals())
    for module in OURS_INSTALLED:
        module.uninstall()

    assert measured == list(refusals())
