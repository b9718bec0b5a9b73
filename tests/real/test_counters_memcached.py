"""memcached itself: its commands are counted one by one, through resets and restarts."""

from __future__ import annotations

import os
import socket
from itertools import pairwise

import pytest

from nilometer.clock import Clock
from nilometer.counters.backend import BackendError, connect
from nilometer.counters.delta import delta
from nilometer.counters.snapshot import snapshot
from tests.brokers import memcached, reachable_folder  # noqa: F401

pytestmark = pytest.mark.real


@pytest.fixture
def client(memcached):  # noqa: F811
    """Sends a line, gives the line that answers it."""
    with socket.create_connection(("127.0.0.1", memcached.port), 5) as sock:
        file = sock.makefile("rwb")

        def ask(line: bytes) -> bytes:
            file.write(line + b"\r\n")
            file.flush()
            return file.readline()

        assert ask(b"version").startswith(b"VERSION")
        yield ask


@pytest.fixture
def backend(memcached):  # noqa: F811
    """The backend under test."""
    backend = connect(f"memcached://127.0.0.1:{memcached.port}", origin="test")
    yield backend
    backend.close()


def read(backend):
    return snapshot(backend, Clock())


def test_commands_are_exact_and_reading_is_in_none_of_them(client, backend) -> None:
    read(backend)
    shots = [read(backend), read(backend)]
    for number in range(30):
        assert client(b"set k%d 0 0 1\r\nx" % number) == b"STORED\r\n"
    for number in range(40):
        assert client(b"get no%d" % number) == b"END\r\n"
    shots.append(read(backend))
    of_reading, of_client = (delta(a, b).moved for a, b in pairwise(shots))

    nil = {name for (name, _), by in of_reading.items() if by}
    assert nil <= {"bytes_read", "bytes_written", "rusage_user", "rusage_system"}
    assert of_reading["bytes_read", ()] == len(b"stats\r\n")
    assert (of_client["cmd_set", ()], of_client["get_misses", ()]) == (30, 40)


def test_a_reset_and_a_restart_are_recognised(memcached, client, backend) -> None:  # noqa: F811
    before = read(backend)
    assert client(b"stats reset") == b"RESET\r\n"
    reset = read(backend)
    memcached.restart()

    assert "figures were reset" in delta(before, reset).because
    assert "restarted" in delta(reset, read(backend)).because


def test_nobody_there_is_told(free_port) -> None:
    port = free_port()

    with pytest.raises(BackendError, match=f"memcached at 127.0.0.1:{port}: nobody listens"):
        connect(f"memcached://127.0.0.1:{port}", origin="test").read()


def test_a_login_is_asked_for_and_taken(tmp_path, program, free_port, start_process) -> None:
    (tmp_path / "users").write_text("me:s3cret\n")
    (tmp_path / "users").chmod(0o644)
    port = free_port()
    server = program("memcached", install="apt-get install memcached")
    user = ["-u", "root"] if os.geteuid() == 0 else []  # pytest's folders are their owner's
    start_process([server, *user, "-l", "127.0.0.1", "-p", str(port), "-Y", "users"],
                  ready=port, cwd=tmp_path)  # fmt: skip
    said = {}
    for who in ("", "me:wrong@", "me:s3cret@"):
        backend = connect(f"memcached://{who}127.0.0.1:{port}", origin="test")
        try:
            said[who] = backend.read().version
        except BackendError as error:
            said[who] = str(error)
        backend.close()

    assert "CLIENT_ERROR unauthenticated" in said[""]
    assert "login: 'CLIENT_ERROR authentication failure'" in said["me:wrong@"]
    assert said["me:s3cret@"].startswith("1.")
