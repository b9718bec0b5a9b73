"""Keys as an operator gives them: read once, and shown in no error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nilometer.errors import ConfigError
from nilometer.trace.signing import Key

if TYPE_CHECKING:
    from collections.abc import Sequence

KEYS_MAX: Final = 16
"""Keys to try on one header: rotation needs two per sender. 16 HMACs take about 20 us,
so that a header which is wrong in both forms costs 40."""


def parse_keys(keys: Sequence[bytes | str], *, origin: str = "keys") -> tuple[Key, ...]:
    """Keys to sign and verify with; texts as UTF-8. Raises ConfigError, which shows none."""
    if isinstance(keys, str | bytes):
        raise ConfigError(
            f"{origin}: a list of keys is needed, not one text", slug="trigger-keys"
        )
    if len(keys) > KEYS_MAX:
        raise ConfigError(
            f"{origin}: {len(keys)} keys, at most {KEYS_MAX} are tried on a header",
            slug="trigger-keys",
        )
    return tuple(parse_key(key, origin) for key in keys)


def parse_key(key: bytes | str, origin: str) -> Key:
    """One key. Raises ConfigError, which does not show it."""
    try:
        secret = key.encode("utf-8") if isinstance(key, str) else key
    except UnicodeEncodeError:
        secret = None  # raised below, for the error of the encoding holds the key
    if secret is None:
        raise ConfigError(f"{origin}: a key is not UTF-8", slug="trigger-keys")
    if not isinstance(secret, bytes):
        raise ConfigError(
            f"{origin}: a key is text or bytes, not {type(key).__name__}", slug="trigger-keys"
        )
    if not secret.strip():
        raise ConfigError(
            f"{origin}: an empty key, with which anyone could sign", slug="trigger-key-empty"
        )
    return Key(secret)
