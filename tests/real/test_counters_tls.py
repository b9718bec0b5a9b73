"""TLS to servers that count: checked by the authority that is named, refused without one."""

from __future__ import annotations

import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest

from nilometer.counters.backend import BackendError, connect
from tests.counters.servers import http, serving

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.real


@pytest.fixture
def certificate(tmp_path: Path, program: Callable[..., str]) -> Path:
    """A certificate of its own for 127.0.0.1, with its key in the same file."""
    file = tmp_path / "both.pem"
    command = [program("openssl", install="apt-get install openssl"), "req", "-x509", "-nodes"]
    command += ["-newkey", "rsa:2048", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "certificate")]
    subprocess.run(command, check=True, capture_output=True)
    file.write_text((tmp_path / "key").read_text() + (tmp_path / "certificate").read_text())
    return file


@pytest.fixture
def port(certificate: Path) -> Iterator[int]:
    """A server behind TLS that speaks HTTP, or Redis, as it is spoken to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def answer(sock: socket.socket) -> None:
        with context.wrap_socket(sock, server_side=True) as secure:
            while request := secure.recv(65536):
                text = b"redis_version:7\r\nrun_id:x\r\ntotal_commands_processed:3"
                said = b"$%d\r\n%b\r\n" % (len(text), text)
                secure.sendall(said if request.startswith(b"*") else http(b"a_total 1\n"))

    with serving(answer) as port:
        yield port


@pytest.mark.parametrize(
    ("url", "counter"),
    [
        ("https://127.0.0.1:{port}/metrics?ca={ca}", "a_total"),
        ("prometheus://127.0.0.1:{port}?tls=yes&ca={ca}", "a_total"),
        ("rediss://127.0.0.1:{port}?ca={ca}", "total_commands_processed"),
    ],
)
def test_a_server_is_read_by_tls_if_its_authority_is_named(
    port: int, certificate: Path, url: str, counter: str
) -> None:
    backend = connect(url.format(port=port, ca=certificate), origin="test")

    for _ in range(2):
        assert (counter, ()) in backend.read().values

    backend.close()


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1:{port}/metrics", "rediss://127.0.0.1:{port}"]
)
def test_a_server_that_nobody_vouches_for_is_refused(port: int, url: str) -> None:
    backend = connect(url.format(port=port), origin="test")

    with pytest.raises(BackendError, match="certificate verify failed"):
        backend.read()
