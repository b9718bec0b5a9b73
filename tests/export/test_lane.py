"""An answer has to be there in time, and whole: no receiver keeps a service listening."""

from __future__ import annotations

import socket
import threading
from http.client import HTTPConnection, HTTPException

import pytest

from nilometer.export.lane import HEARD_BYTES_MAX, Lane


@pytest.fixture
def answering():
    """``answering(pieces)``: a port where each request is answered by these pieces of bytes,
    every tenth of a second one, for ever if there is no end of them."""
    ends = []

    def serve(pieces):
        listening = socket.create_server(("127.0.0.1", 0))
        over = threading.Event()

        def run():
            peer, _ = listening.accept()
            with peer:
                asked = b""
                while not asked.endswith(b"\r\n\r\nx"):  # what is left unread resets the line
                    asked += peer.recv(65536)
                for piece in pieces:
                    try:
                        peer.sendall(piece)
                    except OSError:
                        return
                    if over.wait(0.02):
                        return

        thread = threading.Thread(target=run)
        thread.start()
        ends.append((listening, over, thread))
        return listening.getsockname()[1]

    yield serve
    for listening, over, thread in ends:
        over.set()
        thread.join()
        listening.close()


def asked(port):
    lane = Lane(lambda: HTTPConnection("127.0.0.1", port, timeout=5), timeout_s=5)
    lane.ask("/v1/traces", b"x", {})
    return lane


def endless(piece):
    while True:
        yield piece


@pytest.mark.parametrize(
    "pieces",
    [endless(b"H"), [b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", *[b"x"] * 999]],
    ids=["status line", "body"],
)
def test_an_answer_that_drips_is_given_up_when_its_time_is_over(answering, pieces):
    lane = asked(answering(pieces))

    with pytest.raises(TimeoutError):
        lane.hear(0.3)


def test_an_answer_that_is_always_about_to_come_is_given_up(answering):
    about = b"HTTP/1.1 100 Continue\r\n\r\n" * (HEARD_BYTES_MAX // 50)
    lane = asked(answering(endless(about)))

    with pytest.raises(HTTPException, match="more than 131072 bytes of answer"):
        lane.hear(5)


def test_answers_come_whole_on_one_connection_and_at_the_end_of_it(answering):
    kept = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes"
    closed = b"HTTP/1.1 503 No\r\nRetry-After: 7\r\nConnection: close\r\n\r\nno"

    assert asked(answering([kept])).hear(5) == (200, None, b"yes")
    assert asked(answering([closed])).hear(5) == (503, "7", b"no")
