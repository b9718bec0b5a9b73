"""The admin endpoint: one thread of the measured process that answers for it over HTTP.

The same thread has the totals drawn every 5 s, which is when DropWizard's rates move. A client
that is slow keeps the others waiting, but for a bounded time, and never the service. Workers of
one service share a range of ports: each takes the first that nobody has, and looks again while
there is none.
"""

from __future__ import annotations

import errno
import logging
import os
from _socket import AF_INET, AF_INET6, SHUT_RDWR, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET
from _socket import socket as Socket  # noqa: N812 - what eventlet and gevent leave as it is
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from nilometer.clock import elapsed_ns
from nilometer.export.admin_http import (
    Answer,
    Patience,
    Request,
    Unusable,
    discard,
    read_request,
    write,
)
from nilometer.export.bell import Bell
from nilometer.export.threads import patched_by, start_thread, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.model.endpoint import Endpoint

log = logging.getLogger("nilometer")

STEP_S: Final = 5.0  # DropWizard's; see wire/dropwizard_totals.py
BACKLOG: Final = 16  # clients that wait while one is answered
LOOK_S: Final = 0.1
"""Between two looks of a green thread for a client: 10 looks of 20 us are 0.02 % of a core."""


class Admin:
    """Listens and answers, from `start` to `stop`; `step` is called every 5 s."""

    def __init__(
        self,
        endpoint: Endpoint,
        answer: Callable[[Request], Answer],
        step: Callable[[], object],
        *,
        spawn: Callable[[Callable[[], None], str], None] = start_thread,
    ) -> None:
        self.endpoint = endpoint
        self.port = 0  # where it listens; 0 while nowhere
        self._answer = answer
        self._step = step
        self._spawn = spawn
        self._forget()

    def _forget(self) -> None:
        self.port = 0
        self._pid = 0  # of the process whose thread runs
        self._socket: Socket | None = None
        self._bell = Bell()
        self._said = ""

    def start(self) -> None:
        """Listen, and start the thread; does nothing where it runs already."""
        if self._pid == os.getpid():
            return
        self._pid = os.getpid()
        self._bell = Bell()
        if self._socket is not None and patched_by():  # of a green thread whose hub is gone
            self._socket.close()
            self._socket = None
        because = self._listen()
        with suppress(RuntimeError):  # no thread to be had: who connects waits in vain
            self._spawn(partial(self._run, because), "nilometer-admin")

    def stop(self, timeout_s: float) -> None:
        """Listen no more, and wait so long for the thread to end."""
        if self._pid != os.getpid():
            return
        self._pid = 0
        self._bell.ring()
        sock = self._socket
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(SHUT_RDWR)  # wakes who waits in `accept`
        deadline_ns = elapsed_ns() + int(timeout_s * 1e9)
        wait_until(lambda: self._socket is None, deadline_ns, elapsed_ns)

    def reset_after_fork(self) -> None:
        """In a forked child: leave the port to the parent; `start` may follow."""
        sock = self._socket
        self._forget()
        if sock is not None:
            sock.close()  # not shut down: that would reach the parent's

    def _listen(self) -> str:
        """Take the first port there is; or why there is none."""
        because = ""
        for port in range(self.endpoint.first, self.endpoint.last + 1):
            sock = Socket(AF_INET6 if ":" in self.endpoint.host else AF_INET, SOCK_STREAM)
            try:
                sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
                sock.bind((self.endpoint.host, port))
                sock.listen(BACKLOG)
            except OSError as error:
                sock.close()
                because = error.strerror or str(error)
                if error.errno != errno.EADDRINUSE:
                    break
            else:
                self._socket, self.port = sock, int(sock.getsockname()[1])
                return ""
        return because

    def _say(self, because: str) -> None:
        """Where it listens, or why it does not, if that is news."""
        if not because:
            here = self.endpoint._replace(first=self.port, last=self.port)
            log.info("admin: listening at http://%s", here)
        elif because != self._said:
            log.warning(
                "admin: cannot listen at %s: %s; tried again every %g s [admin-cannot-listen]",
                self.endpoint,
                because,
                STEP_S,
            )
        self._said = because

    def _run(self, because: str) -> None:
        """The thread; it is told why it does not listen yet."""
        bell, patience = self._bell, Patience(is_green=bool(patched_by()))
        self._say(because)
        next_ns = elapsed_ns() + int(STEP_S * 1e9)
        while bell is self._bell and self._pid:
            sock = self._socket
            if sock is None:
                bell.wait((next_ns - elapsed_ns()) / 1e9)
            else:
                self._serve_next(sock, patience, next_ns)
            if elapsed_ns() >= next_ns and self._pid:
                next_ns = max(next_ns, elapsed_ns() - int(STEP_S * 1e9)) + int(STEP_S * 1e9)
                self._turn()
        if bell is self._bell and self._socket is not None:
            self._socket.close()
            self._socket, self.port = None, 0

    def _turn(self) -> None:
        """What is to be done every 5 s."""
        with suppress(Exception):  # what fails there is told by what fails
            self._step()
        if self._socket is None:
            self._say(self._listen())

    def _serve_next(self, sock: Socket, patience: Patience, until_ns: int) -> None:
        """Answer whoever comes next, if somebody does in time."""
        try:
            descriptor = patience.until(until_ns, sock, partial(_accept, sock), LOOK_S)
        except TimeoutError:
            return
        except OSError as error:
            if self._pid and error.errno not in (errno.ECONNABORTED, errno.EINTR):
                Bell().wait(LOOK_S)  # no more descriptors, say: not in circles
            return
        client = Socket(fileno=descriptor)
        try:
            self._serve(client, patience)
        except OSError:
            pass  # it went away
        finally:
            client.close()

    def _serve(self, client: Socket, patience: Patience) -> None:
        try:
            request = read_request(client, patience)
        except Unusable as error:
            write(client, patience, Answer.line(error.status, str(error)).encoded())
            discard(client, patience)
            return
        head_only = request.method == "HEAD"
        write(client, patience, self._answer(request).encoded(head_only=head_only))


def _accept(sock: Socket) -> int:
    """The descriptor of the next connection."""
    descriptor, _ = sock._accept()  # type: ignore[attr-defined]
    return int(descriptor)
