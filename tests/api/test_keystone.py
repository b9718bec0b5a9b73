"""Laws of asking keystone: nobody waits long for it, whatever it or a stranger does."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import closing, contextmanager

import pytest

from nilometer.api import keystone
from nilometer.api.keystone import THREADS, WAITING_MAX, Identity, Keystone
from nilometer.clock import elapsed_ns
from nilometer.testing import FakeTime

S = 10**9
OURS = Identity("p1", frozenset({"member"}))

SETTINGS = """
[keystone_authtoken]
auth_url = http://127.0.0.1:{port}/v3
auth_type = password
username = nilometer
password = p
project_name = service
user_domain_id = default
project_domain_id = default
"""


@contextmanager
def asking(tmp_path, port=1, **more):
    file = tmp_path / "keystone.conf"
    file.write_text(SETTINGS.format(port=port))
    with closing(Keystone(str(file), **more)) as made:
        yield made


@contextmanager
def hanging():
    """The port of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


class Filter:
    """In the place of keystonemiddleware's: knows tokens that begin with `good`; can wait."""

    def __init__(self):
        self.asked = []
        self.open = threading.Event()
        self.open.set()

    def __call__(self, environ, begin):
        token = environ["HTTP_X_AUTH_TOKEN"]
        self.asked.append(token)
        if not token.startswith("good"):
            self.open.wait(10)
            begin("401 Unauthorized", [])
            return [b""]
        told = {"X_IDENTITY_STATUS": "Confirmed", "X_PROJECT_ID": "p1", "X_ROLES": "Member"}
        environ.update({f"HTTP_{key}": value for key, value in told.items()})
        return keystone._note(environ, begin)


def test_who_asks_while_keystone_hangs_is_told_to_come_again_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr(keystone, "ANSWER_S_MAX", 0.2)
    with hanging() as port, asking(tmp_path, port) as asked:
        began = elapsed_ns()
        found = asyncio.run(asked.identity(b"gAAAA-some-token"))

    assert (found, elapsed_ns() - began < 5 * S) == (503, True)


def test_the_filters_own_waiting_has_an_end(tmp_path):
    with asking(tmp_path) as asked:
        assert asked._filter._session.timeout == keystone.CONNECT_S_MAX


def test_a_known_token_is_not_asked_for_again_until_a_while_later(tmp_path):
    time = FakeTime()
    with asking(tmp_path, clock=time.clock) as asked:
        asked._filter = Filter()

        async def twice():
            first = [await asked.identity(b"good"), await asked.identity(b"good")]
            time.advance(60.0)
            return [*first, await asked.identity(b"good")]

        assert asyncio.run(twice()) == [OURS] * 3
        assert asked._filter.asked == ["good"] * 2


def test_what_is_not_known_is_asked_for_each_time(tmp_path):
    with asking(tmp_path) as asked:
        asked._filter = Filter()

        async def twice():
            return [await asked.identity(b"bad"), await asked.identity(b"bad")]

        assert asyncio.run(twice()) == [401, 401]
        assert asked._filter.asked == ["bad"] * 2


def test_no_more_tokens_are_remembered_than_there_is_room_for(tmp_path, monkeypatch):
    monkeypatch.setattr(keystone, "KNOWN_MAX", 3)
    with asking(tmp_path) as asked:
        asked._filter = Filter()

        async def some():
            for number in range(10):
                await asked.identity(b"good%d" % number)

        asyncio.run(some())
        assert len(asked._known) == 3


def test_strangers_keep_nobody_waiting_who_is_known(tmp_path):
    with asking(tmp_path) as asked:
        asked._filter = Filter()

        async def flooded():
            known = await asked.identity(b"good")
            asked._filter.open.clear()
            wrong = (asked.identity(b"bad%d" % n) for n in range(THREADS + WAITING_MAX))
            flood = [asyncio.create_task(each) for each in wrong]
            await asyncio.sleep(0)
            found = [known, await asked.identity(b"good"), await asked.identity(b"good2")]
            asked._filter.open.set()
            return found, await asyncio.gather(*flood)

        found, flood = asyncio.run(flooded())

    assert found == [OURS, OURS, 503]
    assert flood == [401] * (THREADS + WAITING_MAX)


@pytest.mark.parametrize("token", [b"", b"x" * 9000])
def test_what_can_be_no_token_is_not_asked_for(tmp_path, token):
    with asking(tmp_path) as asked:
        asked._filter = Filter()

        assert asyncio.run(asked.identity(token)) == 401
        assert asked._filter.asked == []
