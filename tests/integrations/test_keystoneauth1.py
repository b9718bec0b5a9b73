"""Sessions of keystoneauth1, with a stand-in for Keystone: tokens, a catalogue, one service.

Keystone itself is a WSGI application with a database of its own behind it; what its clients ask
it for is these two answers.
"""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from keystoneauth1 import exceptions
from keystoneauth1 import session as keystone_session
from keystoneauth1.adapter import Adapter
from keystoneauth1.identity.v3 import Password
from keystoneauth1.session import Session
from keystoneauth1.token_endpoint import Token

from nilometer.integrations import keystoneauth1 as ours
from nilometer.integrations import urllib3 as our_urllib3
from nilometer.integrations.http_client import Hosts
from nilometer.model import SpanKind
from nilometer.trace import drain_spans
from tests.integrations.integration_kit import read, shape, traced_request

SERVICE = "http.request.method=GET,openstack.service.type=compute"
UNNAMED = "http.request.method=POST"  # what asks for a token is of no service


class Cloud(BaseHTTPRequestHandler):
    """Identity under /v3; a service under /compute that answers what it was told to."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.tokens += 1
        url = f"http://127.0.0.1:{self.server.server_port}/compute"
        endpoint = {
            "interface": "public",
            "url": url,
            "region": "r",
            "region_id": "r",
            "id": "e",
        }
        service = {"type": "compute", "name": "nova", "id": "s", "endpoints": [endpoint]}
        expires = datetime.now(UTC) + timedelta(hours=1)
        token = {
            "methods": ["password"],
            "expires_at": expires.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "user": {"id": "u", "name": "n", "domain": {"id": "d", "name": "D"}},
            "catalog": [service],
        }
        self._answer(201, {"token": token}, **{"X-Subject-Token": f"t{self.server.tokens}"})

    def do_GET(self):
        self.server.seen.append(dict(self.headers))
        status = self.server.answers.pop(0) if self.server.answers else 200
        headers = {"Location": f"{self.server.url}/moved"} if status == 302 else {}
        self._answer(status, {}, **headers)

    def _answer(self, status, body, **headers):
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(data), **headers}.items():
            self.send_header(name, str(value))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def cloud():
    with ThreadingHTTPServer(("127.0.0.1", 0), Cloud) as made:
        made.daemon_threads = True
        made.tokens, made.answers, made.seen = 0, [], []
        made.url = f"http://127.0.0.1:{made.server_port}"
        thread = threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _installed(registry):
    assert our_urllib3.install(registry=registry)
    assert (ours.install(registry=registry), ours.install(registry=registry)) == (True, False)
    yield
    ours.uninstall()
    our_urllib3.uninstall()


@pytest.fixture
def nova(cloud):
    """A client of the service, as python-novaclient is one."""
    domain = {"user_domain_name": "D", "project_domain_name": "D", "project_name": "p"}
    auth = Password(f"{cloud.url}/v3", username="n", password="a", **domain)
    session = Session(auth=auth)
    yield Adapter(session, service_type="compute", interface="public", region_name="r")
    session.session.close()


def get(nova, **options):
    return nova.get(
        "/servers", endpoint_override=f"{nova.session.auth.auth_url[:-3]}/compute", **options
    )


def test_requests_are_timed_by_service_and_all_that_is_sent_for_them_below(nova, registry):
    assert get(nova).status_code == 200
    readings = read(registry)

    assert readings["openstack.client.request"] == {SERVICE: 1, UNNAMED: 1}
    assert readings["http.client.request"] == {
        "http.request.method=GET,server.address=127.0.0.1": 1,
        "http.request.method=POST,server.address=127.0.0.1": 1,
    }


def test_in_a_traced_request_all_that_is_sent_for_one_is_inside_of_its_span(nova, cloud):
    get(nova)
    cloud.answers[:] = [302]
    with traced_request() as spans:
        get(nova)

    assert shape(spans) == [
        ("GET", "GET compute", "UNSET"),
        ("GET", "GET compute", "UNSET"),
        ("GET compute", "request", "UNSET"),
        ("request", "", "UNSET"),
    ]
    (whole,) = [span for span in spans if span.name == "GET compute"]
    assert whole.kind is SpanKind.INTERNAL
    assert dict(whole.attributes) == {
        "http.request.method": "GET",
        "openstack.service.type": "compute",
        "http.response.status_code": 200,
    }


def retried(registry):
    return read(registry).get("http.client.retries")


def to_the_cloud(reason):
    return {f"error.type={reason},server.address=127.0.0.1": 2}


def test_statuses_that_are_tried_again_are_counted_and_redirects_are_not(nova, cloud, registry):
    cloud.answers[:] = [503, 302, 503]
    options = {"status_code_retries": 2, "status_code_retry_delay": 0.001}
    get(nova, retriable_status_codes=[503], **options)

    assert retried(registry) == to_the_cloud("503")


def test_of_several_statuses_that_are_tried_again_all_are_told(nova, cloud, registry):
    cloud.answers[:] = [503, 429]
    options = {"status_code_retries": 2, "status_code_retry_delay": 0.001}
    get(nova, retriable_status_codes=[503, 429], **options)

    assert retried(registry) == to_the_cloud("503,429")


def test_connects_that_are_tried_again_are_counted(registry, free_port):
    session = Session()
    with pytest.raises(exceptions.ConnectFailure):
        session.get(
            f"http://127.0.0.1:{free_port()}", connect_retries=2, connect_retry_delay=0.001
        )

    readings = read(registry)
    assert readings["http.client.retries"] == to_the_cloud("ConnectFailure")
    assert readings["openstack.client.request.errors"] == {
        "error.type=ConnectFailure,http.request.method=GET": 1
    }
    assert readings["http.client.request"] == {
        "http.request.method=GET,server.address=127.0.0.1": 3
    }


def test_a_token_that_is_refused_is_asked_for_anew_and_that_is_counted(nova, cloud, registry):
    get(nova)
    cloud.answers[:] = [401]
    assert get(nova).status_code == 200

    assert read(registry)["openstack.client.reauthentications"] == {"": 1}
    assert cloud.tokens == 2


def test_a_token_that_cannot_be_asked_for_anew_is_not_counted(cloud, registry):
    cloud.answers[:] = [401]
    session = Session(auth=Token(f"{cloud.url}/compute", "fixed"))
    with pytest.raises(exceptions.Unauthorized):
        session.get(f"{cloud.url}/compute")
    session.session.close()

    assert "openstack.client.reauthentications" not in read(registry)


def test_answers_that_are_raised_are_errors(nova, cloud, registry):
    cloud.answers[:] = [404]
    with pytest.raises(exceptions.NotFound):
        get(nova)

    assert read(registry)["openstack.client.request.errors"] == {
        f"error.type=NotFound,{SERVICE}": 1
    }


@pytest.mark.parametrize(
    ("method", "wanted"),
    [(["GET"], {}), ("GET", {"service_type": ["compute"]}), ("GET", ["compute"])],
)
def test_what_is_no_method_or_service_is_refused_in_keystoneauth1_s_own_words(
    nova, method, wanted
):
    def refusal():
        with pytest.raises(Exception) as error:  # whichever it is
            nova.session.request("/servers", method, endpoint_filter=wanted)
        return type(error.value), str(error.value)

    measured = refusal()
    ours.uninstall()
    our_urllib3.uninstall()

    assert measured == refusal()


def test_a_traced_request_is_sent_on_to_neighbours_and_to_nobody_else(nova, cloud, monkeypatch):
    get(nova)
    cloud.seen.clear()
    with traced_request():
        get(nova)
        monkeypatch.setattr(Hosts, "admit", lambda self, host: False)
        get(nova)

    assert ["traceparent" in seen for seen in cloud.seen] == [True, False]


class TheirWeb:
    """What the drop-in makes of `osprofiler.web`, or OSProfiler itself."""

    def __init__(self, module):
        self.get_trace_id_headers = lambda: {"X-Trace-Info": "theirs"}
        self.get_trace_id_headers.__module__ = module


@pytest.mark.parametrize(
    ("module", "sent"),
    [("osprofiler.web", {"X-Trace-Info": "theirs"}), ("nilometer.integrations.osprofiler", {})],
)
def test_headers_of_osprofiler_stay_its_own_and_ours_are_left_to_what_sends(module, sent):
    assert ours.Onward(TheirWeb(module)).get_trace_id_headers() == sent


def test_without_what_sends_them_on_our_headers_go_as_osprofiler_s_would():
    our_urllib3.uninstall()
    web = TheirWeb("nilometer.integrations.osprofiler")

    assert ours.Onward(web).get_trace_id_headers() == {"X-Trace-Info": "theirs"}


def test_at_level_off_a_request_passes_untouched(nova, registry):
    registry.set_level("integrations.keystoneauth1", "off")
    get(nova)

    assert "openstack.client.request" not in read(registry)


def test_uninstalling_leaves_nothing_behind(registry):
    ours.uninstall()
    places = ("request", "_send_request", "invalidate")

    assert {vars(Session)[name].__module__ for name in places} == {"keystoneauth1.session"}
    assert not isinstance(keystone_session.osprofiler_web, ours.Onward)
    assert drain_spans() == ()
