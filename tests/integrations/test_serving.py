"""What a process says of its listening sockets and of how busy its servers are."""

import gc
import os
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from nilometer.errors import InstrumentClashError
from nilometer.integrations import backlog, faults
from nilometer.integrations.backlog import Backlogs, Listener, listeners, unix_queue
from nilometer.integrations.dispatch import dispatching
from nilometer.integrations.servers import Served
from nilometer.integrations.serving import Load, Servers
from nilometer.integrations.switched import Switched
from tests.integrations.integration_kit import read


@pytest.fixture
def listen(monkeypatch):
    """``listen(family, address, limit, waiting)``: a socket at which so many wait."""
    opened = []
    known = {one[:2] for one in listeners()}  # of whoever ran before in this process

    def begin(family, address, *, limit, waiting):
        one = socket.socket(family)
        opened.append(one)
        one.bind(address)
        one.listen(limit)
        for _ in range(waiting):
            client = socket.socket(family)
            opened.append(client)
            client.connect(one.getsockname())
        return one

    begin.found = lambda: [one for one in listeners() if one[:2] not in known]
    yield begin
    for one in opened:
        one.close()


# --- The kernel's queues ---------------------------------------------------------------------


def test_the_kernel_says_of_each_kind_of_socket_how_many_wait_and_how_many_may(
    listen, tmp_path
):
    path = str(tmp_path / "socket")
    four = listen(socket.AF_INET, ("127.0.0.1", 0), limit=5, waiting=3)
    six = listen(socket.AF_INET6, ("::1", 0), limit=7, waiting=1)
    listen(socket.AF_UNIX, path, limit=9, waiting=2)
    listen(socket.AF_UNIX, f"\0nilometer-{os.getpid()}", limit=1, waiting=0)

    assert sorted(listen.found()) == sorted(
        [
            Listener("127.0.0.1", str(four.getsockname()[1]), 3, 5),
            Listener("::1", str(six.getsockname()[1]), 1, 7),
            Listener(path, "", 2, 9),
            Listener(f"@nilometer-{os.getpid()}", "", 0, 1),
        ]
    )


def test_what_does_not_listen_has_no_queue(listen):
    with socket.socket() as bound, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        bound.bind(("127.0.0.1", 0))
        datagrams.bind(("127.0.0.1", 0))
        assert listen.found() == []
    with pytest.raises(OSError):
        unix_queue(1)


def test_looking_at_a_socket_leaves_it_as_it_is(listen):
    one = listen(socket.AF_INET, ("127.0.0.1", 0), limit=5, waiting=0)
    before = sorted_fds()
    socket.setdefaulttimeout(30)  # of which Python makes sockets that do not block
    try:
        assert listen.found()
    finally:
        socket.setdefaulttimeout(None)

    assert os.get_blocking(one.fileno()) is True
    assert sorted_fds() == before


def test_a_process_with_many_files_looks_at_the_lowest_ones(listen, monkeypatch):
    one = listen(socket.AF_INET, ("127.0.0.1", 0), limit=5, waiting=0)
    assert listen.found()
    monkeypatch.setattr(backlog, "FDS_MAX", sorted_fds().index(one.fileno()))
    assert listen.found() == []


def sorted_fds():
    return sorted(int(one.name) for one in Path("/proc/self/fd").iterdir())


@pytest.fixture
def kernel(monkeypatch):
    """What `listeners` says, in the place of the kernel; each reading asks it anew."""
    said = []
    monkeypatch.setattr(backlog, "listeners", lambda: list(said))
    monkeypatch.setattr(backlog, "SCAN_NS", 0)
    return said


def test_sockets_have_their_series_while_they_are_open_and_somebody_serves(registry, kernel):
    backlogs = Backlogs(registry)
    kernel.append(Listener("127.0.0.1", "80", 3, 100))
    assert read(registry) == {}
    backlogs.begin("gunicorn")
    tcp = "network.local.address=127.0.0.1,network.local.port=80"
    assert read(registry) == {"server.backlog": {tcp: 3}, "server.backlog.limit": {tcp: 100}}

    kernel[:] = [Listener("/run/a", "", 1, 10), Listener("127.0.0.1", "80", 5, 100)]
    unix = "network.local.address=/run/a"
    assert read(registry) == {
        "server.backlog": {tcp: 5, unix: 1},
        "server.backlog.limit": {tcp: 100, unix: 10},
    }
    del kernel[1]
    assert read(registry) == {"server.backlog": {unix: 1}, "server.backlog.limit": {unix: 10}}
    backlogs.end("gunicorn")
    assert read(registry) == {}


def test_sockets_of_one_address_in_one_process_add_up(registry, kernel):
    kernel += [Listener("::", "80", 3, 100), Listener("::", "80", 1, 100)]  # SO_REUSEPORT
    Backlogs(registry).begin("gunicorn")

    here = "network.local.address=::,network.local.port=80"
    assert read(registry) == {"server.backlog": {here: 4}, "server.backlog.limit": {here: 200}}


def test_gauges_that_are_read_together_ask_the_kernel_once(registry, monkeypatch):
    asked = []
    monkeypatch.setattr(backlog, "listeners", lambda: asked.append(1) or [])
    monkeypatch.setattr(backlog, "SCAN_NS", 60_000_000_000)
    backlogs = Backlogs(registry)
    backlogs.begin("gunicorn")
    read(registry)
    read(registry)
    assert len(asked) == 1


# --- How busy a server is --------------------------------------------------------------------


class Server:
    def __init__(self, **said):
        self.said = Load(**said)

    def load(self):
        return self.said


def test_servers_of_one_name_add_up_and_say_only_what_they_know(registry):
    servers = Servers(registry)
    first, second = Server(used=1, idle=2), Server(used=3, idle=0, waiting=5)
    for one in (first, second):
        servers.watch("waitress", one, Server.load)
    name = "nilometer.server=waitress"
    assert read(registry) == {
        "server.workers": {f"{name},state=used": 4, f"{name},state=idle": 2},
        "server.waiting": {name: 5},
    }
    del second, one
    gc.collect()
    assert read(registry) == {
        "server.workers": {f"{name},state=used": 1, f"{name},state=idle": 2}
    }
    servers.end("waitress")
    assert read(registry) == {}


def test_a_server_that_is_of_another_version_costs_its_figures_only(
    registry, monkeypatch, caplog
):
    monkeypatch.setattr(faults, "_known", {})
    servers = Servers(registry)
    other = Server()
    servers.watch("waitress", other, lambda server: server.not_there)

    assert read(registry) == {"nilometer.lost": {"reason=waitress,what=integration": 1}}
    assert read(registry) == {}
    assert "integration waitress fails, how busy it is runs unmeasured" in caplog.text


# --- Patches that follow the level -----------------------------------------------------------


class Library:
    def method(self):
        return "plain"


def lay(patches):
    patches.replace(Library, "method", lambda _: lambda _self: "measured")


@pytest.fixture
def switched(registry):
    """Patches that the level of one counter switches."""
    counter = registry.counter("c", level="detail")
    made = Switched("a_library", "its calls", lambda: counter.on, lay, registry)
    yield made
    made.end()


def test_patches_are_in_place_while_the_level_asks_for_them(switched, registry):
    switched.begin()
    said = []
    for level in ("basic", "detail", "deep", "basic", "detail"):
        registry.set_level("", level)
        said.append(Library().method())
    assert said == ["plain", "measured", "measured", "plain", "measured"]
    switched.end()
    assert vars(Library)["method"](None) == "plain"
    registry.set_level("", "deep")
    assert Library().method() == "plain"


def test_patches_of_another_version_are_left_and_said_once(registry, monkeypatch, caplog):
    monkeypatch.setattr(faults, "_known", {})
    counter = registry.counter("c", level="detail")

    def lay_what_is_not_there(patches):
        lay(patches)
        patches.replace(Library, "other", lambda _: print)

    made = Switched(
        "a_library", "its calls", lambda: counter.on, lay_what_is_not_there, registry
    )
    made.begin()
    registry.set_level("", "detail")
    assert Library().method() == "plain"
    made.end()

    assert read(registry)["nilometer.lost"] == {"reason=a_library,what=integration": 1}
    assert [record.message.rpartition(" ")[2] for record in caplog.records] == [
        "[integration-fails]"
    ]


def test_a_server_tells_its_dispatch_while_the_level_asks_for_it(registry):
    made = dispatching("a_server", lay, registry)
    assert Library().method() == "plain"
    registry.set_level("http.server.dispatch", "detail")
    assert Library().method() == "measured"
    registry.set_level("http.server.dispatch", "basic")
    assert Library().method() == "plain"
    made.end()


def test_a_server_whose_load_and_arrivals_cannot_be_had_starts_all_the_same(
    monkeypatch, caplog
):
    monkeypatch.setattr(faults, "_known", {})
    module = SimpleNamespace(Kind=type("Kind", (), {"__slots__": ("app",), "__init__": take}))
    monkeypatch.setattr(
        "nilometer.integrations.servers.import_module",
        lambda name: module if name == "a_library" else __import__(name, fromlist=["_"]),
    )
    served = Served("a_server", "a_library", "Kind", "__init__", "app", load=lambda _: Load())
    assert served.install()
    try:
        server = module.Kind(
            lambda environ, start: [b"hello"]
        )  # to which no weak one can point
    finally:
        served.uninstall()

    assert type(server.app).__name__ == "Middleware"
    assert "how busy it is runs unmeasured" in caplog.text


class Refusing:
    """A middleware that cannot be made: a service's own instrument has a name of ours."""

    def __init__(self, app, **_):
        raise InstrumentClashError("timer 'http.server.request'", slug="instrument-clash")


def test_an_application_that_cannot_be_measured_is_served_as_it_is_and_that_is_said(
    monkeypatch, caplog
):
    monkeypatch.setattr(faults, "_known", {})
    module = SimpleNamespace(Kind=type("Kind", (), {"__init__": take}))
    library = {
        "a_library": module,
        "nilometer.integrations.wsgi": SimpleNamespace(Middleware=Refusing),
    }
    monkeypatch.setattr("nilometer.integrations.servers.import_module", library.__getitem__)
    served = Served("a_server", "a_library", "Kind", "__init__", "app")
    assert served.install()
    try:
        servers = [module.Kind(print), module.Kind(print)]
    finally:
        served.uninstall()

    assert [server.app for server in servers] == [print, print]
    assert [text.partition(" in ")[0] for text in caplog.messages] == [
        "integration a_server fails, an application runs unmeasured: InstrumentClashError"
    ]


def take(self, app):
    self.app = app


def test_a_pool_that_eventlet_would_make_itself_is_made_for_it(monkeypatch):
    from nilometer.integrations import eventlet_wsgi

    watched, given = [], []
    monkeypatch.setattr(eventlet_wsgi, "_pools", SimpleNamespace(begin=watched.append))

    def server(sock, site, log=None, environ=None, max_size=None, custom_pool=None):
        given.append((sock, site, max_size, custom_pool))

    with_pool = eventlet_wsgi._with_its_pool(server)
    with_pool("socket", "site", None, None, 7)
    with_pool("socket", "site", custom_pool="theirs")
    with pytest.raises(TypeError, match="missing"):
        with_pool("socket")

    (_, _, size, made), theirs = given
    assert (size, made.size, theirs) == (7, 7, ("socket", "site", None, "theirs"))
    assert watched == [made, "theirs"]
