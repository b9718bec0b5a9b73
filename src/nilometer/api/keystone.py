"""Tokens of OpenStack's keystone, judged by keystonemiddleware's own filter.

Its settings stand where a service of OpenStack has them: in a file with a section
`keystone_authtoken`. The filter is WSGI and asks keystone over the network, so it runs in
threads, few of them, behind bounds of number and time: neither a stranger with bad tokens nor a
keystone that hangs keeps anybody waiting long. Who was known a moment ago does not wait at all.
"""

from __future__ import annotations

import asyncio
from hashlib import blake2b
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.clock import Clock
from nilometer.errors import ConfigError, to_install

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

THREADS: Final = 4
WAITING_MAX: Final = 32  # at some 20 ms a token they are answered within a quarter of a second
TOKEN_BYTES_MAX: Final = 8192  # a Fernet token takes some 250 bytes, one of JWS a thousand

ANSWER_S_MAX: Final = 20.0
"""So long a request waits for keystone, which may be slow on a busy machine: its first answer
takes three requests. Clients give up after a minute."""

CONNECT_S_MAX: Final = 15
"""So long the filter waits for one answer of keystone; without a bound it would wait for good
for one that hangs."""

KNOWN_NS: Final = 60 * 10**9
"""So long a token may go on to open after it was revoked, or ended. The filter itself remembers
none: it would for five minutes more, and sees only that they ended."""

KNOWN_MAX: Final = 1000  # some 300 kB; more projects than have clients in a minute

EVERYTHING: Final = "admin"
"""The role that sees all, and may ask on behalf of any project."""

SENDERS: Final = frozenset({"monasca-user", "monasca-agent", "member", EVERYTHING})
READERS: Final = frozenset({"monasca-user", "monasca-read-only-user", "member", "reader"})
"""Any of these roles lets a project send, or see, its own points: Monasca's, and keystone's."""


class Identity(NamedTuple):
    """Whom a token is of: a project, and what it may."""

    project: str
    roles: frozenset[str]

    @property
    def may_all(self) -> bool:
        """Whether it sees what is not its project's, too."""
        return EVERYTHING in self.roles

    def may(self, method: str) -> bool:
        """Whether it may see at all, or send."""
        return self.may_all or bool(self.roles & (SENDERS if method == "POST" else READERS))


Found = Identity | int
"""Whom a token is of; else the HTTP status of the refusal."""


class Keystone:
    """Judges tokens as the file says; made once, used from one event loop."""

    def __init__(self, file: str, *, clock: Clock = Clock()) -> None:  # noqa: B008 - a tuple of functions
        try:
            from keystonemiddleware import auth_token
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"--keystone needs {error.name}: {to_install('keystone')}",
                slug="keystone-unusable",
            ) from None
        told = {
            "oslo_config_project": "nilometer",
            "oslo_config_file": file,
            "http_connect_timeout": CONNECT_S_MAX,
            "token_cache_time": -1,
        }
        try:
            self._filter = auth_token.AuthProtocol(_note, told)
        except Exception as error:  # noqa: BLE001 - oslo.config has many, its file may be anything
            raise ConfigError(
                f"--keystone: {file} cannot be used: {error}", slug="keystone-unusable"
            ) from None
        self._clock = clock
        self._known: dict[bytes, tuple[Identity, int]] = {}
        self._waiting = 0
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        for number in range(THREADS):
            # An executor's threads would be waited for at the end, however long keystone takes.
            name = f"nilometer-keystone-{number}"
            Thread(target=self._work, name=name, daemon=True).start()

    async def identity(self, token: bytes) -> Found:
        """Whom the token is of; else the HTTP status of the refusal: 401, or 503 where nobody
        can tell just now."""
        if not token or len(token) > TOKEN_BYTES_MAX:
            return 401
        digest = blake2b(token, digest_size=16).digest()
        known, until_ns = self._known.get(digest, (401, 0))
        if self._clock.elapsed_ns() < until_ns:
            return known
        if self._waiting >= THREADS + WAITING_MAX:
            return 503
        self._waiting += 1
        try:
            found = await self._asked(token)
        finally:
            self._waiting -= 1
        self._known.pop(digest, None)
        if isinstance(found, Identity):
            while len(self._known) >= KNOWN_MAX:
                del self._known[next(iter(self._known))]
            self._known[digest] = found, self._clock.elapsed_ns() + KNOWN_NS
        return found

    async def _asked(self, token: bytes) -> Found:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Found] = loop.create_future()
        self._jobs.put(_Job(token.decode("latin-1"), loop, answer))
        try:
            return await asyncio.wait_for(answer, ANSWER_S_MAX)
        except TimeoutError:
            return 503

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if job.answer.done():  # nobody waits any more
                continue
            found = self._judged(job.token)
            try:
                job.loop.call_soon_threadsafe(_tell, job.answer, found)
            except RuntimeError:  # the loop is closed
                return

    def _judged(self, token: str) -> Found:
        noted: list[Identity] = []
        status: list[int] = []

        def begin(told: str, *_: Any) -> Callable[[bytes], None]:
            status.append(int(told[:3]))
            return lambda _: None

        environ = {
            **_ENVIRON,
            "HTTP_X_AUTH_TOKEN": token,
            "nilometer.noted": noted,
        }
        try:
            for _ in self._filter(environ, begin):
                pass
        except Exception:  # noqa: BLE001 - whatever it is, nobody could tell whose the token is
            return 503
        if noted:
            return noted[0]
        return 401 if status[:1] == [401] else 503

    def close(self) -> None:
        """End the threads that wait; those that ask keystone end with the process."""
        for _ in range(THREADS):
            self._jobs.put(None)


class _Job(NamedTuple):
    """A token to be judged, and where the answer is waited for."""

    token: str
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Found]


def _tell(answer: asyncio.Future[Found], found: Found) -> None:
    if not answer.done():
        answer.set_result(found)


_ENVIRON: Final = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "PATH_INFO": "/v2.0",
    "QUERY_STRING": "",
    "SERVER_NAME": "localhost",
    "SERVER_PORT": "80",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "wsgi.url_scheme": "http",
    "wsgi.version": (1, 0),
}


def _note(environ: dict[str, Any], begin: Callable[..., Any]) -> Iterable[bytes]:
    """The application behind the filter: it is asked only where the token is good."""
    roles = environ.get("HTTP_X_ROLES", "").lower().split(",")
    project = environ.get("HTTP_X_PROJECT_ID") or ""
    if environ.get("HTTP_X_IDENTITY_STATUS") == "Confirmed" and project:
        environ["nilometer.noted"].append(Identity(project, frozenset(filter(None, roles))))
    begin("401 Unauthorized", [])
    return [b""]
