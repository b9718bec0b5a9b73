"""Tokens of a real keystone open Monasca's API for their project, and nothing else."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from threading import Thread
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from examples.servers.keystone import PASSWORD, Keystone
from nilometer.api import keystone as api
from nilometer.cli.processes import free_port
from nilometer.clock import wall_ns
from nilometer.model import Batch, Kind, Reading, Resource
from nilometer.store.lake import Lake
from nilometer.testing import FakeTime
from tests.collector import start

# Three commands of its own set keystone up, some seconds each where nobody else is busy.
pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

OURS = "keystone-tests-own-token"
MS = 10**6
NOW = wall_ns()
_opener = build_opener(ProxyHandler({}))

SETTINGS = """
[keystone_authtoken]
www_authenticate_uri = {url}
auth_url = {url}
auth_type = password
username = admin
password = {password}
project_name = admin
user_domain_id = default
project_domain_id = default
service_token_roles_required = true
"""


@pytest.fixture(scope="module")
def keystone(tmp_path_factory):
    with Keystone(tmp_path_factory.mktemp("keystone"), free_port()) as running:
        running.projects = {
            "ana": running.add("ana", "shop", "monasca-user"),
            "bob": running.add("bob", "bank", "member"),
            "eve": running.add("eve", "none", "nothing-of-monasca"),
            "rob": running.add("rob", "desk", "reader"),
        }
        yield running


@pytest.fixture(scope="module")
def collector(keystone, tmp_path_factory):
    place = tmp_path_factory.mktemp("collector")
    tokens, settings = place / "tokens", place / "keystone.conf"
    tokens.write_text(OURS)
    tokens.chmod(0o600)
    settings.write_text(SETTINGS.format(url=keystone.url, password=PASSWORD))
    reading = Reading("measured", Kind.GAUGE, (), 1, NOW, NOW)
    Lake(place / "store", durability="os").append([Batch(Resource("api", "h1"), (reading,))])
    given = {"store": place / "store", "token_file": tokens, "keystone": settings}
    with start(place, **given) as running:
        yield running


def asked(collector, token, path="/v2.0/metrics", told=None):
    """The status, and the names of the metrics that are listed but for the collector's own."""
    headers = {"X-Auth-Token": token, "Content-Type": "application/json"}
    body = None if told is None else json.dumps(told).encode()
    try:
        with _opener.open(Request(collector.url + path, body, headers), timeout=30) as answer:
            content = answer.read()
    except HTTPError as error:
        return error.code, error.read().decode()
    if not content:
        return answer.status, []
    names = [each["name"] for each in json.loads(content).get("elements", [])]
    return answer.status, [name for name in names if not name.startswith("nilometer.")]


def revoke(keystone, token):
    headers = {"X-Auth-Token": token, "X-Subject-Token": token}
    request = Request(f"{keystone.url}/auth/tokens", headers=headers, method="DELETE")
    with _opener.open(request, timeout=30) as answer:
        assert answer.status == 204


def point(name):
    return {"name": name, "timestamp": NOW // MS, "value": 1}


@pytest.mark.slow
def test_a_project_sends_and_sees_its_own_points_and_an_administrator_all(keystone, collector):
    ana, bob = keystone.token("ana", "shop"), keystone.token("bob", "bank")
    admin = keystone.token("admin", "admin")

    sent = [
        asked(collector, ana, told=point("of.shop")),
        asked(collector, bob, told=point("of.bank")),
    ]

    assert sent == [(204, []), (204, [])]
    assert asked(collector, ana) == (200, ["of.shop"])
    assert asked(collector, bob) == (200, ["of.bank"])
    other = f"/v2.0/metrics?tenant_id={keystone.projects['ana']}"
    assert asked(collector, bob, other) == (200, ["of.bank"])
    assert asked(collector, admin) == (200, ["measured", "of.bank", "of.shop"])
    assert asked(collector, admin, other) == (200, ["of.shop"])
    assert asked(collector, OURS) == (200, ["measured", "of.bank", "of.shop"])


def test_who_has_no_role_that_monasca_knows_is_told_so(keystone, collector):
    status, said = asked(collector, keystone.token("eve", "none"))

    assert (status, json.loads(said)) == (
        401,
        {
            "title": "Forbidden",
            "description": "Tenant ID is missing a required role to access this service",
        },
    )


def test_a_reader_sees_and_does_not_send(keystone, collector):
    token = keystone.token("rob", "desk")

    assert asked(collector, token) == (200, [])
    assert asked(collector, token, told=point("of.desk"))[0] == 401


def test_a_revoked_token_opens_no_longer_than_the_page_says(keystone, tmp_path):
    file = tmp_path / "keystone.conf"
    file.write_text(SETTINGS.format(url=keystone.url, password=PASSWORD))
    time, token = FakeTime(), keystone.token("ana", "shop")

    async def story():
        with closing(api.Keystone(str(file), clock=time.clock)) as ours:
            good = await ours.identity(token.encode())
            revoke(keystone, token)
            soon = await ours.identity(token.encode())
            time.advance(api.KNOWN_NS / 1e9)
            return good, soon, await ours.identity(token.encode())

    good, soon, later = asyncio.run(story())

    assert isinstance(good, api.Identity)
    assert (soon, later) == (good, 401)


@pytest.mark.parametrize("token", ["", "gAAAAA-no-token", "x" * 9000])
def test_what_keystone_does_not_know_does_not_open(collector, token):
    assert asked(collector, token)[0] == 401


def test_keystones_tokens_open_nothing_but_monascas_api(keystone, collector):
    token = keystone.token("admin", "admin")

    assert asked(collector, token, "/api/v1/health")[0] == 401
    assert asked(collector, token, "/v2.0x")[0] == 401
    assert asked(collector, token, "/v1/metrics", {})[0] == 401


def test_the_real_command_comes_with_a_password_of_keystones(keystone, collector):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OS_", "MONASCA_"))}
    told = subprocess.run(
        [
            *(Path(sys.executable).parent / "monasca", "--os-auth-url", keystone.url),
            *("--os-username", "bob", "--os-password", PASSWORD, "--os-project-name", "bank"),
            *("--os-user-domain-id", "default", "--os-project-domain-id", "default"),
            *("--monasca-api-url", f"{collector.url}/v2.0", "metric-create", "by.command", "1"),
        ],
        env={**clean, "no_proxy": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert "Successfully created metric" in told.stdout, told.stderr
    assert "by.command" in asked(collector, keystone.token("bob", "bank"))[1]


def test_a_keystone_that_is_gone_is_no_open_door(keystone, tmp_path):
    tokens, settings = tmp_path / "tokens", tmp_path / "keystone.conf"
    tokens.write_text(OURS)
    tokens.chmod(0o600)
    nobody = f"http://127.0.0.1:{free_port()}/v3"
    settings.write_text(SETTINGS.format(url=nobody, password=PASSWORD))
    with start(tmp_path, token_file=tokens, keystone=settings) as collector:
        assert asked(collector, keystone.token("admin", "admin"))[0] in (401, 503)
        assert asked(collector, OURS) == (200, [])


@pytest.mark.slow
def test_a_keystone_that_hangs_holds_up_neither_others_nor_the_end(tmp_path):
    tokens, settings = tmp_path / "tokens", tmp_path / "keystone.conf"
    tokens.write_text(OURS)
    tokens.chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        url = f"http://127.0.0.1:{hanging.getsockname()[1]}/v3"
        settings.write_text(SETTINGS.format(url=url, password=PASSWORD))
        with start(tmp_path, token_file=tokens, keystone=settings) as collector:
            found = []
            waiting = [
                Thread(target=lambda n=n: found.append(asked(collector, f"token{n}")[0]))
                for n in range(6)
            ]
            for each in waiting:
                each.start()
            hanging.accept()  # it has begun to ask
            others = asked(collector, OURS)[0]
            for each in waiting:
                each.join()
            Thread(target=asked, args=(collector, "late"), daemon=True).start()
            time.sleep(0.2)
            collector.process.send_signal(signal.SIGTERM)
            code = collector.process.wait(20)

    assert (others, found, code) == (200, [503] * 6, 0)
