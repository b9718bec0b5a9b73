"""How the settings of the admin endpoint are read: where it listens, who may ask, its names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from nilometer import setting_values as values
from nilometer.errors import ConfigError
from nilometer.model.endpoint import Endpoint
from nilometer.wire.dropwizard_names import Names

if TYPE_CHECKING:
    from collections.abc import Mapping

PORT_MAX: Final = 65_535
PORTS_MAX: Final = 1000
"""More workers than a service has on one host; each port tried at a start is a system call."""


def endpoint(value: object, origin: str) -> Endpoint | None:
    """From ``host:port`` or ``host:first-last``; None for no text.

    >>> endpoint("127.0.0.1:8091-8099", "here")
    Endpoint(host='127.0.0.1', first=8091, last=8099)
    """
    written = values.text(value, origin)
    if not written:
        return None
    match = re.fullmatch(r"(\[[^]]+\]|[^:]+):([0-9]{1,5})(?:-([0-9]{1,5}))?", written)
    if match is None:
        values.refuse(
            value, origin, "is no address; write host:port, or host:first-last for workers"
        )
    host = match[1].removeprefix("[").removesuffix("]")
    first, last = int(match[2]), int(match[3] or match[2])
    if not 0 < first <= last <= PORT_MAX or last - first >= PORTS_MAX:
        values.refuse(
            value,
            origin,
            f"has no ports from 1 to {PORT_MAX}, the lower one first, {PORTS_MAX} at most",
        )
    return Endpoint(host, first, last)


def tokens_of(file: str, origin: str) -> tuple[bytes, ...]:
    """The tokens in a file, one a line; none for no file."""
    return values.keys_of(file, origin) if file else ()


def checked(
    admin: Endpoint | None, token_file: str, admin_origin: str, file_origin: str
) -> None:
    """Raise ConfigError where tokens cannot be read, or strangers could ask without one."""
    tokens = tokens_of(token_file, file_origin)
    if admin is not None and not admin.is_loopback and not tokens:
        raise ConfigError(
            f"{admin_origin}: {admin} can be reached from other machines, and without tokens "
            f"anybody could read and change levels; set admin_token_file, or listen at "
            f"{admin._replace(host='127.0.0.1')}",
            slug="open-without-token",
        )


def series_names(value: object, origin: str) -> Mapping[str, str]:
    """A table of templates by series, as docs/dropwizard.md has them."""
    templates = values.pairs(value, origin)
    Names(templates, origin=origin)
    return templates
