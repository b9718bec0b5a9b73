"""A real S3 server in a process of its own, for whoever keeps tables on object storage.

    with start(tmp_path) as s3:
        Lake(f"s3://{s3.bucket}/a", storage_options=s3.environment())

It is moto's, behind a server with one thread: moto first looks whether an object is there and
then puts it, and two threads of its own server may both find none. One request after the other,
a conditional put is what it is at S3. What it holds is in its memory, and ends with it.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

READY_S = 60
KEY_ID, SECRET = "AKIANILOMETERTEST0001", "a-secret-that-nobody-may-read"
BUCKET = "metrics"
PIECE_BYTES = 1 << 16

_PROGRAM = """
import logging
import os
import sys
import threading
import waitress
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends

key_id, bucket, keeps_conditions = sys.argv[1], sys.argv[2], sys.argv[3] == "True"
s3 = DomainDispatcherApplication(create_backend_app)
s3_backends["123456789012"]["aws"].create_bucket(bucket, "us-east-1")
UNKNOWN = b"<Error><Code>InvalidAccessKeyId</Code><Message>It is not known</Message></Error>"

def app(environ, start_response):
    if f"Credential={key_id}/" not in environ.get("HTTP_AUTHORIZATION", ""):
        start_response("403 Forbidden", [("Content-Type", "application/xml")])
        return [UNKNOWN]
    if not keeps_conditions:
        environ.pop("HTTP_IF_NONE_MATCH", None)
    return s3(environ, start_response)

logging.getLogger("waitress.queue").setLevel("ERROR")
server = waitress.create_server(  # each table that somebody opens keeps connections for a while
    app, host="127.0.0.1", port=0, threads=1, connection_limit=1000
)
print(server.effective_port, flush=True)
threading.Thread(target=lambda: sys.stdin.read() or os._exit(0), daemon=True).start()
server.run()
"""


class Objects:
    """One S3 server; `port` is that of a way to it, which can be closed for a while.

    `straight` is its own URL.
    """

    def __init__(
        self, tmp_path: Path, *, keeps_conditions: bool = True, delay_s: float = 0.0
    ) -> None:
        self.bucket = BUCKET
        self.log = tmp_path / "s3.log"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, KEY_ID, BUCKET, str(keeps_conditions)],
                stdin=subprocess.PIPE,  # it ends when we do
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
            )
        watchdog = threading.Timer(READY_S, self.process.kill)
        watchdog.start()
        assert self.process.stdout is not None
        told = self.process.stdout.readline()
        watchdog.cancel()
        if not told:
            raise RuntimeError(f"the S3 server did not start:\n{self.log.read_text()}")
        self.straight = f"http://127.0.0.1:{int(told)}"
        self._way = Way(int(told), delay_s)
        self.port = self._way.port

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        """The variables by which whoever asks it is told of it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }

    def go_away(self) -> None:
        """Refuse connections, and end those that there are."""
        self._way.close()

    def come_back(self) -> None:
        """Answer again, at the same port."""
        self._way.close()
        self._way.open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._way.close()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Way:
    """A port whose connections lead to another one, while it is open; what is asked waits for
    `delay_s` on the way, as it would to a service that is far off."""

    def __init__(self, target: int, delay_s: float = 0.0) -> None:
        self._target = target
        self._delay_s = delay_s
        self.port = 0
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self.open()

    def open(self) -> None:
        self._listening = socket.socket()
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listening.bind(("127.0.0.1", self.port))
        self._listening.listen(100)
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, args=[self._listening], daemon=True).start()

    def close(self) -> None:
        with self._lock:
            closing, self._sockets = [self._listening, *self._sockets], []
        for each in closing:
            _end(each)

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                near, _ = listening.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            with self._lock:
                self._sockets += [near, far]
            for ends in ((near, far, self._delay_s), (far, near, 0.0)):
                threading.Thread(target=self._lead, args=ends, daemon=True).start()

    def _lead(self, source: socket.socket, target: socket.socket, delay_s: float) -> None:
        with suppress(OSError):
            while piece := source.recv(PIECE_BYTES):
                time.sleep(delay_s)
                target.sendall(piece)
        _end(source)
        _end(target)
        with self._lock:
            self._sockets = [each for each in self._sockets if each not in (source, target)]


def _end(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)  # wakes whoever waits at it; to close does not
    sock.close()


def start(tmp_path: Path, *, keeps_conditions: bool = True, delay_s: float = 0.0) -> Objects:
    """An S3 server that is ready; without `keeps_conditions` it overwrites what is there."""
    return Objects(tmp_path, keeps_conditions=keeps_conditions, delay_s=delay_s)
