"""One thing that was sent to us and could not be read."""

from typing import NamedTuple


class Rejected(NamedTuple):
    """What nobody will send again, kept so that somebody can look at it.

    `door` is the receiver that took it, `origin` where it came from, `reason` the word it is
    counted by and `detail` what was wrong. Of a body of `size` bytes `body` may be the first.
    """

    at_ns: int
    door: str
    origin: str
    reason: str
    detail: str = ""
    body: bytes = b""
    size: int = 0
