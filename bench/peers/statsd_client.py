"""statsd from PyPI, sending each call over UDP to a socket that nobody reads."""

from __future__ import annotations

import socket

import statsd

from bench import subjects
from bench.pairs import Loop, calls, nothing

_sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
_sink.bind(("127.0.0.1", 0))


def client() -> statsd.StatsClient:
    return statsd.StatsClient("127.0.0.1", _sink.getsockname()[1])


def counter() -> tuple[Loop, Loop]:
    return nothing, calls(client().incr, "api.requests")


def timer() -> tuple[Loop, Loop]:
    timed = client().timer("instance.boot")(subjects.work)
    return calls(subjects.work, 1, 2), calls(timed, 1, 2)


CASES = {"counter": counter, "timer on": timer}
