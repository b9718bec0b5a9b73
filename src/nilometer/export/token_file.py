"""A file whose first line is the token for a receiver: exporters', and OSProfiler's points'."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from nilometer.errors import ConfigError

BYTES_MAX: Final = 1 << 16


def read_token(file: str, *, origin: str) -> str:
    """The token, read anew each time, so that it can be renewed while the service runs.

    ConfigError says what is wrong with the file that stands at `origin`.
    """
    try:
        mode = Path(file).stat().st_mode
        with Path(file).open("rb") as stream:
            content = stream.read(BYTES_MAX).decode("ascii")
    except (OSError, ValueError) as error:
        raise _refusal(file, getattr(error, "strerror", None) or "not ASCII", origin) from None
    if mode & 0o007:
        why = f"open to every user of this machine; close it with: chmod 600 {file}"
        raise _refusal(file, why, origin)
    lines = [line.strip() for line in content.splitlines()]
    tokens = [line for line in lines if line and not line.startswith("#")]
    if not tokens:
        raise _refusal(file, "it holds no token", origin)
    return tokens[0]


def _refusal(file: str, why: str, origin: str) -> ConfigError:
    return ConfigError(f"{origin}: token_file {file}: {why}", slug="bad-exporter-url")
