"""Servers that misbehave, for the tests of what is read from well-behaved ones."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from nilometer.clock import Clock
from nilometer.counters.backend import BackendError, connect
from nilometer.counters.snapshot import snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nilometer.counters.snapshot import Snapshot


@contextmanager
def serving(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port of the loopback where each connection is given to `answer`, then closed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ended = threading.Event()

        def talk(sock: socket.socket) -> None:
            sock.settimeout(30)
            with sock, suppress(OSError):
                answer(sock)

        def serve() -> None:
            while not ended.is_set():
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=talk, args=(sock,), daemon=True).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def replaying(*replies: bytes) -> Callable[[socket.socket], None]:
    """Answers each request on a connection with the next of these, then hangs up."""

    def answer(sock: socket.socket) -> None:
        for reply in replies:
            if not sock.recv(65536):
                return
            sock.sendall(reply)

    return answer


def http(body: bytes, *, status: str = "200 OK", headers: str = "") -> bytes:
    """An answer over HTTP that leaves the connection open."""
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


def by_path(bodies: dict[str, bytes]) -> Callable[[socket.socket], None]:
    """Serves bodies by the path that is asked for, until the client hangs up."""

    def answer(sock: socket.socket) -> None:
        while request := sock.recv(65536):
            path = request.split(b" ")[1].decode().partition("?")[0]
            body = bodies.get(path)
            sock.sendall(http(body) if body is not None else http(b"", status="404 Not Found"))

    return answer


def silent(sock: socket.socket) -> None:
    """Takes what it is sent and says nothing until the client gives up."""
    while sock.recv(65536):
        pass


def dripping(beginning: bytes) -> Callable[[socket.socket], None]:
    """Begins to answer, then sends a byte each tenth of a second for ever."""

    def answer(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(beginning)
        pause = threading.Event()
        while not pause.wait(0.1):
            sock.sendall(b"1")

    return answer


def reads(url: str, *replies: bytes) -> list[Snapshot]:
    """Snapshots of a server that answers so; in the URL ``{port}`` stands for its port."""
    with serving(replaying(*replies)) as port:
        backend = connect(url.format(port=port), origin="test")
        shots = [snapshot(backend, Clock()) for _ in replies]
        backend.close()
    return shots


def refusal(url: str, answer: Callable[[socket.socket], None]) -> str:
    """Why a server that answers so cannot be read."""
    with serving(answer) as port:
        backend = connect(url.format(port=port), origin="test")
        with pytest.raises(BackendError) as caught:
            backend.read()
        backend.close()
    return str(caught.value)
