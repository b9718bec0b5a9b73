"""Real servers with clients that are slow, leave, and do not read: what is told of each."""

import socket
import struct
import time
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pytest

from nilometer.model import Distribution, Kind
from nilometer.wire import jsonlines
from tests.integrations.served import HAS_UWSGI, IS_ASGI, start

SITE = """
import nilometer

nilometer.configure(
    service="served",
    export="file://{path}",
    interval_s=0.1,
    integrations="auto",
    levels={{"http.server": "{level}"}},
)
"""

WSGI = """
import sys
import time
from pathlib import Path

def sleep(seconds):
    green = sys.modules.get("eventlet") or sys.modules.get("gevent") or time
    green.sleep(seconds)

def limited(environ, action):
    "Read or write for a fifth of a second, by what this server has for that."
    if "eventlet" in sys.modules:
        import eventlet
        with eventlet.Timeout(0.2):
            return action()
    if "gevent" in sys.modules:
        import gevent
        with gevent.Timeout(0.2):
            return action()
    if "gunicorn.socket" in environ:
        environ["gunicorn.socket"].settimeout(0.2)
    return action()

def endlessly(write):
    while True:
        write(bytes(1 << 16))

def application(environ, start_response):
    path = environ["PATH_INFO"]
    status = "200 OK"
    Path("begun" + path.replace("/", "-")).touch()
    if path in ("/slow", "/left"):
        environ["wsgi.input"].read()
    elif path == "/limited":
        try:
            limited(environ, environ["wsgi.input"].read)
        except BaseException as error:
            status = "408 Request Timeout"
    elif path == "/stuck":
        while not Path("go").exists():
            sleep(0.05)
    write = start_response(status, [("Content-Type", "text/plain")])
    if path == "/late":
        limited(environ, lambda: endlessly(write))
    if path == "/stream":
        return (bytes(1 << 16) for _ in range(10_000))
    return [b"hello"]
"""

ASGI = """
import asyncio
from pathlib import Path

async def read(receive):
    while (await receive()).get("more_body"):
        pass

async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    path = scope["path"]
    status = 200
    Path("begun" + path.replace("/", "-")).touch()
    if path == "/limited":
        try:
            async with asyncio.timeout(0.2):
                await read(receive)
        except TimeoutError:
            status = 408
    else:
        await read(receive)
    while path == "/stuck" and not Path("go").exists():
        await asyncio.sleep(0.05)
    await send({"type": "http.response.start", "status": status,
                "headers": [(b"content-type", b"text/plain")]})
    if path == "/late":
        part = {"type": "http.response.body", "body": bytes(1 << 16), "more_body": True}
        async with asyncio.timeout(0.2):
            while True:
                await send(part)
    if path == "/stream":
        gone = asyncio.create_task(receive())
        while not gone.done():
            part = {"type": "http.response.body", "body": bytes(1 << 16), "more_body": True}
            await send(part)
            await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": b"hello"})
"""

BODY = b"x" * 1000


@pytest.fixture
def serve(tmp_path, free_port, start_process):
    """``serve(name)`` starts this server, whose requests are measured at that level."""

    def begin(name, level="detail"):
        port = free_port()
        start(
            name,
            tmp_path,
            port=port,
            start_process=start_process,
            site=SITE.format(path=tmp_path / "told.jsonl", level=level),
            app=ASGI if name in IS_ASGI else WSGI,
        )
        return Client(port, tmp_path)

    yield begin
    (tmp_path / "go").touch()


class Client:
    """Sends requests piece by piece, and reads what the server's processes told."""

    def __init__(self, port, folder):
        self.port = port
        self.folder = folder

    def send(self, text):
        """A connection over which this has been sent."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        connection.sendall(text)
        return connection

    def get(self, path):
        return self.send(
            f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()
        )

    def post_half(self, path):
        """Half a request that the application has begun to read."""
        head = f"POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        half = BODY[: len(BODY) // 2]
        sent = self.send(f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + half)
        begun = self.folder / f"begun{path.replace('/', '-')}"
        until(begun.exists)
        return sent

    def _batches(self):
        """One after the other."""
        path = self.folder / "told.jsonl"
        text = path.read_bytes() if path.exists() else b""
        for line in text.rpartition(b"\n")[0].splitlines():  # the last may be half written
            yield jsonlines.decode(line)

    def told(self):
        """{name: {dimensions: how many}} of counters and timers."""
        found = {}
        for one in chain.from_iterable(batch.readings for batch in self._batches()):
            if one.kind is not Kind.GAUGE:
                value = one.value.samples if isinstance(one.value, Distribution) else one.value
                series = found.setdefault(one.name, Counter())
                series[",".join(f"{key}={text}" for key, text in one.dimensions)] += value
        return found

    def busy(self):
        """[{what a process says of its server: how many}], the last time that it did."""
        found = {}
        for batch in self._batches():
            now = {}
            for one in batch.readings:
                if one.name.startswith("server."):
                    state = dict(one.dimensions).get("state", "")
                    now[f"{one.name} {state}".strip()] = one.value
            if now:
                found[batch.resource.pid] = now
        return list(found.values())


def until(condition):
    deadline = time.monotonic() + 30
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def response(connection):
    """All that comes until the server closes."""
    with connection:
        parts = []
        try:
            while part := connection.recv(65536):
                parts.append(part)
        except ConnectionResetError:
            pass
        return b"".join(parts)


def reset(connection):
    """Close it in a way that the other end notices at once."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class Expected(NamedTuple):
    """What a server makes of a body that is broken off, of one that does not come in time, and
    of a client that leaves its response: the error's type. Whether it says when a request came,
    and of a client that does not read that it took too long."""

    left: str
    late: str
    unread: str
    tells_dispatch: bool = True
    tells_late: bool = True


RESET = "reset"  # a broken pipe or a reset connection, as it happens
SHOWN = {
    "eventlet": Expected("closed_early", "Timeout", "closed_early"),
    "gevent": Expected("OSError", "Timeout", RESET),
    "gunicorn sync": Expected("closed_early", "TimeoutError", RESET),
    "gunicorn gthread": Expected("closed_early", "TimeoutError", RESET),
    "gunicorn gevent": Expected("closed_early", "Timeout", RESET),
    "gunicorn asgi": Expected("closed_early", "TimeoutError", "closed_early"),
    "uvicorn": Expected("closed_early", "TimeoutError", "closed_early"),
    "uvicorn h11": Expected("closed_early", "TimeoutError", "closed_early"),
}
if HAS_UWSGI:
    SHOWN["uwsgi module"] = Expected("OSError", "OSError", "closed_early", False, False)


@pytest.mark.real
@pytest.mark.parametrize("name", SHOWN)
def test_each_phase_is_told_of_slow_clients_and_of_such_as_leave(serve, name):
    client = serve(name)
    expected = SHOWN[name]
    slow = client.post_half("/slow")
    slow.sendall(BODY[len(BODY) // 2 :])
    assert b"hello" in response(slow)
    client.post_half("/left").close()
    with client.post_half("/limited"):
        until(lambda: client.told().get("http.server.request.receive.timeouts"))
    stream = client.get("/stream")
    stream.recv(1000)
    reset(stream)
    until(lambda: client.told().get("http.server.response.send.errors"))
    until(lambda: sum(client.told()["http.server.request"].values()) >= 4)

    told = client.told()
    if expected.tells_late:
        with client.get("/late"):
            until(lambda: client.told().get("http.server.response.send.timeouts"))
        late = client.told()["http.server.response.send.timeouts"]
        assert late == {f"error.type={expected.late}": 1}

    get, post = "http.request.method=GET", "http.request.method=POST"
    if expected.tells_dispatch:
        assert told["http.server.dispatch"] == {get: 1, post: 3}
    else:
        assert "http.server.dispatch" not in told
    assert told["http.server.request.receive"] == {post: 3}
    words = [f"error.type={word}" for word in (expected.left, expected.late)]
    assert told["http.server.request.receive.errors"] == Counter(words)
    assert told["http.server.request.receive.timeouts"] == {words[1]: 1}
    assert told["http.server.response.processing"][get] == 1
    assert told["http.server.response.send"][get] == 1
    unsent = told["http.server.response.send.errors"]  # perhaps to those who left before, too
    words = ("BrokenPipeError", "ConnectionResetError") if expected.unread == RESET else ()
    assert {f"error.type={word}" for word in words or [expected.unread]} >= set(unsent)
    assert ours_lost(told) == {}


def ours_lost(told):
    """What was lost of requests and gauges."""
    lost = told.get("nilometer.lost", {})
    return {key: n for key, n in lost.items() if "what=http" in key or "what=gauge" in key}


SOMAXCONN = int(Path("/proc/sys/net/core/somaxconn").read_text())
"""What the kernel lets wait at most."""

STUCK = {
    "gunicorn sync": {"server.workers used": 1, "server.workers idle": 0, "server.backlog": 3},
    "gunicorn gthread": {
        "server.workers used": 2,
        "server.workers idle": 0,
        "server.waiting": 2,
        "server.connections": 4,
    },
    "gunicorn gevent": {"server.workers used": 4, "server.workers idle": 996},
    "gunicorn asgi": {"server.connections": 4},
    "uvicorn": {"server.workers used": 4, "server.connections": 4},
    "eventlet of one": {
        "server.workers used": 1,
        "server.workers idle": 0,
        "server.waiting": 1,
        "server.backlog": 2,
    },
    "gevent of one": {"server.workers used": 1, "server.workers idle": 0, "server.backlog": 3},
    "waitress of one": {
        "server.workers used": 1,
        "server.workers idle": 0,
        "server.waiting": 3,
    },
}
if HAS_UWSGI:
    STUCK["uwsgi module"] = {
        "server.workers used": 1,
        "server.workers idle": 0,
        "server.backlog": 3,
    }


@pytest.mark.real
@pytest.mark.parametrize("level", ["basic", "detail"])
@pytest.mark.parametrize("name", STUCK)
def test_four_clients_of_a_stuck_server_are_where_they_wait(serve, name, level):
    client = serve(name, level)
    stuck = [client.get("/stuck")]
    until((client.folder / "begun-stuck").exists)
    stuck += [client.get("/stuck") for _ in range(3)]

    def shown():
        (busy,) = client.busy() or [{}]
        limit = busy.pop("server.backlog.limit", 0)
        return busy == {"server.backlog": 0, **STUCK[name]} and 3 < limit <= SOMAXCONN

    try:
        until(shown)
    except AssertionError:
        assert client.busy() == [STUCK[name]]  # to show the difference
    (client.folder / "go").touch()
    assert all(b"hello" in response(one) for one in stuck)
    if name == "gunicorn gthread":  # whose pool forgets who went on with what waited
        until(lambda: {"server.workers used": 0}.items() <= (client.busy() or [{}])[0].items())
        assert client.busy()[0]["server.workers idle"] == 2


@pytest.mark.real
def test_the_backlog_of_a_stuck_worker_fills_to_its_limit(serve, tmp_path):
    (tmp_path / "gunicorn.conf.py").write_text("backlog = 2")
    client = serve("gunicorn sync")
    stuck = [client.get("/stuck")]
    until((client.folder / "begun-stuck").exists)
    stuck += [client.get("/stuck") for _ in range(3)]  # the kernel takes one more than it says

    full = {
        "server.workers used": 1,
        "server.workers idle": 0,
        "server.backlog": 3,
        "server.backlog.limit": 2,
    }
    until(lambda: client.busy() == [full])
    (client.folder / "go").touch()
    assert all(b"hello" in response(one) for one in stuck)


@pytest.mark.real
def test_workers_that_share_a_socket_each_show_its_queue_and_their_own_load(serve, tmp_path):
    (tmp_path / "gunicorn.conf.py").write_text("workers, backlog = 2, 100")
    client = serve("gunicorn sync")
    stuck = [client.get("/stuck") for _ in range(5)]

    each = {"server.workers used": 1, "server.workers idle": 0}
    shared = {"server.backlog": 3, "server.backlog.limit": 100}
    until(lambda: client.busy() == [{**each, **shared}] * 2)
    (client.folder / "go").touch()
    assert all(b"hello" in response(one) for one in stuck)
