"""What opens the collector: tokens, and for pages the sessions of browsers that brought one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nilometer.clock import Clock
from nilometer.wire import credentials, session

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COOKIE: Final = "nilometer-session"
LASTS_S: Final = 12 * 3600  # a working day; then one brings the token again
COOKIE_CHARS_MAX: Final = 8192


class Keys:
    """The tokens of now; `refused` is told why somebody was turned away, to be counted."""

    def __init__(
        self,
        tokens: Sequence[bytes],
        refused: Callable[[str], None] = lambda _: None,
        clock: Clock | None = None,
    ) -> None:
        self.refused = refused
        self._clock = clock or Clock()
        self._digests = credentials.digests_of(tokens)

    def renew(self, tokens: Sequence[bytes]) -> None:
        """From now on these tokens open, and no others, nor sessions of others."""
        self._digests = credentials.digests_of(tokens)

    def open(self, authorization: Sequence[bytes], plain: Sequence[bytes]) -> bool:
        """Whether the values of Authorization and X-Auth-Token are a token of ours."""
        return credentials.opens(self._digests, authorization, plain)

    def begin(self, token: bytes) -> str | None:
        """A new session of who brings this token; None if it is none of ours."""
        for digest in self._digests:
            if credentials.opens((digest,), (), (token,)):
                return session.seal(digest, self._now_s() + LASTS_S)
        return None

    def know(self, cookies: Sequence[bytes]) -> bool:
        """Whether the values of Cookie hold a session that goes on."""
        told = b";".join(cookies)[:COOKIE_CHARS_MAX].decode("latin-1")
        # Cookies of other ports of this host come, too, and are as they like to be.
        pairs = (one.strip().partition("=") for one in told.split(";"))
        ours = [value for name, _, value in pairs if name == COOKIE]
        return any(session.opens(self._digests, one, self._now_s()) for one in ours[:2])

    def _now_s(self) -> int:
        return self._clock.wall_ns() // 10**9
