"""Words and numbers of HTTP, read strictly: what cannot be read counts as nothing."""

from __future__ import annotations

from typing import Final

CLOSED_EARLY: Final = "closed_early"
"""Why an exchange failed when its body was closed before its end: the client has gone."""

NO_RESPONSE: Final = "no_response"
"""Why it failed when the application returned without ever having answered."""

_NAMES: Final = (
    *("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE"),  # RFC 9110
    *("PATCH", "QUERY"),
)
METHODS: Final = {name: name for name in _NAMES}
"""Any other is "_OTHER", so that no client can make a series."""

MARK: Final = "nilometer.exchange"
"""In the environ or scope of what is being measured already, by a middleware further out."""

ATTENDED: Final = ("HTTP_X_TRACE_INFO", "HTTP_TRACEPARENT", "HTTP_TRANSFER_ENCODING")
"""Headers for which a WSGI request is attended to in Python."""

STATUS_MAX: Final = 999  # three digits, as in HTTP
WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
"""Methods whose body is counted as it is received if its length was not announced."""

ERROR_WORD_MAX: Final = 64  # the standard library's longest class name of an error has 27
LENGTH_DIGITS_MAX: Final = 18  # 10**18 - 1 < 2**63: no announced length overflows a counter


def error_type(error: object) -> str:
    """How an error is told from others: the name of its class, or the word itself, cut.

    >>> error_type(ValueError("no")), error_type("closed_early")
    ('ValueError', 'closed_early')
    """
    word = error if isinstance(error, str) else type(error).__name__
    return word[:ERROR_WORD_MAX]


def announced_length(text: object) -> int:
    """A Content-Length as a number of bytes; 0 for none, or for one that is no number.

    >>> announced_length("12"), announced_length(""), announced_length("-1")
    (12, 0, 0)
    """
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    if not isinstance(text, str) or len(text) > LENGTH_DIGITS_MAX:
        return 0
    return int(text) if text.isascii() and text.isdecimal() else 0


def status_of(status: object) -> int:
    """The code of a WSGI status line; 0 if it has none.

    >>> status_of("404 Not Found"), status_of("abc"), status_of(None)
    (404, 0, 0)
    """
    if isinstance(status, str) and len(status) >= 3:
        digits = status[:3]
        if digits.isascii() and digits.isdecimal():
            return int(digits)
    return 0
