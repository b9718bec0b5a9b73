"""Receives statsd datagrams in a thread of its own and hands each to a function.

UDP has no way to say "slow down": what comes while the kernel's buffer is full is dropped by
the kernel, which counts it; that count is read here, so that no loss is silent. A unix datagram
socket makes its senders wait instead.
"""

from __future__ import annotations

import logging
import socket
import stat
import struct
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nilometer.collect.settings import cannot_listen

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.collect.settings import Address

log = logging.getLogger("nilometer.collector")

DATAGRAM_BYTES_MAX: Final = 65_535  # the most UDP can carry: nothing is ever cut off
# 8 MiB hold some 6,000 full packets of 1432 bytes, 120,000 lines: over a second at full speed.
# Without CAP_NET_ADMIN the kernel gives at most net.core.rmem_max; `buffer_bytes` tells.
RECEIVE_BUFFER_BYTES: Final = 8 << 20
DRAIN_DATAGRAMS_MAX: Final = 20_000  # more than the buffer holds: a flood cannot keep us open
SO_RCVBUFFORCE: Final = 33  # Linux's number; Python has no name for it
STOP_S: Final = 0.2  # how long the thread may sleep before it sees that it should stop
UNIX_MODE: Final = 0o660


class Receiver:
    """One datagram socket and the thread that reads it. `take` must not raise."""

    def __init__(self, address: Address, take: Callable[[bytes], None]) -> None:
        self._take = take
        self._socket = _bound(address)
        self._path = address.path
        self._stopping = False
        self._drops_seen = self._drops_at_close = 0
        self._thread = threading.Thread(target=self._run, name="nilometer-statsd", daemon=True)

    @property
    def address(self) -> str:
        """Where it listens, with the real port."""
        if self._path:
            return f"unix:{self._path}"
        host, port = self._socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def buffer_bytes(self) -> int:
        """The kernel's buffer, as granted."""
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def start(self) -> None:
        """Begin to receive."""
        self._thread.start()

    def stop(self) -> None:
        """Take what the kernel still holds, then close the socket."""
        self._stopping = True
        self._thread.join()
        self._drops_at_close = self._drops()
        self._socket.close()
        if self._path:
            Path(self._path).unlink(missing_ok=True)

    def dropped(self) -> int:
        """How many datagrams the kernel dropped since the last call."""
        drops = self._drops()
        moved, self._drops_seen = drops - self._drops_seen, drops
        return max(moved, 0)

    def _drops(self) -> int:
        if self._path or self._socket.fileno() < 0:
            return self._drops_at_close
        return kernel_drops(self._socket.fileno())

    def _run(self) -> None:
        drained = 0
        while drained < DRAIN_DATAGRAMS_MAX:
            drained += self._stopping
            try:
                datagram = self._socket.recv(DATAGRAM_BYTES_MAX)
            except BlockingIOError:  # nothing came within STOP_S
                if self._stopping:
                    return
                continue
            except OSError:
                log.exception("statsd: the socket failed")
                return
            self._take(datagram)


def _bound(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    if address.path:
        family = socket.AF_UNIX
        _remove_stale(address)
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.bind(address.path or (address.host, address.port))
    except OSError as error:
        sock.close()
        choice = "choose another with --statsd, or --statsd off"
        raise cannot_listen("--statsd", address, error, choice) from None
    if address.path:
        Path(address.path).chmod(UNIX_MODE)
    _enlarge(sock)
    # A timeout that the kernel keeps: one call per datagram, where Python's own takes two.
    timeout = struct.pack("@ll", 0, int(STOP_S * 1e6))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
    return sock


def _enlarge(sock: socket.socket) -> None:
    """As large a buffer as wanted where we may (CAP_NET_ADMIN), else as large as we get."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)


def _remove_stale(address: Address) -> None:
    """Unlink a socket that a killed collector left; leave a living one and other files."""
    path = Path(address.path)
    if not path.exists() or not stat.S_ISSOCK(path.stat().st_mode):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(address.path)
        except ConnectionRefusedError:
            path.unlink()
        except OSError:
            return


def kernel_drops(fileno: int) -> int:
    """Datagrams the kernel dropped at this UDP socket so far; 0 where it does not say."""
    inode = str(Path(f"/proc/self/fd/{fileno}").stat().st_ino)
    for table in ("/proc/net/udp", "/proc/net/udp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[9] == inode:
                return int(fields[-1])
    return 0
