"""gevent's greenlets: each starts in the span of whoever spawned it."""

from __future__ import annotations

from nilometer.trace.greenlets import install_gevent, uninstall_gevent

_is_installed = False


def install() -> bool:
    """Carry the current span into what is spawned from now on; False if already done."""
    global _is_installed
    if _is_installed:
        return False
    _is_installed = install_gevent()
    return _is_installed


def uninstall() -> None:
    """Leave nothing behind."""
    global _is_installed
    if _is_installed:
        uninstall_gevent()
        _is_installed = False
