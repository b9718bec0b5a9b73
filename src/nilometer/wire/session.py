"""A browser's session: a text that only who knows a token's digest can have written, till when.

It holds no token, and nothing is kept of it: it opens until it ends, or its token does.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_PURPOSE: Final = b"nilometer session 1"  # a digest signs nothing but this with this key
_SESSION: Final = re.compile(r"([0-9]{1,12})\.([0-9a-f]{64})")


def seal(digest: bytes, ends_s: int) -> str:
    """The session of the token with this digest, which ends so many seconds after 1970."""
    return f"{ends_s}.{_mac(digest, ends_s)}"


def opens(digests: Sequence[bytes], session: str, now_s: float) -> bool:
    """Whether it was sealed with one of these digests and has not ended yet."""
    match = _SESSION.fullmatch(session)
    if match is None or int(match[1]) <= now_s:
        return False
    is_known = False
    for digest in digests:  # all of them: time does not tell which it was
        is_known |= hmac.compare_digest(_mac(digest, int(match[1])), match[2])
    return is_known


def _mac(digest: bytes, ends_s: int) -> str:
    key = hmac.digest(digest, _PURPOSE, "sha256")
    return hmac.new(key, b"%d" % ends_s, hashlib.sha256).hexdigest()
