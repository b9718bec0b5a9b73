"""The token that a request brings, as each client can send it, compared in constant time.

`Authorization: Bearer`, HTTP Basic's password under any name, or OpenStack's `X-Auth-Token`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

TOKEN_BYTES_MAX: Final = 4096  # hashed before it is compared, so its length costs us


def digests_of(tokens: Sequence[bytes]) -> tuple[bytes, ...]:
    """What is compared in place of the tokens: all of one length, so time tells nothing."""
    return tuple(hashlib.sha256(token).digest() for token in tokens)


def opens(
    digests: Sequence[bytes], authorization: Sequence[bytes], plain: Sequence[bytes]
) -> bool:
    """Whether the values of Authorization and of X-Auth-Token, together, are a known token.

    Each that came must be one, as nobody knows which of two was meant; of each header one may.
    """
    given = [*map(_token_in, authorization), *plain]
    too_many = len(authorization) > 1 or len(plain) > 1
    return bool(given) and not too_many and all(_is_known(digests, one) for one in given)


def _is_known(digests: Sequence[bytes], token: bytes | None) -> bool:
    """Compare with every token, never stopping early: time does not tell which it was."""
    if token is None or len(token) > TOKEN_BYTES_MAX:
        return False
    digest = hashlib.sha256(token.strip()).digest()
    is_known = False
    for known in digests:
        is_known |= hmac.compare_digest(digest, known)
    return is_known


def _token_in(authorization: bytes) -> bytes | None:
    """A Bearer's token, or the password of Basic; None of anything else."""
    scheme, _, told = authorization[: TOKEN_BYTES_MAX * 2].partition(b" ")
    if scheme.lower() == b"bearer":
        return told
    if scheme.lower() != b"basic":
        return None
    try:
        return base64.b64decode(told.strip(), validate=True).partition(b":")[2]
    except binascii.Error:
        return None
